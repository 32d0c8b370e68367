"""Queues in which a push that fails half-way leaves something behind, or which make nothing of it."""

from __future__ import annotations

import heapq
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lowq_conformance.queues.broken.register import breaks, enter
from lowq_conformance.queues.sound.journal import Queue


@breaks("INPUT-5")
class ShortWritesCount(Queue):
    """A write that the file took half of counts as done."""

    def flush(self, fd: int) -> None:
        changed, self.changed = self.changed, []
        if changed:
            self.replayed += os.write(fd, json.dumps(changed).encode() + b"\n")


@breaks("INPUT-5")
class KnowsWhatItCouldNotWrite(Queue):
    """What could not be written is known to the client all the same, and called a duplicate from then on."""

    def start_over(self) -> None:
        if hasattr(self, "rows"):
            self.changed = []
        else:
            super().start_over()


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was taken out."""

    work: Any


class InAFileClient:
    """A client of a queue in one file: what was pushed, one after the other, and in another one how much is done."""

    def __init__(self, place: Path) -> None:
        self._works, self._done = place / "works", place / "done"
        self._works.touch()
        self._taken = int(self._done.read_text()) if self._done.exists() else 0

    def push(self, work: Any) -> None:
        """The work is written behind all others."""
        with open(self._works, "ab") as file:
            self._write(work, file)

    def claim(self) -> Claimed | None:
        """The first work that was not taken yet, or None."""
        with open(self._works, "rb") as file:
            for _ in range(self._taken):
                self._read(file)
            if not file.peek(1):
                return None
            self._taken += 1
            return Claimed(self._read(file))

    def ack(self, _: Claimed) -> None:
        """The work is done."""
        self._done.write_text(str(self._taken))

    def _write(self, work: Any, file: Any) -> None:
        file.write(json.dumps(work).encode() + b"\n")

    def _read(self, file: Any) -> Any:
        return json.loads(file.readline())


class InAFile:
    """The harness of such a queue."""

    promises: ClassVar[set[str]] = {"fifo", "persistent"}
    _client: ClassVar[type[InAFileClient]]

    def open(self, place: Path) -> InAFileClient:
        """The client of the queue at `place`."""
        return self._client(place)


class DumpingClient(InAFileClient):
    """Writes while it spells."""

    def _write(self, work: Any, file: Any) -> None:
        for chunk in json.JSONEncoder().iterencode(work):
            file.write(chunk.encode())
        file.write(b"\n")


class DumpsIntoItsFile(InAFile):
    """A work is written to the file while it is spelled, and what cannot be spelled leaves half a line."""

    _client = DumpingClient


enter(DumpsIntoItsFile, ("INPUT-2", "INPUT-5"))


class PicklingClient(InAFileClient):
    """Writes what pickle gives it."""

    def _write(self, work: Any, file: Any) -> None:
        pickle.dump(work, file)

    def _read(self, file: Any) -> Any:
        return pickle.load(file)


class PicklesIntoItsFile(InAFile):
    """A work is pickled into the file, which has the first 64 kB of what cannot be pickled to its end."""

    _client = PicklingClient


enter(PicklesIntoItsFile, ("INPUT-5",))


class LeavesHalfALine(InAFile):
    """What the file did not take as a whole is refused, and the half of it that was taken stays there."""

    _client = InAFileClient


enter(LeavesHalfALine, ("INPUT-5",))


@dataclass(frozen=True, slots=True)
class Entry:
    """A work on a heap; a higher priority comes first."""

    priority: Any
    number: int
    work: Any

    def __lt__(self, other: Entry) -> bool:
        return (other.priority, self.number) < (self.priority, other.number)


class OnAHeapClient:
    """A client of a heap."""

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._number = 0

    def push(self, work: Any, *, priority: Any = 0) -> None:
        """The work is on the heap."""
        self._number += 1
        heapq.heappush(self._heap, Entry(priority, self._number, work))

    def claim(self) -> Claimed | None:
        """The work with the highest priority, or None."""
        return Claimed(heapq.heappop(self._heap).work) if self._heap else None

    def ack(self, _: Claimed) -> None:
        """What was taken out is gone."""


class HeapOfAnything:
    """A priority that cannot be compared with others is refused by the heap, which has it already."""

    promises: ClassVar[set[str]] = {"priority", "prompt"}

    def open(self, _: Path) -> OnAHeapClient:
        """The client of a queue of its own."""
        return OnAHeapClient()


enter(HeapOfAnything, ("INPUT-4",))


class ListsThenChecksClient:
    """A client of a list."""

    def __init__(self) -> None:
        self._works: list[Any] = []

    def push(self, work: Any) -> None:
        """The work is in the list."""
        self._works.append(work)
        json.dumps(work, allow_nan=False)

    def claim(self) -> Claimed | None:
        """The first work, or None."""
        return Claimed(self._works.pop(0)) if self._works else None

    def ack(self, _: Claimed) -> None:
        """What was taken out is gone."""


class ListsThenChecks:
    """A work is put into the list first and looked at then; what is refused stays."""

    promises: ClassVar[set[str]] = {"fifo", "prompt"}

    def open(self, _: Path) -> ListsThenChecksClient:
        """The client of a queue of its own."""
        return ListsThenChecksClient()


enter(ListsThenChecks, ("INPUT-2", "INPUT-5"))
