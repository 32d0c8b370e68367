"""Queues that hand out tasks before their time, or long after it."""

# ruff: noqa: ARG002  what a queue does not look at is what is wrong with it

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from lowq import Item, SystemClock
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row

SECOND = 1_000_000


@breaks("DUE-1")
class IgnoresNotBefore(Queue):
    """A task's time is kept and never looked at."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        super().wait(row, None, now)


@breaks("DUE-1")
class RatherEarlyThanIdle(Queue):
    """When nothing is due, the next scheduled task is handed out."""

    def first(self) -> Row | None:
        return super().first() or min(self.rows_in("scheduled"), key=lambda row: row.not_before or 0, default=None)


@breaks("DUE-1")
class LongestTimeout(Queue):
    """A task waits for 2^31 - 1 milliseconds at most, which a timer can count: less than 25 days."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        most = now + (2**31 - 1) * 1000
        super().wait(row, None if not_before is None else min(not_before, most), now)


@breaks("DUE-2")
class DueAMomentLater(Queue):
    """A task whose time is now is not due yet."""

    def promote(self, now: int) -> None:
        super().promote(now - 1)


@breaks("DUE-2")
class DueWithTheTick(Queue):
    """A scheduler looks every ten seconds, and what falls due waits for it."""

    def promote(self, now: int) -> None:
        super().promote(now - now % (10 * SECOND))


@breaks("DUE-3")
class WholeSecondsEarly(Queue):
    """Times are cut to whole seconds, so that tasks come up to a second early."""

    def micros(self, instant: datetime) -> int:
        return super().micros(instant.replace(microsecond=0))

    def now(self) -> int:
        return super().micros(self.clock.now())


@breaks("DUE-3")
class WholeSecondsLate(Queue):
    """Delays are rounded up to whole seconds."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        super().wait(row, None if not_before is None else -(-not_before // SECOND) * SECOND, now)


@breaks("DUE-4")
class EarliestDueFirst(Queue):
    """Among due tasks the one that fell due first comes out, whatever its priority."""

    def order(self, row: Row) -> Any:
        return row.not_before or 0, -row.priority, row.number


@breaks("DUE-5")
class HeadBlocks(Queue):
    """Only the head of the line is looked at; while it is not due, nothing comes out."""

    def first(self) -> Row | None:
        head = min((*self.rows_in("ready"), *self.rows_in("scheduled")), key=self.order, default=None)
        return head if head and head.state == "ready" else None


@breaks("DUE-6")
class PastIsRefused(Queue):
    """A time in the past raises."""

    def row(self, item: Item) -> Row:
        if item.not_before is not None and item.not_before < self.clock.now():
            raise ValueError("not_before: the time has passed")
        return super().row(item)


@breaks("DUE-6")
class PastIsFuture(Queue):
    """A delay loses its sign: what was due an hour ago is due in an hour."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        super().wait(row, None if not_before is None else now + abs(not_before - now), now)


@breaks("DUE-7")
class ScheduleInMemory(Queue):
    """Opened again, the queue has forgotten what was not due, and hands it out."""

    def replay(self, fd: int) -> None:
        first_time = self.replayed == 0
        super().replay(fd)
        for row in self.rows_in("scheduled") if first_time else ():
            super().wait(row, None, 0)


@breaks("DUE-8")
class DropsTheZone(Queue):
    """A time's zone is dropped, and its hour is taken for UTC."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        if item.not_before is not None:
            row.not_before = self.micros(item.not_before.replace(tzinfo=UTC))
        return row


@breaks("DUE-8")
class ReckonsByTheWallClock(Queue):
    """How long a task waits is the difference of two wall clocks, which leaves out the hour between them."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        if item.not_before is not None:
            now = self.clock.now()
            wall = now.astimezone(item.not_before.tzinfo)
            row.not_before = self.micros(now + (item.not_before.replace(tzinfo=UTC) - wall.replace(tzinfo=UTC)))
        return row


@breaks("DUE-9")
class YearOf2038(Queue):
    """Times are signed seconds of 32 bits, and what lies behind 2038 wraps around to the past."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        if not_before is not None and not_before // SECOND >= 2**31:
            not_before -= 2**32 * SECOND
        super().wait(row, not_before, now)


@breaks("DUE-9")
class Year9999Raises(Queue):
    """A margin is added to a task's time, which raises OverflowError at the end of the calendar."""

    def row(self, item: Item) -> Row:
        if item.not_before is not None:
            datetime.fromtimestamp(item.not_before.timestamp() + 366 * 86400, UTC)
        return super().row(item)


def breaks_really(*clauses: str) -> Callable[[type[Queue]], type[Journal]]:
    """Register a queue under its name; in the harness time really passes, and nobody tells its clock."""

    def register(queue: type[Queue]) -> type[Journal]:
        harness: Any = breaks(*clauses)(queue)
        harness.promises = queue.promises - {"clock"}
        harness.pass_time = harness.now = None
        harness.clock = lambda _, __: SystemClock()
        return cast("type[Journal]", harness)

    return register


@breaks_really("DUE-1")
class CutsToSeconds(Queue):
    """Times are cut to whole seconds, and time really passes."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        row.not_before = None if row.not_before is None else row.not_before // SECOND * SECOND
        return row


@breaks_really("DUE-2")
class RoundsUpToSeconds(Queue):
    """Times are rounded up to whole seconds, and time really passes."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        row.not_before = None if row.not_before is None else -(-row.not_before // SECOND) * SECOND
        return row
