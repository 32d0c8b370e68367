"""A queue in a table of SQLite, as many have written it: each call is one statement, or one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from lowq import Clock, LeaseLost, Pushed
from lowq_conformance.contract.promises import Redriven
from lowq_conformance.queues.lowq import FakeTime
from lowq_conformance.queues.sound.values import encode

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMA = """
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY AUTOINCREMENT, work TEXT NOT NULL, until INTEGER NOT NULL DEFAULT 0, token TEXT,
    dead INTEGER NOT NULL DEFAULT 0
)"""
FREE = "NOT dead AND until <= ?"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task in hand, and the word that its claim was given."""

    id: int
    work: Any
    token: str


class Client:
    """A client, which has a connection for each call."""

    def __init__(self, place: Path, clock: Clock) -> None:
        self._path, self._clock = place / "queue.db", clock
        with self.transaction() as database:
            database.execute(SCHEMA)

    def push(self, work: Any) -> Pushed:
        """The work waits, or an equal one stood."""
        text = encode(work)
        with self.transaction() as database:
            standing = self.standing(database, text)
            if standing is not None:
                return Pushed(standing, added=False)  # type: ignore[arg-type]  # its ids are numbers
            id = database.execute("INSERT INTO task (work) VALUES (?)", (text,)).lastrowid
            return Pushed(id, added=True)  # type: ignore[arg-type]  # likewise

    def claim(self, *, lease_for: timedelta) -> Claimed | None:
        """The first task that nobody has is in hand."""
        now, token = self.now(), token_hex(8)
        with self.transaction() as database:
            found = database.execute(
                f"UPDATE task SET until = ?, token = ? WHERE id = (SELECT min(id) FROM task WHERE {FREE})"
                " RETURNING id, work",
                (self.until(lease_for), token, now),
            ).fetchone()
        return None if found is None else Claimed(found[0], json.loads(found[1]), token)

    def extend(self, held: Claimed, *, lease_for: timedelta) -> None:
        """It is in hand for so long from now."""
        self.settle("UPDATE task SET until = ?", held, self.until(lease_for))

    def ack(self, held: Claimed) -> None:
        """It is gone."""
        self.settle("DELETE FROM task", held)

    def release(self, held: Claimed) -> None:
        """It waits again."""
        self.settle("UPDATE task SET until = 0, token = NULL", held)

    def dead_letter(self, held: Claimed) -> None:
        """It is set aside."""
        self.settle("UPDATE task SET dead = 1, until = 0, token = NULL", held)

    def redrive(self, id: int) -> bool:
        """It waits again, where it was dead and no equal one stands."""
        with self.transaction() as database:
            found = database.execute("SELECT work FROM task WHERE id = ? AND dead", (id,)).fetchone()
            if found is None or self.standing(database, found[0]) is not None:
                return False
            database.execute("UPDATE task SET dead = 0 WHERE id = ?", (id,))
            return True

    def cancel(self, id: int) -> bool:
        """It is gone, where nobody had it in hand."""
        with self.transaction() as database:
            return database.execute("DELETE FROM task WHERE id = ? AND until <= ?", (id, self.now())).rowcount > 0

    # what they are made of

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction, alone in the file."""
        database = sqlite3.connect(self._path, isolation_level=None, timeout=30)
        try:
            database.execute("PRAGMA synchronous = OFF")  # a kill loses nothing by that
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        finally:
            database.close()

    def settle(self, statement: str, held: Claimed, *values: int) -> None:
        """The statement was carried out for the task. Raises LeaseLost where it is not in the claim's hand."""
        with self.transaction() as database:
            done = database.execute(f"{statement} WHERE id = ? AND token = ?", (*values, held.id, held.token))
            if not done.rowcount:
                raise LeaseLost(f"task {held.id} was settled already, or somebody else has claimed it since")

    def standing(self, database: sqlite3.Connection, text: str) -> int | None:
        """The task that refuses an equal push, or None."""
        found = database.execute("SELECT id FROM task WHERE work = ? AND NOT dead", (text,)).fetchone()
        return None if found is None else int(found[0])

    def now(self) -> int:
        return (self._clock.now() - EPOCH) // timedelta(microseconds=1)

    def until(self, lease_for: timedelta) -> int:
        """The end of a lease."""
        if lease_for <= timedelta(0):
            raise ValueError("lease_for: expected more than zero")
        return self.now() + lease_for // timedelta(microseconds=1)


class Table(FakeTime):
    """A table in SQLite: order, leases, setting aside and cancelling, but neither keys nor times nor priorities."""

    promises: ClassVar[set[str]] = set(
        "fifo lease fenced shared_lease extend release dead_letter cancel json prompt persistent threads processes"
        " crash".split()
    )
    dedupe = "until_done"
    redriven: Redriven = "alone"
    _client: ClassVar[type[Client]] = Client

    def open(self, place: Path) -> Client:
        """A client of the queue at `place`."""
        return self._client(place, self.clock(place))
