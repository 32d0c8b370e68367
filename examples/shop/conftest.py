"""Which of the two shops is tested: `--shop faulty`, or the mended one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--shop` is known."""
    parser.addoption("--shop", choices=("faulty", "mended"), default="mended", help="which shop is tested")


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The application, in a world of its own where nothing has happened yet and the printer has paper."""
    monkeypatch.chdir(tmp_path)
    Path("paper").touch()
    return import_module(request.config.getoption("--shop"))
