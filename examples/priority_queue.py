"""A harness for `queue.PriorityQueue` of the standard library (https://docs.python.org/3/library/queue.html).

Its documentation promises:

- "The lowest valued entries are retrieved first", and shows how to wrap data that cannot be compared in a dataclass
  that only compares the priority number: `priority`, its sign turned, because here a higher number comes first
- "multi-producer, multi-consumer queues", "all the required locking semantics": `threads`
- `get_nowait`: "return an item if one is immediately available, else raise the Empty exception": `prompt`

It lives in the memory of one process, and equal priorities come out in any order; nothing has to be acked. Check it
with `lowq check examples/priority_queue.py:PriorityQueue`.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(order=True, frozen=True)
class PrioritizedItem:
    """The wrapper that the documentation shows."""

    priority: int
    work: Any = field(compare=False)


class PriorityQueue:
    """One queue.PriorityQueue for each place, which its clients share."""

    promises = frozenset({"priority", "threads", "prompt"})

    def __init__(self) -> None:
        self._queues: dict[Path, queue.PriorityQueue[PrioritizedItem]] = {}

    def open(self, place: Path) -> PriorityQueueClient:
        """A client of the queue of this place."""
        return PriorityQueueClient(self._queues.setdefault(place, queue.PriorityQueue()))


class PriorityQueueClient:
    """What the suite calls, as the documentation does it."""

    def __init__(self, shared: queue.PriorityQueue[PrioritizedItem]) -> None:
        self.queue = shared

    def push(self, work: Any, *, priority: int = 0) -> None:
        """The work was put."""
        self.queue.put(PrioritizedItem(-priority, work))

    def claim(self) -> PrioritizedItem | None:
        """The next item was taken out."""
        try:
            return self.queue.get_nowait()
        except queue.Empty:
            return None

    def ack(self, item: PrioritizedItem) -> None:  # noqa: ARG002  # the queue counts, it does not ask which
        """Counted as done, for whoever waits in `join`."""
        self.queue.task_done()
