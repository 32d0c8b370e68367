"""Queues that lose something, or say something false, when another client keeps them waiting for too long."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import BackendUnavailable, Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks, enter
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.patient import PatientQueue


@breaks("RACE-8")
class PushesAreLostOnTheWay(PatientQueue):
    """A push that has waited for too long answers as though its work had been kept."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        batch = list(items)
        try:
            return super().push_many(batch)
        except BackendUnavailable:
            return [Pushed(f"{self.name}/{self.last + 1000 + number}", added=True) for number in range(len(batch))]


@breaks("RACE-8")
class BusyIsDone(PatientQueue):
    """An ack that has waited for too long says nothing of it, and its task comes back."""

    def ack(self, lease: Lease) -> None:
        with suppress(BackendUnavailable):
            super().ack(lease)


@breaks("RACE-8")
class BusyIsADuplicate(PatientQueue):
    """A push that has waited for too long answers that an equal work is there."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        batch = list(items)
        try:
            return super().push_many(batch)
        except BackendUnavailable:
            return [Pushed(f"{self.name}/{self.last}", added=False) for _ in batch]


@breaks("RACE-8")
class LongBusyIsEmpty(PatientQueue):
    """A claim that has waited for too long answers that there is nothing to do."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        try:
            return super().claim(lease_for=lease_for)
        except BackendUnavailable:
            return None


@breaks("RACE-8")
class GoesAheadInTheEnd(Queue):
    """The lock is a file, and one that has stood for too long is taken away from whoever holds it."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.lock = self.file(place).with_suffix(".lock")

    @contextmanager
    def alone(self) -> Iterator[int]:
        if self.fd is None:
            with super().alone() as now:
                yield now
            return
        with self.mutex:
            end = time.monotonic() + PatientQueue.patience
            while not self.locked():
                time.sleep(0.002)
                if time.monotonic() > end:
                    self.lock.unlink(missing_ok=True)
            try:
                self.replay(self.fd)
                now = self.micros(self.clock.now())
                self.promote(now)
                yield now
            except BaseException:
                self.start_over()
                raise
            else:
                self.flush(self.fd)
            finally:
                self.lock.unlink(missing_ok=True)

    def locked(self) -> bool:
        """Whether the lock file is this client's now."""
        try:
            os.close(os.open(self.lock, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Row:
    """A row that was claimed."""

    number: int
    work: Any


class InATable:
    """A table in a SQLite file, as many have written it: an error of the database is logged, if at all."""

    promises: ClassVar[set[str]] = {"fifo", "persistent", "processes", "crash", "json", "prompt"}

    def open(self, place: Path) -> InATableClient:
        """A client of the queue at `place`."""
        return InATableClient(place / "queue.db")


class InATableClient:
    """A client that opens the database for each call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._database() as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS task (number INTEGER PRIMARY KEY AUTOINCREMENT, work, taken)"
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")

    def push(self, work: Any) -> None:
        """The work is kept, or the database was locked for five seconds, and nobody is told."""
        text = json.dumps(work, allow_nan=False)
        with suppress(sqlite3.OperationalError), self._database() as database:
            database.execute("INSERT INTO task (work, taken) VALUES (?, 0)", (text,))

    def claim(self) -> Row | None:
        """The first row that nobody has taken, which is taken now."""
        with self._database() as database:
            found = database.execute(
                "SELECT number, work FROM task WHERE NOT taken ORDER BY number LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            database.execute("UPDATE task SET taken = 1 WHERE number = ?", found[:1])
            return Row(found[0], json.loads(found[1]))

    def ack(self, row: Row) -> None:
        """The row is gone."""
        with self._database() as database:
            database.execute("DELETE FROM task WHERE number = ?", (row.number,))


InATable.__doc__ = "A push to a table in SQLite that finds the database locked for five seconds says nothing of it."
enter(InATable, ("RACE-8",))
