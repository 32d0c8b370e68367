"""The standard library's queue.Queue, which promises little and keeps it."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was taken out."""

    work: Any


class Client:
    """A queue.Queue, in the words of the suite."""

    def __init__(self, works: queue.Queue[Any]) -> None:
        self._works = works

    def push(self, work: Any) -> None:
        """The work waits."""
        self._works.put(work)

    def claim(self) -> Claimed | None:
        """The first work is taken out, or None."""
        try:
            return Claimed(self._works.get_nowait())
        except queue.Empty:
            return None

    def ack(self, _: Claimed) -> None:
        """Nothing is left to be done: what was taken out is gone."""
        self._works.task_done()


class Plain:
    """A queue.Queue for each place."""

    promises: ClassVar[set[str]] = {"fifo", "prompt", "threads"}

    def __init__(self) -> None:
        self._queues: dict[Path, queue.Queue[Any]] = {}
        self._opening = threading.Lock()

    def open(self, place: Path) -> Client:
        """A client of the queue at `place`."""
        with self._opening:
            return Client(self._queues.setdefault(place, queue.Queue()))


class PlainWithRoom(Plain):
    """A queue.Queue with room for so many, which says queue.Full, and no word more, where there is none."""

    promises: ClassVar[set[str]] = {"fifo", "prompt", "threads", "capacity"}

    class _Client(Client):
        def push(self, work: Any) -> None:
            self._works.put_nowait(work)

    def open(self, place: Path, capacity: int = 5) -> Client:
        """A client of the queue at `place`."""
        with self._opening:
            return self._Client(self._queues.setdefault(place, queue.Queue(capacity)))
