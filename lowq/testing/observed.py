"""A backend that tells what was pushed through it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from lowq.backend import (
    NO_HEADERS,
    NOW,
    Acked,
    Backend,
    Counts,
    Dedupe,
    Item,
    Lease,
    LowqError,
    Pushed,
    State,
    Task,
    Work,
)
from lowq.clock import Clock
from lowq.rules.callers import Caller
from lowq.rules.canonical import decode, encode
from lowq.rules.headers import headers_of, headers_text
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.transaction import Joined, find_joined

Heard = Callable[["Observed", list[Task]], Callable[[], None]]
"""Told of each push that added something, the tasks as they stood then; what it answers is called afterwards."""

pushing = threading.RLock()
"""Held from before a push is visible until it was heard: who holds it sees no task that nobody was told of."""

if hasattr(os, "register_at_fork"):  # a live worker is forked, and its handlers push too
    os.register_at_fork(before=pushing.acquire, after_in_parent=pushing.release, after_in_child=pushing.release)


class NotPromised(LowqError):
    """The queue that was put in SQLite's place does not keep what was asked of it."""


class Observed:
    """A client of a queue; whoever pushes through it is heard, after the push is visible to everybody.

    What the queue does not promise raises NotPromised instead of being asked of it.
    """

    def __init__(
        self, backend: Backend, title: str, clock: Clock, check: Callable[[Work], None], heard: Heard
    ) -> None:
        self.backend = backend
        self.title = title
        self._clock = clock
        self._check = check
        self._heard = heard
        self._in_doubt: list[tuple[Task, Caller]] = []
        """What was pushed in transactions of which nobody knows that they were committed."""

    @property
    def promises(self) -> frozenset[str]:
        """What the queue keeps."""
        return self.backend.promises

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self.backend.dedupe

    @property
    def name(self) -> str:
        """Which of the queues of its location this is."""
        return self.backend.name

    def need(self, promise: str, what: str) -> None:
        """The queue promises that. Raises NotPromised, with `what` needs it."""
        if promise not in self.backend.promises:
            raise NotPromised(
                f"{self.title}: {what} needs a queue that promises {promise}; {type(self.backend).__name__} promises "
                f"{', '.join(sorted(self.backend.promises)) or 'nothing'}"
            )

    def _need_of(self, item: Item) -> None:
        """The queue promises what goes with the work."""
        if item.key is not None:
            self.need("key", "a push with key=")
        if item.priority != 0:
            self.need("priority", "a push with priority=")
        if item.not_before is not None:
            self.need("not_before", "a push with not_before=")
        if item.headers:
            self.need("headers", "a push with headers=")

    def push(
        self,
        work: Work,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        """As Backend.push; the work is checked before, and heard of afterwards."""
        self._check(work)
        item = Item(work, key, priority, not_before, NO_HEADERS if headers is None else headers)
        self._need_of(item)
        also: dict[str, Any] = {} if headers is None else {"headers": headers}
        with pushing:
            answer = self.backend.push(work, key=key, priority=priority, not_before=not_before, **also)
            afterwards = self._tell([answer], [item])
        warn_of_own_work(self, [answer])
        afterwards()
        return answer

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """As Backend.push_many; the works are checked before, and heard of afterwards."""
        items = list(items)
        for item in items:
            if isinstance(item, Item):
                self._check(item.work)
                self._need_of(item)
        with pushing:
            answers = self.backend.push_many(items)
            afterwards = self._tell(answers, items)
        warn_of_own_work(self, answers)
        afterwards()
        return answers

    def _tell(self, answers: list[Pushed], items: list[Item]) -> Callable[[], None]:
        """What was added is heard of as it stood then; another thread's worker may have it already."""
        if (joined := find_joined(self)) is not None:
            self._doubt(answers, items, joined)
            return _nothing
        now = self._clock.now()
        added = [_task(answer.id, item, now) for answer, item in zip(answers, items, strict=True) if answer.added]
        return self._heard(self, added) if added else _nothing

    def within(self, connection: object) -> AbstractContextManager[None]:
        """As Backend.within; what is pushed inside is heard of when it is seen to be committed."""
        if "transaction" not in self.backend.promises:
            kind = type(self.backend).__name__
            raise NotPromised(
                f"{self.title}: in this test the queue is a {kind} of its own, and so in no transaction of the "
                "application's; let the fixture lowq_backend (backend= of temp_queue) open it in the application's "
                "test database: postgresql://… or sqlite:///…?shared=1"
            )
        return self.backend.within(connection)

    def find_uncommitted(self) -> dict[str, list[Task]]:
        """The pushes in transactions that nobody saw committed, by what became of those: ``is still open`` or ``was
        rolled back``."""
        self._hear_of_commits()
        found: dict[str, list[Task]] = {}
        for task, caller in self._in_doubt:
            found.setdefault("is still open" if caller.in_transaction() else "was rolled back", []).append(task)
        return found

    def _doubt(self, answers: list[Pushed], items: list[Item], joined: Joined) -> None:
        """What was added is heard of once it is committed."""
        now = self._clock.now()
        for answer, item in zip(answers, items, strict=True):
            if answer.added:
                self._in_doubt.append((_task(answer.id, item, now), joined.caller))
        joined.ring_after_commit(self._hear_of_commits)

    def _hear_of_commits(self) -> None:
        """What was pushed in a transaction, and is there now, is heard of."""
        if not self._in_doubt:
            return
        with pushing:
            there = self._settle_doubts()
            afterwards = self._heard(self, there) if there else _nothing
        afterwards()

    def _settle_doubts(self) -> list[Task]:
        """Those of them that are there: they are in doubt no more."""
        doubted, self._in_doubt = self._in_doubt, []
        there = [task for task, _ in doubted if self.backend.task(task.id) is not None]
        seen = {task.id for task in there}
        self._in_doubt = [(task, caller) for task, caller in doubted if task.id not in seen]
        return there

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """As Backend.claim."""
        self._hear_of_commits()
        return self.backend.claim(lease_for=lease_for, wait=wait)

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """As Backend.claim_many."""
        self.need("bulk", "claim_many")
        self._hear_of_commits()
        return self.backend.claim_many(limit, lease_for=lease_for)

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """As Backend.extend."""
        self.need("extend", "extend")
        return self.backend.extend(lease, lease_for=lease_for)

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """As Backend.ack."""
        return self.backend.ack(lease, claim_for=claim_for)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """As Backend.ack_many."""
        self.need("bulk", "ack_many")
        return self.backend.ack_many(leases, claim=claim, lease_for=lease_for)

    def release(
        self, lease: Lease, *, not_before: datetime | None = None, reason: str | None = None, uncount: bool = False
    ) -> None:
        """As Backend.release."""
        self.need("release", "giving a task back, to be tried again,")
        if not_before is not None:
            self.need("not_before", "trying a task again later")
        self.backend.release(lease, not_before=not_before, reason=reason, uncount=uncount)

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """As Backend.dead_letter."""
        self.need("dead_letter", "setting a task aside")
        self.backend.dead_letter(lease, reason=reason)

    def redrive(self, id: str) -> bool:
        """As Backend.redrive."""
        self.need("dead_letter", "redrive")
        return self.backend.redrive(id)

    def cancel(self, id: str) -> bool:
        """As Backend.cancel."""
        self.need("cancel", "cancel")
        return self.backend.cancel(id)

    def task(self, id: str) -> Task | None:
        """As Backend.task."""
        self.need("inspect", "looking at a task")
        self._hear_of_commits()
        return self.backend.task(id)

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """As Backend.tasks."""
        self.need("inspect", "looking at the tasks")
        self._hear_of_commits()
        return self.backend.tasks(state=state, after=after, limit=limit)

    def count(self) -> Counts:
        """As Backend.count."""
        self.need("inspect", "counting the tasks")
        self._hear_of_commits()
        return self.backend.count()

    def next_due(self) -> datetime | None:
        """As Backend.next_due."""
        return self.backend.next_due()

    def close(self) -> None:
        """The application's client is closed; the test's stays open until the test is over."""


def _task(id: str, item: Item, now: datetime) -> Task:
    state = State.SCHEDULED if item.not_before is not None and item.not_before > now else State.READY
    work, headers = decode(encode(item.work)), headers_of(headers_text(item.headers))
    return Task(id, work, item.key, item.priority, item.not_before, 0, state, None, now, headers)


def _nothing() -> None:
    """Nothing is to be done after a push that added nothing."""
