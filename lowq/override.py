"""Where a test takes the place of an application's storage, of its background workers, and of its time.

Every TaskQueue asks here whenever it uses its backend or is started, so that queues made when the application was
imported are moved too::

    with override.standing_in(backend=lambda queue: mine(queue.location, queue.name), start=lambda queue: False):
        thumbnails(1, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lowq.backend import Backend
from lowq.clock import Clock

if TYPE_CHECKING:
    from lowq.taskqueue import TaskQueue

backend: Callable[[TaskQueue], Backend] | None = None
"""Gives a queue, known by its `location` and `name`, its backend; None: the one that is kept there."""

start: Callable[[TaskQueue], bool] | None = None
"""Is called in place of starting a worker, and answers whether one was started; None: a worker is forked."""


clock: Clock | None = None
"""What a queue's own workers and its log know of time; None: the queue's own clock."""


@contextmanager
def standing_in(
    *, backend: Callable[[TaskQueue], Backend], start: Callable[[TaskQueue], bool], clock: Clock | None = None
) -> Iterator[None]:
    """Inside, these stand in for storage, workers and time; afterwards what stood in before does."""
    names = globals()
    before = {name: names[name] for name in ("backend", "start", "clock")}
    names.update(backend=backend, start=start, clock=clock)
    try:
        yield
    finally:
        names.update(before)
