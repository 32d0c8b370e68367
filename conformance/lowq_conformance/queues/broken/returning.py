"""Queues that leave something behind when a task moves from one state to another, or ends."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from lowq import Clock, Counts, Item, Lease, Pushed, Task
from lowq_conformance.queues.broken.register import breaks, breaks_in
from lowq_conformance.queues.sound.bounded import Bounded, Full, WithRoom
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row

breaks_with_room = partial(breaks_in, WithRoom)
SECOND = timedelta(seconds=1)


@breaks("ORDER-3")
class RunsOutWithoutPriority(Queue):
    """What comes back because its lease ran out has the default priority."""

    def promote(self, now: int) -> None:
        for row in self.rows_in("leased"):
            if row.due is not None and row.due <= now:
                row.priority = 0
        super().promote(now)


@breaks("ORDER-3")
class PromotesTen(Queue):
    """A call makes ready ten due tasks at most, those that were due first."""

    def promote(self, now: int) -> None:
        due = [row for row in self.rows_in("scheduled") if row.due is not None and row.due <= now]
        for row in sorted(due, key=lambda row: row.number)[:10]:
            row.state, row.due = "ready", None
            self.write(row)
        left, self.by_state["scheduled"] = self.by_state["scheduled"], set()
        super().promote(now)
        self.by_state["scheduled"] = left


@breaks("LEASE-3")
class ExtensionsCountAnew(Queue):
    """An extension begins to count the attempts anew."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone():
            row = self.held(lease)
            row.attempts = 1
            self.write(row)
        return super().extend(lease, lease_for=lease_for)


@breaks("LEASE-3")
class LateReleasesUncount(Queue):
    """What is given back until a time was no attempt."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        if not_before is not None:
            with self.alone():
                row = self.held(lease)
                row.attempts -= 1
                self.write(row)
        super().release(lease, not_before=not_before)


class Leaking(Queue):
    """A client with keys of tasks that have ended, which refuse equals."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        self.leaked: dict[Hashable, Row] = {}
        super().__init__(place, name, clock)

    def standing(self, row: Row) -> Row | None:
        return super().standing(row) or self.leaked.get(self.identity(row))


@breaks("DEDUPE-5", "DEDUPE-7")
class ReturnedTasksKeepTheirKeys(Leaking):
    """The key of a task that came back is not let go when it ends."""

    def remove(self, row: Row) -> None:
        if row.attempts > 1 or row.state == "ready":
            self.leaked[self.identity(row)] = row
        super().remove(row)


@breaks("DEDUPE-7")
class CancelledBeforeTheirTimeKeepTheirKeys(Leaking):
    """The key of a task that is cancelled before its time is not let go."""

    def remove(self, row: Row) -> None:
        if row.state == "scheduled":
            self.leaked[self.identity(row)] = row
        super().remove(row)


@breaks("DELIVER-1")
class FreesTwice(Queue):
    """Numbers are used again, and that of a cancelled task twice."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        self.free: list[int] = []
        super().__init__(place, name, clock)

    def cancel(self, id: str) -> bool:
        done = super().cancel(id)
        if done:
            self.free += [int(id.rpartition("/")[2])] * 2
        return done

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        if row.state == "ready" and row.attempts == 0 and self.free:
            row.number = self.free.pop()
        super().wait(row, not_before, now)


@breaks("ORDER-1", "ORDER-10")
class OrderOfSlots(Queue):
    """Of what was pushed in one instant the lower number is first, and numbers are used again, the latest first."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        self.free: list[int] = []
        super().__init__(place, name, clock)

    def remove(self, row: Row) -> None:
        self.free.append(row.number)
        super().remove(row)

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        if row.state == "ready" and row.attempts == 0 and self.free:
            row.number = self.free.pop()
        super().wait(row, not_before, now)

    def order(self, row: Row) -> object:
        return -row.priority, row.pushed, row.number


