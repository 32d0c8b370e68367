"""Says what is missing where the suite's tests are run without a queue to check."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    if not config.getoption("lowq_harness", None):
        raise pytest.UsageError("lowq_conformance checks a queue: say which with --lowq-harness=TARGET")
