"""Replaces an application's storage, its background workers and its clock while a test runs.

Every TaskQueue asks here whenever it uses its backend or is started, so that queues made when the application was
imported are moved too::

    with override.standing_in(backend=lambda queue: mine(queue.location, queue.name), start=lambda queue: False):
        thumbnails(1, 2, 3)

Where lowq's plugin for pytest is loaded, it is told that this module is: it stands in from the first use of a queue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

from lowq.backend import Backend, Dedupe, Work
from lowq.clock import Clock
from lowq.location import Location
from lowq.run import Run
from lowq.worker.retry import Retry


class Overridden(Protocol):
    """A TaskQueue, as what stands in for its storage and its workers knows it."""

    name: str
    dedupe: Dedupe | None
    lease_for: timedelta
    retry: Retry

    @property
    def location(self) -> Location:
        """Where it is kept."""
        ...

    @property
    def on_dead(self) -> Callable[[Run], object] | None:
        """Told of each task that is set aside."""
        ...

    def process(self, work: Work) -> Any:
        """Run one task."""
        ...


FindBackend: TypeAlias = Callable[[Overridden], Backend | None]
"""Gives a queue, known by its `location` and `name`, its backend; None: the one that is kept there."""

StartWorker: TypeAlias = Callable[[Overridden], bool | None]
"""Is called in place of starting a worker, and answers whether one was started; None: a worker is forked."""

backend: FindBackend | None = None
start: StartWorker | None = None
clock: Clock | None = None
"""What a queue's own workers and its log know of time; None: the queue's own clock."""


@dataclass(frozen=True, slots=True, eq=False)
class StandIn:
    """What stands in for storage, workers and time; the latest that stands is asked."""

    backend: FindBackend
    start: StartWorker
    clock: Clock | None


_standing: list[StandIn] = []


def stand(stand_in: StandIn) -> None:
    """It is asked from now on."""
    _standing.append(stand_in)
    _ask_the_latest()


def leave(stand_in: StandIn) -> None:
    """It is not asked any more, whatever came after it and stays."""
    _standing.remove(stand_in)
    _ask_the_latest()


@contextmanager
def standing_in(*, backend: FindBackend, start: StartWorker, clock: Clock | None = None) -> Iterator[StandIn]:
    """Inside, these stand in for storage, workers and time; afterwards what stood in before does."""
    stand_in = StandIn(backend, start, clock)
    stand(stand_in)
    try:
        yield stand_in
    finally:
        leave(stand_in)


def is_latest(stand_in: StandIn) -> bool:
    """Whether it is the one that is asked."""
    return _standing[-1:] == [stand_in]


def _ask_the_latest() -> None:
    latest = _standing[-1] if _standing else None
    globals().update(backend=latest and latest.backend, start=latest and latest.start, clock=latest and latest.clock)


if (_plugin := sys.modules.get("pytest_lowq.plugin")) is not None:
    _plugin.lowq_was_imported()
