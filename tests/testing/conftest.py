"""The queues on which the toolkit is tested: SQLite's, the one in memory, and a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest
from testing.journaled import Journaled

from lowq import Backend, Clock, open_backend
from lowq.testing.queues import OpenAt


@pytest.fixture(params=["sqlite", "memory", "journaled"])
def open_at(request: pytest.FixtureRequest) -> OpenAt | None:
    """Makes the queue that takes SQLite's place; None: SQLite's own."""
    if request.param == "sqlite":
        return None
    return Journaled if request.param == "journaled" else in_memory


def in_memory(path: Path, clock: Clock) -> Backend:
    """A queue in the memory of this process."""
    return open_backend(f"memory://{path}", clock=clock)
