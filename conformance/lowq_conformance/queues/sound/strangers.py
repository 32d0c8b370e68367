"""Sound queues that are made otherwise than lowq's: each does something that its promises allow and ours never do.

Long: each is a few lines on one queue, and they are read beside each other.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from lowq import InvalidWork, Item, Lease, Pushed, State
from lowq_conformance.contract.refusals import EXPONENT, kinds
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.plain import Client as PlainClient
from lowq_conformance.queues.sound.rows import Row


class EndsLeases(Journal):
    """Whoever opens the queue takes all that was in hand back, so that no lease is shared."""

    promises = Journal.promises - {"shared_lease"}

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue; what others had in hand waits again."""
        opened: Queue = super().open(place, name)
        take_back(opened)
        return opened


def take_back(opened: Queue) -> None:
    """All that anybody has in hand waits again."""
    with opened.alone() as now:
        for row in opened.rows_in("leased"):
            row.token = None
            opened.wait(row, None, now)


class IdsAreKeys(Journal):
    """A task's id is what makes its work equal to others, as job ids are that an application chooses."""

    class _Queue(Queue):
        def id(self, row: Row) -> str:
            return f"{self.name}/{row.text if row.key is None else f'key {row.key}'}"

        def find(self, id: str) -> Row | None:
            mine = [row for row in self.rows.values() if self.id(row) == id]
            return max(mine, key=lambda row: (row.state != "dead", row.number), default=None)

    _queue = _Queue


class IdsOfRows(Journal):
    """An id is the number of a row that is free, as SQLite gives it where nobody forbids that."""

    class _Queue(Queue):
        def add(self, row: Row, now: int) -> Pushed:
            self.last = max(self.rows, default=0)
            return super().add(row, now)

    _queue = _Queue


class Wide(Journal):
    """Priorities have 64 bits, listings show a key that is made of the work, and states have words of its own."""

    promises = Journal.promises - {"key"}

    class _Queue(Queue):
        promises = Queue.promises - {"key"}

        def row(self, item: Item) -> Row:
            if type(item.priority) is int and -(2**63) <= item.priority < 2**63:
                row = super().row(replace(item, priority=0))
                row.priority = item.priority
                return row
            return super().row(item)

        def tasks(self, *, state: str | None = None) -> list[Any]:
            return [
                SimpleNamespace(
                    id=task.id, work=task.work, priority=task.priority, key=f"derived {n}", state="a word"
                )
                for n, task in enumerate(super().tasks(state=state))
            ]

    _queue = _Queue


class WithoutNul(Journal):
    """A database that keeps no U+0000 in its texts, and says so; nor the empty text, nor null."""

    refuses: ClassVar[set[str]] = {"nul", "empty", "null"}

    class _Queue(Queue):
        def encode(self, work: Any) -> str:
            text = super().encode(work)
            if kinds(work) & {"nul", "empty", "null"}:
                raise InvalidWork("work: neither U+0000 nor the empty text nor null can be kept here")
            return text

    _queue = _Queue


class SaysNo(Journal):
    """Cancelling and redriving say no by raising, and a dead task is not cancelled."""

    class _Queue(Queue):
        def cancel(self, id: str) -> bool:
            task = self.task(id)
            if task is None or task.state == State.DEAD or not super().cancel(id):
                raise KeyError(f"no waiting task has the id {id}")
            return True

        def redrive(self, id: str) -> bool:
            if not super().redrive(id):
                raise LookupError(f"no dead task has the id {id}")
            return True

    _queue = _Queue


class SaysNothing(Journal):
    """Cancelling and redriving do not say what they did, and a dead task is not cancelled."""

    class _Queue(Queue):
        def cancel(self, id: str) -> Any:
            task = self.task(id)
            if task is not None and task.state != State.DEAD:
                super().cancel(id)

        def redrive(self, id: str) -> Any:
            super().redrive(id)

    _queue = _Queue


class CountsOn(Journal):
    """A redriven task's attempts are those of all its life."""

    class _Queue(Queue):
        def redrive(self, id: str) -> bool:
            with self.alone() as now:
                row = self.find(id)
                if row is None or row.state != "dead" or self.standing(row) is not None:
                    return False
                self.wait(row, None, now)
                return True

    _queue = _Queue


class ListsWhatWaits(Journal):
    """What is in hand is neither listed nor counted, nor what is dead."""

    class _Queue(Queue):
        def tasks(self, *, state: str | None = None) -> Any:
            return [task for task in super().tasks(state=state) if task.state in ("ready", "scheduled")]

        def count(self) -> Any:
            counts = super().count()
            return {"ready": counts.ready, "scheduled": counts.scheduled}

    _queue = _Queue


class Forwards(Journal):
    """Its clients hand on whatever they are given, so that their signatures say nothing."""

    promises = Journal.promises - {"extend"}

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        return ForwardsClient(super().open(place, name))


