"""The queues on which the toolkit is tested: in SQLite, in memory, in a directory, and a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest
from journaled import Journaled

from lowq import Backend, Clock, open_backend
from lowq.testing.queues import OpenAt


@pytest.fixture(params=["sqlite", "memory", "files", "journaled"])
def open_at(request: pytest.FixtureRequest) -> OpenAt | None:
    """Makes the queue that takes SQLite's place; None: SQLite's own."""
    if request.param == "sqlite":
        return None
    return {"journaled": Journaled, "memory": in_memory, "files": in_a_directory}[request.param]


def in_memory(path: Path, clock: Clock) -> Backend:
    """A queue in the memory of this process."""
    return open_backend(f"memory://{path}", clock=clock)


def in_a_directory(path: Path, clock: Clock) -> Backend:
    """A queue in a directory."""
    return open_backend(f"files://{path}", clock=clock, durability="none")
