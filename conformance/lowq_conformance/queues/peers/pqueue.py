"""A harness for pqueue (https://pypi.org/project/pqueue/), on which persist-queue is based.

Its README promises:

- "a simple persistent (disk-based) FIFO queue", "provides a single FIFO queue implementation": `fifo`, `persistent`
- "it works exactly as Python's Queue, with the difference any abrupt interruption is ACID-guaranteed": `threads`, as
  Python's Queue, and `crash`
- "A single process, persistent multi-producer, multi-consumer queue" (its summary): no `processes`, and the clients
  of a place share one object here

Its README acks by `task_done()`, which stores how far was read.
"""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pqueue

from lowq_conformance.queues.peers.shared import Client, Shared
from lowq_conformance.queues.peers.taken import Taken


class Queue:
    """Its one queue, as "How to use" of the README uses it."""

    promises = frozenset({"fifo", "persistent", "threads", "crash"})

    def __init__(self) -> None:
        self._shared = Shared(_opened, _closed)

    def open(self, place: Path) -> QueueClient:
        """A client of the one queue object of this place."""
        return QueueClient(self._shared, place)


class QueueClient(Client):
    """A queue of what can be pickled."""

    def push(self, work: Any) -> None:
        """The work was put."""
        self.queue.put(work)

    def claim(self) -> Taken | None:
        """The next work was got."""
        try:
            return Taken(self.queue.get_nowait())
        except queue.Empty:
            return None

    def ack(self, taken: Taken) -> None:  # noqa: ARG002  # it stores how far was read, it does not ask which
        """How far was read is stored."""
        self.queue.task_done()


def _opened(place: Path) -> Any:
    folder = place / "queue"
    folder.mkdir(
        exist_ok=True
    )  # with a tempdir, which has to be on the same disk, it does not make the folder itself
    return pqueue.Queue(str(folder), tempdir=str(place))


def _closed(opened: Any, _place: Path) -> None:
    """It has no close, its README deletes it; its files are closed here so that they are at once."""
    opened.headf.close()
    opened.tailf.close()
