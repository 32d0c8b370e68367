"""Queues whose counts are kept beside what is counted, and drift: a few lines each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from lowq import Clock, Counts, Item, Lease, Pushed, Task
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


class Drifting(Queue):
    """A client whose count of ready tasks is so much off, as a file says."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        self.off = place / f"off-{name.encode().hex()}"
        super().__init__(place, name, clock)

    def drift(self, by: int) -> None:
        """The count is off by so much more."""
        self.off.write_text(json.dumps(self.drifted() + by))

    def drifted(self) -> int:
        """How far off the count is."""
        return int(json.loads(self.off.read_text())) if self.off.exists() else 0

    def count(self) -> Counts:
        counts = super().count()
        return Counts(counts.scheduled, max(0, counts.ready + self.drifted()), counts.leased, counts.dead)


@breaks("DELIVER-10")
class CountsBeforeItChecks(Drifting):
    """A push counts before it is looked at whether it can be kept."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        self.drift(len(items))
        answers = super().push_many(items)
        self.drift(-len(items))
        return answers


@breaks("DELIVER-10")
class CountsDuplicates(Drifting):
    """A push counts, though an equal work stands and it adds nothing."""

    def standing(self, row: Row) -> Row | None:
        found = super().standing(row)
        if found is not None and row.number == 0:
            self.drift(1)
        return found


@breaks("DELIVER-10")
class CancelsCountAlways(Drifting):
    """Cancelling what is gone counts once more."""

    def cancel(self, id: str) -> bool:
        cancelled = super().cancel(id)
        if not cancelled:
            self.drift(-1)
        return cancelled


@breaks("DELIVER-10")
class RedrivesCountTwice(Drifting):
    """A redriven task counts when it is redriven, and again when it is written."""

    def redrive(self, id: str) -> bool:
        redriven = super().redrive(id)
        if redriven:
            self.drift(1)
        return redriven


@breaks("DELIVER-10")
class StaleAcksCount(Drifting):
    """An ack counts before it is refused."""

    def ack(self, lease: Lease) -> None:
        self.drift(-1)
        super().ack(lease)
        self.drift(1)


@breaks("DELIVER-10")
class OpeningCountsAgain(Drifting):
    """Whoever opens the queue counts what is there on top of what was counted."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.drift(super().count().ready)


@breaks("DELIVER-10")
class RunOutCountsTwice(Queue):
    """What was leased for too long is ready, and counts among the leased too until somebody claims it."""

    def count(self) -> Counts:
        counts = super().count()
        with self.alone():
            late = sum(row.token is not None for row in self.rows_in("ready"))
        return Counts(counts.scheduled, counts.ready, counts.leased + late, counts.dead)


@breaks("DELIVER-10")
class CountsItsOwn(Queue):
    """A client counts what was there when it first was asked, and what it did itself since."""

    known: Counts | None = None

    def alone_count(self) -> Counts:
        """What is there."""
        return super().count()

    def count(self) -> Counts:
        self.known = self.known or self.alone_count()
        return self.known

    def write(self, row: Row) -> None:
        super().write(row)
        self.known = None


@breaks("DELIVER-10")
class LateAcksLeaveACount(Drifting):
    """An ack that comes when the task was let wait again settles it, and leaves it counted."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            late = (row := self.find(lease.id)) is not None and row.token == lease.token and row.state == "ready"
        super().ack(lease)
        self.drift(int(late))


@breaks("DELIVER-10")
class ListsAHundred(Queue):
    """A listing shows a hundred tasks."""

    def tasks(self, *, state: str | None = None) -> list[Task]:
        return super().tasks(state=state)[:100]


@breaks("DEAD-2")
class KeepsAHundredDead(Queue):
    """Of the dead the latest hundred are kept."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        super().dead_letter(lease, reason=reason)
        with self.alone():
            for row in sorted(self.rows_in("dead"), key=lambda row: row.number)[:-100]:
                self.remove(row)


@breaks("DELIVER-10")
class LateExtensionsCountTwice(Drifting):
    """A task that waits again, and is in hand again by a late extension, still counts as waiting."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone():
            row = self.find(lease.id)
            waits = row is not None and row.state == "ready"
        extended = super().extend(lease, lease_for=lease_for)
        self.drift(int(waits))
        return extended
