"""A stranger's queue in SQLite's place: one that keeps a journal of JSON lines, brought to lowq's contract.

It is the suite's sound queue of that design, which has only what the suite asks for; the rest of the contract is
here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import EPOCH, Row

from lowq import Acked, Clock, Lease, LeaseLost, NoTransaction, Pushed, Task
from lowq.clock import SystemClock

NOW = timedelta(0)


class Journaled(Queue):
    """A client of the queue in the folder `place`; a forked process goes on with one of its own."""

    def __init__(self, place: Path, clock: Clock) -> None:
        place.mkdir(exist_ok=True)
        self.place = place
        super().__init__(place, "default", clock)

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        """As Backend.push, but that this queue promises no headers."""
        assert not headers
        return super().push(work, key=key, priority=priority, not_before=not_before)

    def within(self, connection: object) -> AbstractContextManager[None]:
        """As Backend.within, which this queue does not promise."""
        raise NoTransaction(f"no transaction on {connection}")

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:  # type: ignore[override]
        """As Backend.claim, looking every few milliseconds."""
        left = self.clock.countdown(wait)
        while (lease := super().claim(lease_for=lease_for)) is None and left() > NOW:
            SystemClock().sleep(timedelta(milliseconds=5))
        return lease

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """As Backend.claim_many, one after another."""
        claims = (self.claim(lease_for=lease_for) for _ in range(limit))
        return [lease for lease in claims if lease is not None]

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """As Backend.ack_many, one after another."""
        lost: list[str | None] = []
        for lease in leases:
            try:
                self.ack(lease)
                lost.append(None)
            except LeaseLost as error:
                lost.append(str(error))
        return Acked(tuple(lost), tuple(self.claim_many(claim, lease_for=lease_for or NOW)))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:  # type: ignore[override]
        """As Backend.ack, but that the next claim is a step of its own."""
        super().ack(lease)
        return None if claim_for is None else self.claim(lease_for=claim_for)

    def release(
        self, lease: Lease, *, not_before: datetime | None = None, reason: str | None = None, uncount: bool = False
    ) -> None:
        """As Backend.release."""
        again = None if not_before is None else self.micros(not_before)
        with self.alone() as now:
            row = self.held(lease)
            row.token, row.reason = None, reason
            row.attempts -= uncount
            row.not_before = row.not_before if again is None else again
            self.wait(row, again, now)

    def tasks(self, *, state: str | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """As Backend.tasks."""
        found = super().tasks(state=state)
        start = 0 if after is None else [task.id for task in found].index(after.id) + 1
        return found[start:][:limit]

    def next_due(self) -> datetime | None:
        """As Backend.next_due."""
        with self.alone():
            due = [row.due for row in self.rows.values() if row.due is not None]
        return EPOCH + timedelta(microseconds=min(due)) if due else None

    def id(self, row: Row) -> str:
        """The number alone: no other queue has this place."""
        return str(row.number)

    def find(self, id: str) -> Row | None:
        """The task of this id."""
        return self.rows.get(int(id))

    @contextmanager
    def alone(self) -> Iterator[int]:
        """As there; in a child with a file of its own, because the lock is the open file's."""
        if self.pid != os.getpid():
            super().__init__(self.place, self.name, self.clock)
        with super().alone() as now:
            yield now
