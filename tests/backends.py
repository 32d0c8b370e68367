"""The backends that the tests of the contract run on, and where each keeps a queue in a test's folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lowq import Clock

BACKENDS = ("memory", "sqlite", "files", "http", "valkey", "postgres")

BOUND = 60


def kept_at(request: pytest.FixtureRequest, folder: Path, clock: Clock) -> str:
    """Where a queue of the backend that the fixture was asked for is kept in this folder.

    For ``http`` a server with that clock runs until the fixture is done; for ``valkey`` and
    ``postgres`` one runs for all tests.
    """
    if request.param in ("valkey", "postgres"):
        return str(request.getfixturevalue(f"lowq_{request.param}"))
    if request.param != "http":
        return location(request.param, folder)
    server = served(folder / "q.db", clock=clock)
    url = server.__enter__()
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    return url


def location(backend: str, folder: Path) -> str:
    """Where a queue of that backend, which needs no server, is kept in this folder."""
    return {"memory": f"memory://{folder}", "sqlite": str(folder / "q.db"), "files": f"files://{folder / 'q'}"}[
        backend
    ]


@contextmanager
def served(
    queue: Path | str, *, port: int = 0, threads: int = 8, limits: Any = None, **settings: Any
) -> Iterator[str]:
    """The URL of a server in this process; the queue that it is made with is another than the tests'."""
    from lowq.web import create_app
    from lowq.web.server import Server

    server = Server(
        create_app(**{"location": str(queue), "name": "the server's", **settings}), "127.0.0.1", port, threads, limits
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join(BOUND)
        server.close()
