"""Where a test takes the place of an application's storage and of its background workers.

Every TaskQueue asks here whenever it uses its backend or is started, so that queues made when the application was
imported are moved too::

    with seam.standing_in(backend=lambda queue: mine(queue.location, queue.name), start=lambda queue: False):
        thumbnails(1, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lowq.backend import Backend

if TYPE_CHECKING:
    from lowq.taskqueue import TaskQueue

backend: Callable[[TaskQueue], Backend] | None = None
"""Gives a queue, known by its `location` and `name`, its backend; None: the one that is kept there."""

start: Callable[[TaskQueue], bool] | None = None
"""Is called in place of starting a worker, and answers whether one was started; None: a worker is forked."""


@contextmanager
def standing_in(*, backend: Callable[[TaskQueue], Backend], start: Callable[[TaskQueue], bool]) -> Iterator[None]:
    """Inside, these stand in for storage and workers; afterwards what stood in before does."""
    before = globals()["backend"], globals()["start"]
    globals().update(backend=backend, start=start)
    try:
        yield
    finally:
        globals().update(backend=before[0], start=before[1])
