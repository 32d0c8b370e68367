"""What the plugin's tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _quick_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that a test starts loads no plugin of schemathesis, which takes longer than everything else."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:schemathesis")
