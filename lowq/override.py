"""Where a test takes the place of an application's storage, of its background workers, and of its time.

Every TaskQueue asks here whenever it uses its backend or is started, so that queues made when the application was
imported are moved too::

    with override.standing_in(backend=lambda queue: mine(queue.location, queue.name), start=lambda queue: False):
        thumbnails(1, 2, 3)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from lowq.backend import Backend, Dedupe, Work
from lowq.clock import Clock
from lowq.location import Location
from lowq.worker.retry import Retry


class Overridden(Protocol):
    """A TaskQueue, as what stands in for its storage and its workers knows it."""

    name: str
    dedupe: Dedupe | None
    lease_for: timedelta
    retry: Retry
    location: Location

    def process(self, work: Work) -> Any:
        """Run one task."""
        ...


backend: Callable[[Overridden], Backend] | None = None
"""Gives a queue, known by its `location` and `name`, its backend; None: the one that is kept there."""

start: Callable[[Overridden], bool] | None = None
"""Is called in place of starting a worker, and answers whether one was started; None: a worker is forked."""


clock: Clock | None = None
"""What a queue's own workers and its log know of time; None: the queue's own clock."""


@contextmanager
def standing_in(
    *, backend: Callable[[Overridden], Backend], start: Callable[[Overridden], bool], clock: Clock | None = None
) -> Iterator[None]:
    """Inside, these stand in for storage, workers and time; afterwards what stood in before does."""
    names = globals()
    before = {name: names[name] for name in ("backend", "start", "clock")}
    names.update(backend=backend, start=start, clock=clock)
    try:
        yield
    finally:
        names.update(before)
