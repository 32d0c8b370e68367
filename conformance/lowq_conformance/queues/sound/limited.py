"""Sound queues that hand a task out so many times and set it aside by themselves when it comes back again."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import Lease, LeaseLost
from lowq_conformance.queues.lowq import SQLite
from lowq_conformance.queues.sound.forked import Forked, Retrying
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.waiting import Waiting, Waits

SPENT = "it was handed out too often"


class SettingAside(Queue):
    """What comes back after its third claim is dead at once."""

    limit: ClassVar[int] = 3

    def is_spent(self, row: Row) -> bool:
        """Whether the row, which comes back, was handed out as often as may be."""
        return row.attempts >= self.limit

    def set_aside(self, row: Row) -> None:
        row.state, row.due, row.token, row.reason = "dead", None, None, SPENT
        self.write(row)

    def promote(self, now: int) -> None:
        for row in self.rows_in("leased"):
            if row.due is not None and row.due <= now:
                row.lost += 1
                if self.is_spent(row):
                    self.set_aside(row)
        super().promote(now)

    def release(self, lease: Lease, **given: Any) -> None:
        with self.alone():
            row = self.held(lease)
            if self.is_spent(row):
                self.set_aside(row)
                return
        super().release(lease, **given)


class SetsAside(Journal):
    """A task that came back three times is dead, and is redriven as others are."""

    max_deliveries = SettingAside.limit
    _queue = SettingAside


class SetsAsideSoon(Journal):
    """A task that came back twice is dead."""

    class _Queue(SettingAside):
        limit = 2

    max_deliveries = _Queue.limit
    _queue = _Queue


class GivesOneTry(Journal):
    """A task that comes back is dead."""

    class _Queue(SettingAside):
        limit = 1

    max_deliveries = _Queue.limit
    _queue = _Queue


class Drops(Journal):
    """A task that came back three times is gone, and nobody is told."""

    promises = Journal.promises - {"dead_letter", "inspect"}

    class _Queue(SettingAside):
        promises = SettingAside.promises - {"dead_letter", "inspect"}
        dead_letter = redrive = tasks = count = None  # type: ignore[assignment]  # nobody is told

        def set_aside(self, row: Row) -> None:
            self.remove(row)

    max_deliveries = _Queue.limit
    _queue = _Queue


class CountsTheLost(Journal):
    """A task whose lease ran out twice is dead; giving it back is not counted."""

    class _Queue(SettingAside):
        limit = 2

        def is_spent(self, row: Row) -> bool:
            return row.lost >= self.limit

        def redrive(self, id: str) -> bool:
            with self.alone():
                row = self.find(id)
                if row is not None:
                    row.lost = 0
            return super().redrive(id)

    max_deliveries = _Queue.limit
    counts_release = False
    _queue = _Queue


class DropsWhatIsListed(Journal):
    """A task that came back twice is gone, from listings, too, and there are no dead ones."""

    promises = Journal.promises - {"dead_letter"}

    class _Queue(SettingAside):
        limit = 2
        promises = SettingAside.promises - {"dead_letter"}
        dead_letter = redrive = None  # type: ignore[assignment]  # nothing is dead

        def set_aside(self, row: Row) -> None:
            self.remove(row)

    max_deliveries = _Queue.limit
    _queue = _Queue


class LooksAtClaims(SQLite):
    """lowq's queue in a file, and a claim that gets a task for the fourth time sets it aside and claims again."""

    max_deliveries = 3

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        return LookingClient(super().open(place, name), self.max_deliveries)


class LookingClient:
    """A client that looks at what it was given before it hands it on."""

    def __init__(self, queue: Any, limit: int) -> None:
        self._queue, self._limit = queue, limit

    def claim(self, *, lease_for: timedelta = DAY) -> Any:
        """The first task that was not handed out too often."""
        while (lease := self._queue.claim(lease_for=lease_for)) is not None:
            if lease.task.attempts <= self._limit:
                return lease
            with suppress(LeaseLost):  # somebody else came to it meanwhile, whose lease had to run out for that
                self._queue.dead_letter(lease, reason=SPENT)
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class OnceWithAWorker(Forked):
    """A worker's task is dead when it comes back, as after its worker was killed."""

    max_deliveries = 1
    _queue = GivesOneTry._queue


class TwiceWithAWorker(Retrying):
    """A worker's task is dead when it comes back twice: when it failed, or its worker was killed."""

    max_deliveries = 2
    attempts = 2
    _queue = SetsAsideSoon._queue


class WaitsOnce(Waits):
    """A claim can wait, and a task that comes back is dead, so that nobody is woken for it."""

    class _Queue(SettingAside, Waiting):
        promises = Waiting.promises
        limit = 1

    max_deliveries = _Queue.limit
    _queue = _Queue
