"""Harnesses for queues of persist-queue (https://pypi.org/project/persist-queue/), as its README uses them.

Each promises what the README and the docstrings promise, and nothing else:

- "Disk-based: Each queued item is stored on disk to survive crashes": `persistent`, `crash`
- "Recoverable: Items can be read after process restart": `persistent`
- "Thread-safe: Supports multi-threaded producers and consumers", for SQLite with `multithreading=True`: `threads`

The README shares one queue object among threads and says nothing of two objects on one path, nor of two processes; so
the clients of a place share one object here, and `processes` is not promised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import persistqueue
from persistqueue.serializers import json

from lowq_conformance.queues.peers.shared import Client, Shared
from lowq_conformance.queues.peers.taken import Taken

_PROMISES = frozenset({"persistent", "threads", "crash"})


class Queue:
    """Queue: "Basic file-based FIFO queue" (README): `fifo`.

    "data removed from the queue is [...] only persisted when task_done() is called" (docstring): that is the ack.
    """

    promises = _PROMISES | {"fifo"}

    def __init__(self) -> None:
        self._shared = Shared(_file, _let_go)

    def open(self, place: Path) -> QueueClient:
        """A client of the one queue object of this place."""
        return QueueClient(self._shared, place)


class SQLiteQueue:
    """SQLiteQueue: "SQLite3 based FIFO queue" (its docstring): `fifo`. Getting an item deletes it."""

    promises = _PROMISES | {"fifo"}

    def __init__(self) -> None:
        self._shared = _sqlite(persistqueue.SQLiteQueue)

    def open(self, place: Path) -> GetClient:
        """A client of the one queue object of this place."""
        return GetClient(self._shared, place)


class PriorityQueue:
    """PriorityQueue: "Priority-based queue", whose README example gets 'high' of priority 1 before 'low' of 10.

    So `priority`, its sign turned; of equal priorities nothing is said. Getting an item deletes it.
    """

    promises = _PROMISES | {"priority"}

    def __init__(self) -> None:
        self._shared = _sqlite(persistqueue.PriorityQueue)

    def open(self, place: Path) -> PriorityClient:
        """A client of the one queue object of this place."""
        return PriorityClient(self._shared, place)


class AckQueue:
    """SQLiteAckQueue: "SQLite3 based FIFO queue with ack support" (its docstring): `fifo`.

    `ackq.nack(item)  # Mark for retry` (README): `release`; where the item goes is not said.
    """

    promises = _PROMISES | {"fifo", "release"}
    requeue = "any"

    def __init__(self) -> None:
        self._shared = _sqlite(persistqueue.SQLiteAckQueue)

    def open(self, place: Path) -> AckClient:
        """A client of the one queue object of this place."""
        return AckClient(self._shared, place)


class AckQueueRaw(AckQueue):
    """The same, but items are taken with `raw=True` and settled by the id that this brings."""

    def open(self, place: Path) -> AckClient:
        """A client of the one queue object of this place."""
        return AckRawClient(self._shared, place)


class UniqueQ:
    """UniqueQ: "Unique items only queue", "Duplicate ignored" (README).

    Taking an item deletes it, so that it may be put again from then on, and there is nothing to ack. The README calls
    other queues FIFO, but not this one.
    """

    promises = _PROMISES
    dedupe = "until_claimed"

    def __init__(self) -> None:
        self._shared = _sqlite(persistqueue.UniqueQ)

    def open(self, place: Path) -> GetClient:
        """A client of the one queue object of this place."""
        return UniqueClient(self._shared, place)


class UniqueQJson(UniqueQ):
    """The same with the JSON serializer, one of the "Serialization Options" of the README, and `raw=True`."""

    def __init__(self) -> None:
        self._shared = _sqlite(persistqueue.UniqueQ, serializer=json)

    def open(self, place: Path) -> GetClient:
        """A client of the one queue object of this place."""
        return UniqueRawClient(self._shared, place)


def _file(place: Path) -> Any:
    return persistqueue.Queue(str(place / "queue"), tempdir=str(place))


def _let_go(queue: Any, _place: Path) -> None:
    """The file queue has no close; the files that its deletion would close are closed."""
    queue.headf.close()
    queue.tailf.close()


def _sqlite(kind: Any, **options: Any) -> Shared:
    return Shared(lambda place: kind(str(place), multithreading=True, **options), lambda queue, _place: queue.close())


class GetClient(Client):
    """A queue whose items are gone when they were got."""

    def push(self, work: Any) -> bool | None:
        """The work was put."""
        self.queue.put(work)
        return None

    def claim(self) -> Taken | None:
        """The next item was got."""
        try:
            return self._got()
        except persistqueue.Empty:
            return None

    def ack(self, taken: Taken) -> bool | None:  # noqa: ARG002  # for queues that ask
        """It was gone when it was got."""
        return None

    def _got(self) -> Taken:
        """Raises persistqueue.Empty."""
        return Taken(self.queue.get(block=False))


class QueueClient(GetClient):
    """A file queue, which stores on `task_done` how far was read."""

    def ack(self, taken: Taken) -> bool | None:  # noqa: ARG002  # it does not ask which
        """How far was read is stored."""
        self.queue.task_done()
        return None


class PriorityClient(Client):
    """A priority queue, in which lower numbers come first."""

    def push(self, work: Any, *, priority: int = 0) -> None:
        """The work was put."""
        self.queue.put(work, priority=-priority)

    claim = GetClient.claim
    ack = GetClient.ack
    _got = GetClient._got


class AckClient(GetClient):
    """An ack queue, settled by the item itself."""

    def ack(self, taken: Taken) -> bool:
        """The item is marked as completed; False where the queue does not find it."""
        return self.queue.ack(taken.token) is not None

    def release(self, taken: Taken) -> bool:
        """The item is marked for retry; False where the queue does not find it."""
        return self.queue.nack(taken.token) is not None

    def _got(self) -> Taken:
        item = self.queue.get(block=False)
        return Taken(item, item)


class AckRawClient(AckClient):
    """An ack queue, settled by id."""

    def _got(self) -> Taken:
        item = self.queue.get(block=False, raw=True)
        return Taken(item["data"], item)


class UniqueClient(GetClient):
    """A unique queue, whose put says whether it added."""

    def push(self, work: Any) -> bool:
        """The work was put, or an equal one stood."""
        return self.queue.put(work) is not None


class UniqueRawClient(UniqueClient):
    """A unique queue whose items are got raw."""

    def _got(self) -> Taken:
        return Taken(self.queue.get(block=False, raw=True)["data"])
