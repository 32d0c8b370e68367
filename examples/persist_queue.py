"""Harnesses for two queues of persist-queue (https://pypi.org/project/persist-queue/), as its README uses them.

Each promises what the README and the docstrings of version 1.1.0 promise, and nothing else:

- "Disk-based: Each queued item is stored on disk to survive crashes": `persistent`, `crash`
- "Recoverable: Items can be read after process restart": `persistent`
- "Thread-safe: Supports multi-threaded producers and consumers", with `multithreading=True`: `threads`

The README shares one queue object among threads and says nothing of two objects on one path, nor of two processes; so
the clients of a place share one object here, and `processes` is not promised. Check it with
`lowq check examples/persist_queue.py:AckQueue`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import persistqueue
from persistqueue.serializers import json


@dataclass(frozen=True)
class Taken:
    """An item that was taken: `work` is what was put, `token` is what `ack` and `nack` are given."""

    work: Any
    token: Any


class AckQueue:
    """SQLiteAckQueue: "SQLite3 based FIFO queue with ack support" (its docstring): `fifo`.

    `ackq.nack(item)  # Mark for retry` (README): `release`; where the item goes is not said.
    """

    promises = frozenset({"fifo", "release", "persistent", "threads", "crash"})
    requeue = "any"

    def __init__(self) -> None:
        self._shared = _Shared(persistqueue.SQLiteAckQueue)

    def open(self, place: Path) -> _AckClient:
        """A client of the one queue object of this place."""
        return _AckClient(self._shared, place)


class AckQueueById(AckQueue):
    """The same, but items are taken with `raw=True` and settled by the id that this brings."""

    def open(self, place: Path) -> _AckClient:
        """A client of the one queue object of this place."""
        return _AckByIdClient(self._shared, place)


class Unique:
    """UniqueQ: "Unique items only queue", "Duplicate ignored" (README).

    Taking an item deletes it, so that it may be put again from then on, and there is nothing to ack. The README calls
    other queues FIFO, but not this one.
    """

    promises = frozenset({"persistent", "threads", "crash"})
    dedupe = "until_claimed"

    def __init__(self) -> None:
        self._shared = _Shared(persistqueue.UniqueQ)

    def open(self, place: Path) -> _UniqueClient:
        """A client of the one queue object of this place."""
        return _UniqueClient(self._shared, place)


class UniqueAsJson(Unique):
    """The same with the JSON serializer, one of the "Serialization Options" of the README, and `raw=True`."""

    def __init__(self) -> None:
        self._shared = _Shared(persistqueue.UniqueQ, serializer=json)

    def open(self, place: Path) -> _UniqueClient:
        """A client of the one queue object of this place."""
        return _UniqueRawClient(self._shared, place)


class _Shared:
    """The queue object of each place, while a client has it open."""

    def __init__(self, kind: Any, **options: Any) -> None:
        self.kind, self.options = kind, options
        self.queues: dict[Path, Any] = {}
        self.clients: dict[Path, int] = {}

    def open(self, place: Path) -> Any:
        if not self.clients.get(place):
            self.queues[place] = self.kind(str(place), multithreading=True, **self.options)
        self.clients[place] = self.clients.get(place, 0) + 1
        return self.queues[place]

    def close(self, place: Path) -> None:
        self.clients[place] -= 1
        if not self.clients[place]:
            self.queues.pop(place).close()


class _Client:
    def __init__(self, shared: _Shared, place: Path) -> None:
        self.queue = shared.open(place)
        self._shared, self._place = shared, place

    def close(self) -> None:
        self._shared.close(self._place)


class _AckClient(_Client):
    def push(self, work: Any) -> None:
        self.queue.put(work)

    def claim(self) -> Taken | None:
        try:
            item = self.queue.get(block=False)
        except persistqueue.Empty:
            return None
        return Taken(item, item)

    def ack(self, taken: Taken) -> bool:
        return self.queue.ack(taken.token) is not None

    def release(self, taken: Taken) -> bool:
        return self.queue.nack(taken.token) is not None


class _AckByIdClient(_AckClient):
    def claim(self) -> Taken | None:
        try:
            item = self.queue.get(block=False, raw=True)
        except persistqueue.Empty:
            return None
        return Taken(item["data"], item)


class _UniqueClient(_Client):
    def push(self, work: Any) -> bool:
        return self.queue.put(work) is not None

    def claim(self) -> Taken | None:
        try:
            item = self.queue.get(block=False)
        except persistqueue.Empty:
            return None
        return Taken(item, None)

    def ack(self, taken: Taken) -> None:
        """It was deleted when it was taken."""


class _UniqueRawClient(_UniqueClient):
    def claim(self) -> Taken | None:
        try:
            item = self.queue.get(block=False, raw=True)
        except persistqueue.Empty:
            return None
        return Taken(item["data"], None)
