"""A queue that keeps a journal: a file of JSON lines, and the lock under which operations follow one another."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import Counts, Dedupe, Headers, Item, Lease, LeaseLost, Pushed, State, Task
from lowq_conformance.contract.promises import Redriven
from lowq_conformance.queues.lowq import FakeTime
from lowq_conformance.queues.sound.rows import EPOCH, Row, Rows
from lowq_conformance.queues.sound.values import check_item, encode

DAY = timedelta(days=1)


class Queue(Rows):
    """A client of the queue that is kept in a folder."""

    promises: ClassVar[frozenset[str]] = frozenset(
        "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch key headers names"
        " inspect json prompt close clock persistent threads processes crash".split()
    )
    dedupe: ClassVar[Dedupe] = "until_done"
    windows: ClassVar[dict[str, tuple[str, ...]]] = {
        "until_done": ("scheduled", "ready", "leased"),
        "until_claimed": ("scheduled", "ready"),
        "off": (),
    }

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        return self.push_many([Item(work, key, priority, not_before, {} if headers is None else headers)])[0]

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone() as now:
            return [self.add(row, now) for row in rows]

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone() as now:
            until = self.until(now, lease_for)
            row = self.first()
            if row is None:
                return None
            self.hold(row, until)
            return self.lease(row)

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone() as now:
            until = self.until(now, lease_for)
            row = self.held(lease)
            row.state, row.due = "leased", until
            self.write(row)
            return self.lease(row)

    def ack(self, lease: Lease) -> None:
        with self.alone():
            self.remove(self.held(lease))

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        again = None if not_before is None else self.micros(not_before)
        with self.alone() as now:
            row = self.held(lease)
            row.token = None
            row.not_before = row.not_before if again is None else again
            self.wait(row, again, now)

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            row = self.held(lease)
            row.state, row.due, row.token, row.reason = "dead", None, None, reason
            self.write(row)

    def redrive(self, id: str) -> bool:
        with self.alone() as now:
            row = self.find(id)
            if row is None or row.state != "dead" or self.standing(row) is not None:
                return False
            row.attempts = 0
            self.wait(row, None, now)
            return True

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state == "leased":
                return False
            self.remove(row)
            return True

    def task(self, id: str) -> Task | None:
        with self.alone():
            row = self.find(id)
            return None if row is None else self.shown(row)

    def tasks(self, *, state: str | None = None) -> list[Task]:
        with self.alone():
            orders = {
                "ready": self.order,
                "scheduled": lambda row: (row.due, row.number),
                "leased": lambda row: row.number,
                "dead": lambda row: row.number,
            }
            return [
                self.shown(row)
                for each, order in orders.items()
                if state in (None, each)
                for row in sorted(self.rows_in(each), key=order)
            ]

    def count(self) -> Counts:
        with self.alone():
            return Counts(**{str(state): len(numbers) for state, numbers in self.by_state.items()})

    # What one operation is made of; each broken queue replaces one of these.

    def encode(self, work: Any) -> str:
        return encode(work)

    def decode(self, text: str) -> Any:
        return json.loads(text)

    def order(self, row: Row) -> Any:
        """The ready row with the least of these is claimed first."""
        return -row.priority, row.number

    def until(self, now: int, lease_for: timedelta) -> int:
        if lease_for <= timedelta(0):
            raise ValueError("lease_for: expected more than zero")
        return now + lease_for // timedelta(microseconds=1)

    def row(self, item: Item) -> Row:
        """The checked row of an item, not yet in the queue."""
        check_item(item)
        not_before = None if item.not_before is None else self.micros(item.not_before)
        return Row(self.encode(item.work), item.key, item.priority, not_before, headers=dict(item.headers))

    def add(self, row: Row, now: int) -> Pushed:
        standing = self.standing(row)
        if standing is not None:
            return Pushed(self.id(standing), added=False)
        row.number, row.pushed = self.last + 1, now
        self.wait(row, row.not_before, now)
        return Pushed(self.id(row), added=True)

    def standing(self, row: Row) -> Row | None:
        """The task that refuses an equal push, or None."""
        numbers = self.equals.get(self.identity(row), set())
        window = self.windows[self.dedupe]
        return next((self.rows[number] for number in sorted(numbers) if self.rows[number].state in window), None)

    def first(self) -> Row | None:
        return min(self.rows_in("ready"), key=self.order, default=None)

    def hold(self, row: Row, until: int) -> None:
        row.state, row.due, row.token = "leased", until, secrets.token_hex(8)
        row.attempts += 1
        self.write(row)

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        later = not_before is not None and not_before > now
        row.state, row.due = ("scheduled", not_before) if later else ("ready", None)
        self.write(row)

    def held(self, lease: Lease) -> Row:
        row = self.find(lease.id)
        if row is None or row.token is None or row.token != lease.token:
            raise LeaseLost(f"task {lease.id} was settled already, or somebody else has claimed it since")
        return row

    def find(self, id: str) -> Row | None:
        name, _, number = id.rpartition("/")
        return self.rows.get(int(number)) if name == self.name else None

    def id(self, row: Row) -> str:
        return f"{self.name}/{row.number}"

    def shown(self, row: Row) -> Task:
        not_before = None if row.not_before is None else EPOCH + timedelta(microseconds=row.not_before)
        pushed = EPOCH + timedelta(microseconds=row.pushed)
        return Task(
            id=self.id(row),
            work=self.decode(row.text),
            key=row.key,
            priority=row.priority,
            not_before=not_before,
            attempts=row.attempts,
            state=State(row.state),
            reason=row.reason,
            pushed_at=pushed,
            headers=Headers(row.headers),
        )

    def lease(self, row: Row) -> Lease:
        assert row.token is not None
        assert row.due is not None
        return Lease(self.shown(row), row.token, EPOCH + timedelta(microseconds=row.due))


class Journal(FakeTime):
    """A queue that keeps a journal, and promises everything but a worker."""

    promises = Queue.promises
    dedupe: str = Queue.dedupe
    redriven: Redriven = "alone"
    _queue = Queue

    def open(self, place: Path, name: str = "default") -> Queue:
        """A client of the queue `name` at `place`."""
        return self._queue(place, name, self.clock(place))
