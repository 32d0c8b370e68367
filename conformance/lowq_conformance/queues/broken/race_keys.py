"""Queues that mix up keys, headers or room where several clients meet, and never with one alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from lowq import Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks, breaks_in
from lowq_conformance.queues.sound.bounded import Bounded, WithRoom
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("RACE-3")
class HeadersOnASlip(Queue):
    """The headers of a push lie on a slip, one for all clients, until the task is written."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.slip = place / "slip"

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        self.slip.write_text(json.dumps([dict(row.headers) for row in rows]))
        with self.alone() as now:
            for row, headers in zip(rows, json.loads(self.slip.read_text()), strict=False):
                row.headers = headers
            return [self.add(row, now) for row in rows]


@breaks("RACE-3")
class GivesBackWithoutHeaders(Queue):
    """A release gives the task back in one step and its headers in the next."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            headers, row.headers = row.headers, {}
            self.write(row)
        super().release(lease, not_before=not_before)
        with self.alone():
            if row.number in self.rows:
                self.rows[row.number].headers = headers
                self.write(self.rows[row.number])


@breaks("DEDUPE-9", "RACE-3")
class LooksForItsKeyFirst(Queue):
    """A push under a key looks for it in one transaction and adds its task in the next; without one it does right."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone():
            standing = [self.standing(row) for row in rows]
        if any(standing) or len(rows) != 1 or rows[0].key is None:
            return super().push_many(items)
        with self.alone() as now:
            rows[0].number, rows[0].pushed = self.last + 1, now
            self.wait(rows[0], rows[0].not_before, now)
            return [Pushed(self.id(rows[0]), added=True)]


@breaks("RACE-3")
class FreesWhatIsTakenAgain(Queue):
    """What is equal is looked up in a file of its own, of which an ack takes its line out in a step after its task's:
    by then it may be that of another push."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.taken = place / "taken"
        self.taken.mkdir(exist_ok=True)

    def line(self, row: Row) -> Path:
        """The file that tells which task stands for what is equal."""
        return self.taken / sha256(repr((self.name, self.identity(row))).encode()).hexdigest()

    def standing(self, row: Row) -> Row | None:
        line = self.line(row)
        number = int(line.read_text()) if line.exists() else 0
        found = self.rows.get(number)
        return found if found is not None and found.state != "dead" else None

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        self.line(row).write_text(str(row.number))
        super().wait(row, not_before, now)

    def ack(self, lease: Lease) -> None:
        with self.alone():
            row = self.held(lease)
            self.remove(row)
        with self.alone():
            self.line(row).unlink(missing_ok=True)


@breaks_in(WithRoom, "DELIVER-12")
class CountsBeforeItPushes(Bounded):
    """A push looks whether there is room in one transaction and adds its task in the next."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        listed = list(items)
        with self.alone():
            self.make_room(len(listed))
        return Queue.push_many(self, listed)