class ForwardsClient:
    """Takes anything by keyword; its release and its dead letter take nothing but the task."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def push(self, work: Any, /, **options: Any) -> Any:
        """Push."""
        return self._queue.push(work, **options)

    def release(self, claimed: Any, /, **options: Any) -> None:
        """Release, at once."""
        given_back(self._queue, claimed, **options)

    def dead_letter(self, claimed: Any, **options: Any) -> None:
        """Set aside, for no reason."""
        set_aside(self._queue, claimed, **options)

    def __getattr__(self, name: str) -> Any:
        if name in ("extend", "task", "next_due") or name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._queue, name)


def given_back(queue: Queue, claimed: Any) -> None:
    """The task waits again."""
    queue.release(claimed)


def set_aside(queue: Queue, claimed: Any) -> None:
    """The task is dead."""
    queue.dead_letter(claimed, reason="none was told")


class KeysOnly(Journal):
    """Only an explicit key makes works equal."""

    dedupe_by = "key"

    class _Queue(Queue):
        def identity(self, row: Row) -> Hashable:
            return ("push", row.number) if row.key is None else ("key", row.key)

    _queue = _Queue


class OneAtATime(Journal):
    """While one task is in hand nobody gets another: what it is for is that nothing runs beside something else."""

    one_at_a_time = True

    class _Queue(Queue):
        def first(self) -> Row | None:
            return None if self.rows_in("leased") else super().first()

    _queue = _Queue


class HasOne(Exception):
    """A client that has a task in hand asked for another."""


class OneInHand(Queue):
    """A client of which no other task is had before the one in hand is settled, or its lease over."""

    hand: Lease | None = None

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        if self.hand is not None and self.has(self.hand):
            self.say_no()
            return None
        self.hand = super().claim(lease_for=lease_for)
        return self.hand

    def has(self, lease: Lease) -> bool:
        """Whether this client has it still."""
        with self.alone():
            row = self.find(lease.id)
            return row is not None and row.state == "leased" and row.token == lease.token

    def say_no(self) -> None:
        """There is no other task for who has one."""


class OneEach(Journal):
    """A client has one task in hand at a time, as with RabbitMQ's prefetch count of one."""

    promises = Journal.promises - {"threads"}
    one_at_a_time = True
    _queue = OneInHand


class OneEachOrRefused(OneEach):
    """Who has a task in hand and asks for another is refused by name."""

    class _Queue(OneInHand):
        def say_no(self) -> None:
            """Raise HasOne."""
            raise HasOne("settle the task that you have first")

    _queue = _Queue


class OneNumber(Journal):
    """A number is what it is in JavaScript and in canonical JSON (RFC 8785), where 1.0 is 1."""

    class _Queue(Queue):
        def encode(self, work: Any) -> str:
            super().encode(work)  # refuses what is no JSON
            return super().encode(as_one_number(work))

    whole_floats = False
    _queue = _Queue


def as_one_number(work: Any) -> Any:
    """The work, in which whole floats are integers."""
    match work:
        case float() if work.is_integer() and abs(work) < EXPONENT:
            return int(work)
        case list():
            return [as_one_number(each) for each in work]
        case dict():
            return {key: as_one_number(each) for key, each in work.items()}
    return work


class ZeroLease(Journal):
    """A lease of zero is over at once, as SQS's visibility timeout of zero is."""

    class _Queue(Queue):
        def until(self, now: int, lease_for: timedelta) -> int:
            return super().until(now, lease_for) if lease_for else now

    zero_lease = True
    _queue = _Queue


class FixedLease(Journal):
    """Every lease lasts for forty seconds, and so does what it is extended by."""

    fixed_lease = timedelta(seconds=40)

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        return FixedLeaseClient(super().open(place, name), self.fixed_lease)


class FixedLeaseClient:
    """A client that is not asked for how long."""

    def __init__(self, queue: Queue, lease: timedelta) -> None:
        self._queue, self._lease = queue, lease

    def claim(self) -> Any:
        """Claim, for as long as ever."""
        return self._queue.claim(lease_for=self._lease)

    def extend(self, claimed: Any) -> Any:
        """Extend, for as long as ever."""
        return self._queue.extend(claimed, lease_for=self._lease)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


class Async(Journal):
    """Its clients' methods are coroutines, which go on only on the loop on which the client was made."""

    promises = Journal.promises | {"coroutines"}

    async def open(self, place: Path, name: str = "default") -> Any:  # type: ignore[override]  # the suite takes both
        """A client of the queue `name` at `place`."""
        return AsyncClient(super().open(place, name))


class AsyncClient:
    """A client for one event loop."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._loop = queue, asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._queue, name)
        if name.startswith("_") or not callable(method):
            raise AttributeError(name)

        @wraps(method)
        async def called(*arguments: Any, **named: Any) -> Any:
            if asyncio.get_running_loop() is not self._loop:
                raise RuntimeError("this client belongs to another event loop")
            await asyncio.sleep(0)
            return method(*arguments, **named)

        return called


class AsyncOnALoopOfItsOwn(Async):
    """All that it does goes on one loop, which the harness runs."""

    _loops: ClassVar[dict[int, asyncio.AbstractEventLoop]] = {}
    _making = threading.Lock()

    def event_loop(self, place: Path) -> asyncio.AbstractEventLoop:
        """The loop of this process, whichever the place."""
        del place
        with self._making:
            if os.getpid() not in self._loops:
                loop = self._loops[os.getpid()] = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="the harness's loop", daemon=True).start()
            return self._loops[os.getpid()]


class MainThread(Journal):
    """Its clients set the handler of a signal in each call, which only the main thread of a process can."""

    main_thread = True
    promises = Journal.promises - {"threads"}

    class _Queue(Queue):
        @contextmanager
        def alone(self) -> Iterator[int]:
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)
            with super().alone() as now:
                yield now

    _queue = _Queue


class OnAServer:
    """Queues that stand together in one store, under the names of their places, until their place is closed."""

    promises: ClassVar[set[str]] = {"fifo", "prompt", "threads"}
    store: ClassVar[dict[Path, queue.Queue[Any]]] = {}

    def open(self, place: Path) -> PlainClient:
        """A client of the queue of that name."""
        return PlainClient(self.store.setdefault(place, queue.Queue()))

    def close_place(self, place: Path) -> None:
        """Nothing of that name is left in the store."""
        self.store.pop(place, None)  # where another process has used it, this one's store has nothing of it
