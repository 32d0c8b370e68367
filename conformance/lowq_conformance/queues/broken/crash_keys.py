"""Queues that lose hold of a key or of headers when a process is killed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from lowq import Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.crash import Reserving
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("CRASH-2", "CRASH-6")
class ReservesItsKeyFirst(Reserving):
    """A push reserves its key in one step and writes the task in the next, and a killed one leaves it reserved."""

    def reserves(self, row: Row) -> bool:
        return row.key is not None


@breaks("CRASH-6")
class KeyIsItsHoldersToFree(Queue):
    """Who claims a task with a key has that key for as long as the process has not acked a task of it, however the
    task ends."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.holders = place / "holders"
        self.holders.mkdir(exist_ok=True)

    def mark(self, key: str) -> Path:
        """The file that says whose key it is."""
        return self.holders / sha256(key.encode()).hexdigest()

    def standing(self, row: Row) -> Row | None:
        found = super().standing(row)
        if found is None and row.key is not None and self.mark(row.key).exists():
            return row  # of which nothing is kept
        return found

    def hold(self, row: Row, until: int) -> None:
        if row.key is not None and not self.mark(row.key).exists():
            self.mark(row.key).write_text(str(os.getpid()))
        super().hold(row, until)

    def held(self, lease: Lease) -> Row:
        row = super().held(lease)
        mark = None if row.key is None else self.mark(row.key)
        if mark is not None and mark.exists() and mark.read_text() == str(os.getpid()):
            mark.unlink()
        return row


@breaks("RACE-3", "CRASH-2")
class HeadersFollowTheirTask(Queue):
    """A task is there first, and its headers are written in the next step."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        headers = [row.headers for row in rows]
        for row in rows:
            row.headers = {}
        with self.alone() as now:
            answers = [self.add(row, now) for row in rows]
        with self.alone():
            for row, answer, each in zip(rows, answers, headers, strict=True):
                known = self.rows.get(row.number)
                if answer.added and known is not None:
                    known.headers = each
                    self.write(known)
        return answers
