"""Harnesses for queuelib (https://pypi.org/project/queuelib/), Scrapy's queues. They promise what its README does.

- "FIFO and LIFO queue implementations", "Persistent FIFO queue" (docstring of FifoDiskQueue), "so that a queue can be
  resumed later, even by a different process": `fifo`, `persistent`
- "Queuelib collections are not thread-safe", "a given path must not be used by more than one open queue object at a
  time": neither `threads` nor `processes`, and the clients of a place share one object here
- "Calling close() is hence mandatory", "Items pushed since then become unreachable": no `crash`

Its queues keep bytes, here JSON as UTF-8. What was popped is gone, so that there is nothing to ack.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import queuelib
from queuelib.queue import FifoSQLiteQueue as _FifoSQLiteQueue

from lowq_conformance.queues.peers.shared import Client, Shared
from lowq_conformance.queues.peers.taken import Taken


class FifoDiskQueue:
    """FifoDiskQueue, as "FIFO/LIFO disk queues" of the README uses it."""

    promises = frozenset({"fifo", "persistent"})

    def __init__(self) -> None:
        self._shared = Shared(lambda place: queuelib.FifoDiskQueue(place / "queue"), _closed)

    def open(self, place: Path) -> FifoClient:
        """A client of the one queue object of this place."""
        return FifoClient(self._shared, place)


class FifoSQLiteQueue(FifoDiskQueue):
    """FifoSQLiteQueue of `queuelib.queue`. The README is silent on it: its name says `fifo`, its path `persistent`.

    Scrapy documents its wrapper of it: "an interrupted write cannot corrupt the queues or discard pending requests
    unnoticed" (docs/topics/security.rst), which is not queuelib's promise: no `crash`.
    """

    def __init__(self) -> None:
        self._shared = Shared(lambda place: _FifoSQLiteQueue(place / "queue.db"), _closed)


class FifoClient(Client):
    """A queue of bytes."""

    def push(self, work: Any) -> None:
        """The work was pushed as JSON."""
        self.queue.push(json.dumps(work).encode())

    def claim(self) -> Taken | None:
        """The next work was popped; an empty queue pops None."""
        data = self.queue.pop()
        return None if data is None else Taken(json.loads(data))

    def ack(self, taken: Taken) -> None:
        """It was gone when it was popped."""


class PriorityQueue:
    """PriorityQueue over FifoDiskQueues, kept as the README shows ("Persisting a PriorityQueue […]").

    "Only integer priorities should be used. Lower numbers are higher priorities" (docstring): `priority`, its sign
    turned. "A discrete-priority queue implemented by combining multiple FIFO/LIFO queues (one per priority)", and the
    README's example pops two of one priority in the order in which they were pushed: `fifo`.
    """

    promises = frozenset({"fifo", "priority", "persistent"})

    def __init__(self) -> None:
        self._shared = Shared(_resumed, _stored)

    def open(self, place: Path) -> PriorityClient:
        """A client of the one queue object of this place."""
        return PriorityClient(self._shared, place)


class PriorityClient(FifoClient):
    """A priority queue of bytes."""

    def push(self, work: Any, *, priority: int = 0) -> None:
        """The work was pushed; here lower numbers come first."""
        self.queue.push(json.dumps(work).encode(), -priority)


def _closed(queue: Any, _place: Path) -> None:
    queue.close()


def _resumed(place: Path) -> Any:
    active = place / "active.json"
    priorities = json.loads(active.read_text()) if active.exists() else ()
    return queuelib.PriorityQueue(lambda priority: queuelib.FifoDiskQueue(place / f"queue-{priority}"), priorities)


def _stored(queue: Any, place: Path) -> None:
    (place / "active.json").write_text(json.dumps(queue.close()))
