"""The journal with room for so many tasks, which can be looked at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from lowq import Clock, Item, Pushed, Task
from lowq_conformance.queues.sound.journal import Journal, Queue

ROOM = 5
"""Room where nothing is said of it."""


class Full(Exception):
    """There is no room for what was pushed; nothing of it was kept."""


class Bounded(Queue):
    """A client of a queue with room for `room` tasks, in whatever state."""

    promises: ClassVar[frozenset[str]] = Queue.promises | {"capacity", "peek"}

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.room = ROOM

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone() as now:
            self.make_room(sum(self.standing(row) is None for row in rows))
            return [self.add(row, now) for row in rows]

    def make_room(self, many: int) -> None:
        """There is room for so many more. Raises Full."""
        if len(self.rows) + many > self.room:
            raise Full(f"there is room for {self.room} tasks, and {len(self.rows)} are there")

    def peek(self) -> Task | None:
        """What a claim would get."""
        with self.alone():
            row = self.first()
            return None if row is None else self.shown(row)


class WithRoom(Journal):
    """The journal with room for so many tasks."""

    promises = Bounded.promises
    _queue: type[Bounded] = Bounded

    def open(self, place: Path, name: str = "default", capacity: int = ROOM) -> Bounded:
        """A client of the queue `name` at `place`."""
        opened = self._queue(place, name, self.clock(place))
        opened.room = capacity
        return opened
