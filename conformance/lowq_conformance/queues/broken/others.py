"""Queues that do to other tasks what is done to one, drop what is too much, or change what is only looked at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from lowq import Clock, Item, Lease, LeaseLost, Pushed, Task
from lowq_conformance.queues.broken.register import breaks, breaks_in
from lowq_conformance.queues.sound.bounded import ROOM, Bounded, WithRoom
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.remembering import Small
from lowq_conformance.queues.sound.rows import Row

breaks_with_room = partial(breaks_in, WithRoom)


breaks_with_fixed_room = partial(breaks_in, Small)


def equals_of(queue: Queue, row: Row) -> list[Row]:
    """All tasks of the same work or key, this one too."""
    return [queue.rows[number] for number in sorted(queue.equals.get(queue.identity(row), set()))]


@breaks("DELIVER-11")
class AckTakesTheKey(Queue):
    """An ack takes everything of the same work or key, dead ones, too."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            for row in equals_of(self, self.held(lease)):
                self.remove(row)


@breaks("DELIVER-11")
class CancelTakesTheKey(Queue):
    """Cancelling a task takes everything of the same work or key."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state == "leased":
                return False
            for each in equals_of(self, row):
                self.remove(each)
            return True


@breaks("DELIVER-11")
class CancelTakesTheLast(Queue):
    """After a refused duplicate, cancelling by the id that its push told takes what was pushed last."""

    def standing(self, row: Row) -> Row | None:
        found = super().standing(row)
        self.refused = found is not None
        return found

    def cancel(self, id: str) -> bool:
        if getattr(self, "refused", False):
            with self.alone():
                id = self.id(self.rows[max(self.rows)])
        return super().cancel(id)


@breaks("DELIVER-11")
class RedrivesAll(Queue):
    """Redriving one task redrives all that are dead."""

    def redrive(self, id: str) -> bool:
        found = super().redrive(id)
        with self.alone() as now:
            for row in self.rows_in("dead") if found else []:
                self.wait(row, None, now)
        return found


@breaks("DELIVER-11")
class ReleaseFreesAll(Queue):
    """Giving back one task gives back whatever anybody has in hand."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=not_before)
        with self.alone() as now:
            for row in self.rows_in("leased"):
                self.wait(row, None, now)


@breaks("DELIVER-11")
class DeadLetterForgetsTheReason(Queue):
    """There is one reason, that of the latest that died."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        super().dead_letter(lease, reason=f"{reason} of {lease.id}")
        with self.alone():
            for row in self.rows_in("dead"):
                row.reason = f"{reason} of {lease.id}"
                self.write(row)


@breaks("DELIVER-11")
class CancelTakesTheNext(Queue):
    """Cancelling a task that runs says that it cannot be, and takes out the one that would come next."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row, following = self.find(id), self.first()
            if row is not None and row.state == "leased" and following is not None:
                self.remove(following)
        return super().cancel(id)


@breaks("DELIVER-11")
class RedrivesTheFirst(Queue):
    """Redriving a task that is not dead redrives the one that died first."""

    def redrive(self, id: str) -> bool:
        with self.alone() as now:
            row, dead = self.find(id), self.rows_in("dead")
            if row is not None and row.state != "dead" and dead:
                self.wait(min(dead, key=lambda each: each.number), None, now)
        return super().redrive(id)


