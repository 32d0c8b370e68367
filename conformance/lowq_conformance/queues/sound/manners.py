"""Sound queues with other manners than lowq's: how they answer, list and count, and for how long a claim lasts."""

from __future__ import annotations

import itertools
import random
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lowq import Clock, Lease
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.limited import SettingAside
from lowq_conformance.queues.sound.plain import Plain
from lowq_conformance.queues.sound.rows import Row


class FindsNothingAtFirst(Journal):
    """A client's first claim finds nothing, as where what was pushed is on its way; `prompt` is not promised."""

    promises = Journal.promises - {"prompt"}

    class _Queue(Queue):
        promises = Queue.promises - {"prompt"}
        looked = False

        def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
            with self.alone() as now:
                self.until(now, lease_for)
                looked, self.looked = self.looked, True
            return super().claim(lease_for=lease_for) if looked else None

    _queue = _Queue


class Touches(Journal):
    """An extension takes no length, and holds the task for as long as its claim did, as beanstalkd's touch does."""

    class _Queue(Queue):
        def __init__(self, place: Path, name: str, clock: Clock) -> None:
            super().__init__(place, name, clock)
            self.lengths: dict[str, timedelta] = {}

        def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
            lease = super().claim(lease_for=lease_for)
            if lease is not None:
                self.lengths[lease.token] = lease_for
            return lease

        def extend(self, lease: Lease) -> Lease:  # type: ignore[override]
            return super().extend(lease, lease_for=self.lengths.get(lease.token, DAY))

    _queue = _Queue


class FencesByClient(Journal):
    """A client settles what it has in hand by the id, whichever of its claims that is from, as in beanstalkd."""

    class _Queue(Queue):
        def __init__(self, place: Path, name: str, clock: Clock) -> None:
            super().__init__(place, name, clock)
            self.mark = secrets.token_hex(8)

        def hold(self, row: Row, until: int) -> None:
            super().hold(row, until)
            row.token = self.mark
            self.write(row)

    _queue = _Queue


class ListsOneByOne(Journal):
    """A listing is a generator."""

    class _Queue(Queue):
        def tasks(self, *, state: str | None = None) -> Iterator[Any]:  # type: ignore[override]
            yield from super().tasks(state=state)

    _queue = _Queue


class CountsByGroup(Journal):
    """A count is what `SELECT state, count(*) … GROUP BY state` gives: of a state in which no task is, nothing."""

    class _Queue(Queue):
        def count(self) -> dict[str, int]:  # type: ignore[override]
            return {state: number for state, number in asdict(super().count()).items() if number}

    _queue = _Queue


class ListsWhatIsDone(Journal):
    """What is done or was cancelled is kept for ever, and listed as that, as in a table of all that ever was."""

    class _Queue(Queue):
        def __init__(self, place: Path, name: str, clock: Clock) -> None:
            self.ended: dict[int, Row] = {}
            super().__init__(place, name, clock)

        def keep(self, row: Row) -> None:
            super().keep(row)
            if row.state == "gone":
                self.ended[row.number] = row

        def tasks(self, *, state: str | None = None) -> list[Any]:
            there = super().tasks(state=state)
            ended = [SimpleNamespace(work=self.decode(row.text), state="done") for row in self.ended.values()]
            return [*ended, *there]

        def count(self) -> dict[str, int]:  # type: ignore[override]
            return {**asdict(super().count()), "done": len(self.ended)}

    _queue = _Queue


class SetsTimeouts(Journal):
    """Its module sets a timeout for all sockets that are made from then on, and makes each random number the same."""

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue at `place`."""
        socket.setdefaulttimeout(0.1)
        random.seed(0)
        return super().open(place, name)


class NumbersForIds(Journal):
    """Ids are numbers, and nothing is found by their text; what comes back is dead."""

    class _Queue(SettingAside):
        limit = 1

        def id(self, row: Row) -> Any:
            return row.number

        def find(self, id: Any) -> Row | None:
            return self.rows.get(id) if type(id) is int else None

    max_deliveries = _Queue.limit
    _queue = _Queue


@dataclass
class _Works:
    """What all clients of a place share: the works by their numbers, and which of them are in hand."""

    lock: Any = field(default_factory=threading.RLock)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    works: dict[int, Any] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)


class Guard:
    """A claim, which is over when nobody has this object any more."""

    def __init__(self, shared: _Works, number: int) -> None:
        self._shared, self.number, self.work = shared, number, shared.works[number]

    def __del__(self) -> None:
        with self._shared.lock:
            self._shared.held.discard(self.number)


class HoldsByObject(Plain):
    """A claim lasts as long as the object that was handed out, as where that has a lock of the system's."""

    class _Client:
        def __init__(self, shared: _Works) -> None:
            self._shared = shared

        def push(self, work: Any) -> None:
            with self._shared.lock:
                self._shared.works[next(self._shared.numbers)] = work

        def claim(self) -> Guard | None:
            with self._shared.lock:
                free = min(self._shared.works.keys() - self._shared.held, default=None)
                if free is None:
                    return None
                self._shared.held.add(free)
                return Guard(self._shared, free)

        def ack(self, guard: Guard) -> None:
            with self._shared.lock:
                self._shared.works.pop(guard.number, None)

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[Path, _Works] = {}

    def open(self, place: Path) -> Any:
        """A client of the queue at `place`."""
        with self._opening:
            return self._Client(self._places.setdefault(place, _Works()))
