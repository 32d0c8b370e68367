"""The entry point of the plugin: it imports pytest and the standard library only, and the rest when it is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the conformance suite are known wherever the plugin is installed."""
    if find_spec("pytest_lowq.suite") is not None:
        import_module("pytest_lowq.suite").add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """The conformance suite's own plugin is registered where `--lowq-harness` names a queue to check."""
    if find_spec("pytest_lowq.suite") is not None:
        import_module("pytest_lowq.suite").configure(config)
