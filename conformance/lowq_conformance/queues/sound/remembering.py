"""Sound queues that remember what has ended, and one of room that nobody can ask for."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

from lowq import Pushed
from lowq_conformance.queues.sound.bounded import Bounded
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row


class Remembering(Queue):
    """A client that knows of each work that it was there, as where job ids are kept when jobs are done."""

    windows: ClassVar[dict[str, tuple[str, ...]]] = {
        "until_done": ("scheduled", "ready", "leased", "dead"),
        "until_claimed": ("scheduled", "ready", "dead"),
        "off": (),
    }

    def start_over(self) -> None:
        """Nothing is known, of what has ended neither."""
        super().start_over()
        self.past: dict[Hashable, int] = {}

    def keep(self, row: Row) -> None:
        """As Queue.keep; of what is gone the number is known."""
        super().keep(row)
        if row.state == "gone":
            self.past[self.identity(row)] = row.number

    def add(self, row: Row, now: int) -> Pushed:
        """As Queue.add, unless an equal work was ever there."""
        number = self.past.get(self.identity(row))
        return super().add(row, now) if number is None else Pushed(f"{self.name}/{number}", added=False)

    def standing(self, row: Row) -> Row | None:
        """Another task that refuses an equal push, or None."""
        found = super().standing(row)
        return None if found is row else found


class RemembersForEver(Journal):
    """A work that was done, set aside or cancelled is never added again."""

    remembers: ClassVar[frozenset[str]] = frozenset({"done", "dead", "cancelled"})
    _queue = Remembering


class DeadStands(Journal):
    """A dead task refuses an equal work until somebody redrives or cancels it."""

    remembers: ClassVar[set[str]] = {"dead"}

    class _Queue(Remembering):
        def add(self, row: Row, now: int) -> Pushed:
            return Queue.add(self, row, now)

    _queue = _Queue


class Small(Journal):
    """There is room for so many tasks, whoever opens the queue."""

    promises = Journal.promises
    room = 8
    _queue: type[Bounded] = Bounded

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        opened = self._queue(place, name, self.clock(place))
        opened.room = self.room
        return opened