@breaks("DELIVER-11")
class AcksTheFirstInHand(Queue):
    """An ack of what is gone takes the first task that anybody has in hand."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            if self.find(lease.id) is None and self.by_state["leased"]:
                self.remove(self.rows[min(self.by_state["leased"])])
        super().ack(lease)


@breaks_with_room("DELIVER-12")
class DropsTheOldest(Bounded):
    """A full queue makes room by dropping what has waited longest."""

    def make_room(self, many: int) -> None:
        for number in sorted(self.rows)[: max(0, len(self.rows) + many - self.room)]:
            self.remove(self.rows[number])


@breaks_with_room("DELIVER-12")
class RoomForOneMore(Bounded):
    """There is room for one more than was said."""

    def make_room(self, many: int) -> None:
        if len(self.rows) + many > self.room + 1:
            super().make_room(many)


@breaks_with_room("DELIVER-12")
class TheFirstLimitHolds(Bounded):
    """The limit is the one of a settings file of ours, whatever is given at opening."""

    limits: ClassVar[int] = 3

    def make_room(self, many: int) -> None:
        self.room = self.limits if self.room != ROOM else ROOM
        super().make_room(many)


@breaks_with_room("DELIVER-12")
class NeverRoomAgain(Bounded):
    """Room is counted by what was ever pushed."""

    def make_room(self, many: int) -> None:
        if self.last + many > self.room:
            super().make_room(self.room + 1)


@breaks_with_fixed_room("DELIVER-1")
class FullTooSoon(Bounded):
    """The queue fixes its room, and counts what was ever pushed."""

    def make_room(self, many: int) -> None:
        if self.last + many > self.room:
            super().make_room(self.room + 1)


@breaks_with_fixed_room("DELIVER-1")
class DropsTheNewest(Bounded):
    """The queue fixes its room, and drops without a word what there is no room for."""

    def make_room(self, many: int) -> None:
        del many

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        answers = super().push_many(items)
        with self.alone():
            for number in sorted(self.rows)[self.room :]:
                self.remove(self.rows[number])
        return answers


@breaks_with_room("DELIVER-12")
class DropsWhatRunsOut(Bounded):
    """What is in hand takes no room, and is dropped where there is none when it runs out."""

    def make_room(self, many: int) -> None:
        if len(self.rows) - len(self.by_state["leased"]) + many > self.room:
            super().make_room(self.room + 1)

    def promote(self, now: int) -> None:
        for row in self.rows_in("leased"):
            if row.due is not None and row.due <= now and len(self.by_state["ready"]) >= self.room:
                self.remove(row)
        super().promote(now)


@breaks_with_room("DELIVER-12")
class DropsWhatFallsDue(Bounded):
    """What is scheduled takes no room, and is dropped where there is none when it falls due."""

    def make_room(self, many: int) -> None:
        if len(self.rows) - len(self.by_state["scheduled"]) + many > self.room:
            super().make_room(self.room + 1)

    def promote(self, now: int) -> None:
        for row in self.rows_in("scheduled"):
            if row.due is not None and row.due <= now and len(self.by_state["ready"]) >= self.room:
                self.remove(row)
        super().promote(now)


@breaks_with_room("DELIVER-13")
class PeeksAhead(Bounded):
    """Where nothing is ready, a look shows what is scheduled."""

    def peek(self) -> Task | None:
        return super().peek() or next(iter(self.tasks(state="scheduled")), None)


@breaks_with_room("DELIVER-13")
class PeeksAtTheOldest(Bounded):
    """A look shows what has waited longest, whatever has a higher priority."""

    def peek(self) -> Task | None:
        return min(self.tasks(state="ready"), key=lambda task: int(task.id.rpartition("/")[2]), default=None)


@breaks_with_room("DELIVER-13")
class PeekingClaims(Bounded):
    """A look counts as an attempt."""

    def peek(self) -> Task | None:
        with self.alone():
            row = self.first()
            if row is None:
                return None
            row.attempts += 1
            self.write(row)
            return self.shown(row)


@breaks_with_room("DELIVER-13")
class PeekingMovesToTheEnd(Bounded):
    """What was looked at is put back behind the others."""

    def peek(self) -> Task | None:
        with self.alone() as now:
            row = self.first()
            if row is None:
                return None
            shown = self.shown(row)
            self.remove(row)
            row.number = self.last + 1
            self.wait(row, None, now)
            return shown


@breaks_with_room("DELIVER-13")
class PeeksOnlyOnce(Bounded):
    """A look remembers what it saw, and shows it after it is gone."""

    seen: Task | None = None

    def peek(self) -> Task | None:
        self.seen = self.seen or super().peek()
        return self.seen


class Unleased(Queue):
    """What is claimed is in hand until it is settled; there are no leases."""

    promises = Queue.promises - {"lease", "extend"}


@breaks("LEASE-9")
class AcksTwiceWithoutLeases(Unleased):
    """There are no leases, and settling what was settled before is fine."""

    def ack(self, lease: Lease) -> None:
        try:
            super().ack(lease)
        except LeaseLost:
            return


@breaks("LEASE-10")
class OpeningTakesAllBack(Unleased):
    """There are no leases; whoever opens the queue has all that is in hand wait again."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        with self.alone() as now:
            for row in self.rows_in("leased"):
                row.token = None
                self.wait(row, None, now)