@breaks_with_room("DELIVER-12")
class CancelsLeaveNoRoom(Bounded):
    """A task that is cancelled before its time still takes room."""

    lost = 0

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            scheduled = row is not None and row.state == "scheduled"
        done = super().cancel(id)
        self.lost += done and scheduled
        return done

    def make_room(self, many: int) -> None:
        super().make_room(many + self.lost)


@breaks_with_room("DELIVER-12")
class RedrivesMakeRoom(Bounded):
    """A task that is redriven does not count."""

    lost = 0

    def redrive(self, id: str) -> bool:
        done = super().redrive(id)
        self.lost -= done
        return done

    def make_room(self, many: int) -> None:
        super().make_room(many + self.lost)


@breaks_with_room("DELIVER-12")
class RefusedBatchesTakeRoom(Bounded):
    """A batch that does not fit takes the room of its first item."""

    lost = 0

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        try:
            return super().push_many(items)
        except Full:
            self.lost += len(items) > 1
            raise

    def make_room(self, many: int) -> None:
        super().make_room(many + self.lost)


@breaks("LEASE-1")
class LeasesOfWholeSeconds(Queue):
    """A lease is cut to whole seconds."""

    def claim(self, *, lease_for: timedelta = timedelta(days=1)) -> Lease | None:
        return super().claim(lease_for=lease_for // SECOND * SECOND or lease_for)


@breaks("LEASE-8")
class ExtensionsOfWholeSeconds(Queue):
    """An extension is cut to whole seconds."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        return super().extend(lease, lease_for=lease_for // SECOND * SECOND or lease_for)


@breaks("RELEASE-2")
class ReleasesUntilWholeSeconds(Queue):
    """The time of a release is cut to whole seconds."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=not_before and not_before.replace(microsecond=0))


@breaks("DELIVER-11")
class AcksByWork(Queue):
    """An ack takes out whatever of that work is in hand."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            text = self.held(lease).text
            for row in self.rows_in("leased"):
                if row.text == text:
                    self.remove(row)


@breaks("DELIVER-11")
class CancelsByWork(Queue):
    """A cancel takes out whatever of that work waits."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            found = self.find(id)
            rows = [row for row in self.rows_in("ready") if found is not None and row.text == found.text]
            for row in rows:
                self.remove(row)
        return bool(rows) or super().cancel(id)


@breaks("DELIVER-11")
class CancelsByPrefix(Queue):
    """A cancel takes out all whose id begins so."""

    def cancel(self, id: str) -> bool:
        done = super().cancel(id)
        with self.alone():
            for row in self.rows_in("ready"):
                if done and self.id(row).startswith(id):
                    self.remove(row)
        return done


@breaks("DELIVER-11")
class RedrivesByPrefix(Queue):
    """A redrive brings back all whose id begins so."""

    def redrive(self, id: str) -> bool:
        done = super().redrive(id)
        with self.alone() as now:
            for row in self.rows_in("dead"):
                if done and self.id(row).startswith(id):
                    self.wait(row, None, now)
        return done


@breaks("DEAD-2")
class OneReasonForAll(Queue):
    """What is dead is told with the latest reason."""

    latest: str | None = None

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        super().dead_letter(lease, reason=reason)
        self.latest = reason

    def shown(self, row: Row) -> Task:
        row.reason = row.reason and (self.latest or row.reason)
        return super().shown(row)


@breaks("DEAD-2")
class FirstReasonStays(Queue):
    """What is set aside again keeps the reason of the first time."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            before = self.held(lease).reason
        super().dead_letter(lease, reason=before or reason)


@breaks("DELIVER-10")
class CountsForItself(Queue):
    """Counts are those after this client's own latest change."""

    counted: Counts | None = None

    def flush(self, fd: int) -> None:
        if self.changed:
            self.counted = None
        super().flush(fd)

    def count(self) -> Counts:
        self.counted = self.counted or super().count()
        return self.counted


@breaks("DUE-6")
class TimesWithoutSign(Queue):
    """A time before 1970 is one far ahead, since there is no sign in its number."""

    def row(self, item: Item) -> Row:
        row = super().row(item)
        if row.not_before is not None and row.not_before < 0:
            row.not_before += 2**57
        return row
