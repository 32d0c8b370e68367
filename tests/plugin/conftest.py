"""What the plugin's tests share."""

from __future__ import annotations

import pytest
from nested import leave_out


@pytest.fixture(autouse=True)
def _quick_starts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that a test starts loads lowq's plugin, pytest-xdist, and what its module has in BESIDE."""
    if "pytester" in request.fixturenames:
        request.getfixturevalue("pytester")  # first: it takes these options out of the environment
    options = leave_out(but=getattr(request.module, "BESIDE", ()))
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(options))
