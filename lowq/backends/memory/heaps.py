"""What a queue in memory keeps, and the places that clients of one process share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from weakref import WeakValueDictionary

from lowq.backend import Dedupe, State
from lowq.rules.entry import Entry


@dataclass(slots=True)
class Kept:
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


@dataclass(slots=True)
class Queue:
    """The tasks of one name. The heaps may name tasks that have moved on since; a look at the task tells."""

    dedupe: Dedupe
    tasks: dict[int, Kept] = field(default_factory=dict)
    ready: list[tuple[int, int]] = field(default_factory=list)
    timed: list[tuple[int, int]] = field(default_factory=list)
    standing: dict[bytes, set[int]] = field(default_factory=dict)

    def wait(self, kept: Kept, not_before: int | None, now: int) -> None:
        """The task waits, from `not_before` on."""
        if not_before is not None and not_before > now:
            kept.state, kept.due = State.SCHEDULED, not_before
            heappush(self.timed, (not_before, kept.number))
        else:
            kept.state, kept.due = State.READY, None
            heappush(self.ready, (-kept.entry.priority, kept.number))

    def hold(self, kept: Kept, until: int) -> None:
        """The task is leased until then."""
        kept.state, kept.due = State.LEASED, until
        heappush(self.timed, (until, kept.number))

    def promote(self, now: int) -> None:
        """What fell due is ready, and so is what was leased for too long, which its holder may still settle."""
        while (first := self.next_due()) is not None and first <= now:
            self.wait(self.tasks[heappop(self.timed)[1]], None, now)

    def next_due(self) -> int | None:
        while self.timed:
            due, number = self.timed[0]
            kept = self.tasks.get(number)
            if kept is not None and kept.due == due:
                return due
            heappop(self.timed)
        return None

    def first(self) -> Kept | None:
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

    def add(self, kept: Kept) -> None:
        self.tasks[kept.number] = kept
        self.standing.setdefault(kept.entry.digest, set()).add(kept.number)

    def remove(self, kept: Kept) -> None:
        del self.tasks[kept.number]
        numbers = self.standing[kept.entry.digest]
        numbers.discard(kept.number)
        if not numbers:
            del self.standing[kept.entry.digest]


class Place:
    """All the queues of one `memory://` location; it lives as long as one client of it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threading.Condition(threading.Lock())
        self.changes = 0
        self.numbers = count(1)
        self.queues: dict[str, Queue] = {}

    def announce(self) -> None:
        """All who wait look again; the caller holds `changed`."""
        self.changes += 1
        self.changed.notify_all()

    def change(self) -> Callable[[float], bool]:
        """A function that waits up to that many seconds for the next announcement; the caller holds `changed`.

        It counts, because a notification that comes just when a wait times out is lost.
        """
        seen = self.changes
        return lambda seconds: self.changed.wait_for(lambda: self.changes != seen, seconds)


_places: WeakValueDictionary[str, Place] = WeakValueDictionary()
_places_lock = threading.Lock()


def place_of(label: str) -> Place:
    """The place of that label, which all clients of this process share while one of them is open."""
    with _places_lock:
        return _places.setdefault(label, Place())
