"""What a queue in memory keeps, and the places that clients of one process share.

A call may be cut off by an exception anywhere, since signal handlers raise them. Before a task is changed it is
copied into `Queue.before`; emptying that, one call into C, is what makes a call's changes count. Where it is not
empty when a call ends or the next begins, the tasks are put back, and the heaps, which tell nothing that the tasks do
not, are made anew.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar
from weakref import WeakValueDictionary

from lowq import kernel
from lowq.backend import BackendUnavailable, Dedupe, State
from lowq.framelock import NESTED, FrameLock
from lowq.rules.entry import Entry

T = TypeVar("T")


@dataclass(slots=True)
class StoredTask:
    """A task as it is stored. `due` is when something scheduled falls due or a lease ends; `token` is the latest
    claim's, until it is settled or replaced."""

    number: int
    entry: Entry
    state: State
    pushed_at: int
    due: int | None = None
    not_before: int | None = None
    attempts: int = 0
    token: str | None = None
    reason: str | None = None

    def copy(self) -> StoredTask:
        return StoredTask(
            self.number,
            self.entry,
            self.state,
            self.pushed_at,
            self.due,
            self.not_before,
            self.attempts,
            self.token,
            self.reason,
        )


@dataclass(slots=True)
class Queue:
    """The tasks of one name. The heaps may name tasks that have moved on since; a look at the task tells."""

    dedupe: Dedupe
    tasks: dict[int, StoredTask] = field(default_factory=dict)
    ready: list[tuple[int, int]] = field(default_factory=list)
    timed: list[tuple[int, int]] = field(default_factory=list)
    standing: dict[bytes, set[int]] = field(default_factory=dict)
    before: dict[int, StoredTask | None] = field(default_factory=dict)
    """What the tasks were that the call under way changed; None: it added them."""
    promoting: bool = False
    lock: FrameLock = field(default_factory=FrameLock)
    waiters: dict[int, SimpleQueue[None]] = field(default_factory=dict)
    """One for each claim that waits, by its id."""

    def alone(self, body: Callable[[], T]) -> T:
        """What `body` answers, which no other call comes in between; what it changed is undone where it raises."""
        try:
            if self.lock.take(sys._getframe()) is NESTED:
                raise BackendUnavailable(
                    "this call runs in a signal handler or finalizer, in the middle of another call of its thread to"
                    " this queue in memory, which it would tear; let the handler take a note, and push afterwards"
                )
            self.mend()
            answer = body()
            self.before.clear()
            self.lock.leave(sys._getframe())
            return answer
        except BaseException:
            self._end(sys._getframe())
            raise

    def _end(self, frame: FrameType) -> None:
        """Of the call with that frame nothing is under way any more. What comes in between is raised at the end."""
        later: BaseException | None = None
        while True:
            try:
                if self.lock.is_held_by(frame):
                    self.mend()
                    self.lock.leave(frame)
                break
            except BaseException as error:
                later = error
        if later is not None:
            raise later

    def mend(self) -> None:
        """What a call changed that was cut off is as it was before that call."""
        if not self.before and not self.promoting:
            return
        for number, was in list(self.before.items()):
            if was is None:
                self.tasks.pop(number, None)
            else:
                self.tasks[number] = was
        kept = list(self.tasks.values())
        self.ready = [_rank(each) for each in kept if each.state is State.READY]
        self.timed = [(each.due, each.number) for each in kept if each.due is not None]
        heapify(self.ready)
        heapify(self.timed)
        self.standing = {}
        for each in kept:
            self.standing.setdefault(each.entry.digest, set()).add(each.number)
        self.promoting = False
        self.before.clear()

    def touch(self, kept: StoredTask) -> None:
        """The task may be changed now: it is known what it was."""
        self.before.setdefault(kept.number, kept.copy())

    def announce(self) -> None:
        """All who wait look again."""
        for waiter in list(self.waiters.values()):
            if waiter.empty():
                waiter.put(None)

    def wait(self, kept: StoredTask, not_before: int | None, now: int) -> None:
        """The task waits, from `not_before` on."""
        if not_before is not None and not_before > now:
            kept.state, kept.due = State.SCHEDULED, not_before
            heappush(self.timed, (not_before, kept.number))
        else:
            kept.state, kept.due = State.READY, None
            heappush(self.ready, _rank(kept))

    def hold(self, kept: StoredTask, until: int) -> None:
        """The task is leased until then."""
        kept.state, kept.due = State.LEASED, until
        heappush(self.timed, (until, kept.number))

    def promote(self, now: int) -> None:
        """What fell due is ready, and so is what was leased for too long, which its holder may still settle."""
        while (first := self.next_due()) is not None and first <= now:
            self.promoting = True  # nothing to undo: it is ready by the clock alone, whether or not this call ends
            self.wait(self.tasks[heappop(self.timed)[1]], None, now)
        self.promoting = False

    def next_due(self) -> int | None:
        while self.timed:
            due, number = self.timed[0]
            kept = self.tasks.get(number)
            if kept is not None and kept.due == due:
                return due
            heappop(self.timed)
        return None

    def first(self) -> StoredTask | None:
        while self.ready:
            kept = self.tasks.get(self.ready[0][1])
            if kept is not None and kept.state is State.READY:
                return kept
            heappop(self.ready)
        return None

    def standing_equal(self, digest: bytes) -> int | None:
        """The number of the task that refuses an equal push, or None."""
        window = {
            "until_done": (State.SCHEDULED, State.READY, State.LEASED),
            "until_claimed": (State.SCHEDULED, State.READY),
            "off": (),
        }[self.dedupe]
        numbers = self.standing.get(digest, ())
        return min((n for n in numbers if self.tasks[n].state in window), default=None)

    def add(self, kept: StoredTask) -> None:
        self.before.setdefault(kept.number, None)
        self.tasks[kept.number] = kept
        self.standing.setdefault(kept.entry.digest, set()).add(kept.number)

    def remove(self, kept: StoredTask) -> None:
        self.touch(kept)
        del self.tasks[kept.number]
        numbers = self.standing[kept.entry.digest]
        numbers.discard(kept.number)
        if not numbers:
            del self.standing[kept.entry.digest]


def _rank(kept: StoredTask) -> tuple[int, int]:
    return -kept.entry.priority, kept.number


def heard(waiter: SimpleQueue[None], seconds: float) -> bool:
    """Wait up to that many seconds for the next announcement."""
    with suppress(Empty):
        waiter.get(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))
        return True
    return False


class Place:
    """All the queues of one `memory://` location; it lives as long as one client of it."""

    def __init__(self) -> None:
        self.pid = kernel.getpid()
        self.numbers = count(1)
        self.queues: dict[str, Queue] = {}
        self.token = object()
        """Tells this place from others, and keeps it no longer than its clients do."""


_places: WeakValueDictionary[str, Place] = WeakValueDictionary()
_places_lock = FrameLock()


def place_of(label: str) -> Place:
    """The place of that label, which all clients of this process share while one of them is open."""
    try:
        _places_lock.take(sys._getframe())
        return _places.setdefault(label, Place())
    finally:
        _places_lock.leave(sys._getframe())


def _renew_lock() -> None:
    global _places_lock
    _places_lock = FrameLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
