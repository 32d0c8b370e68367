"""A harness for the Deque of diskcache (https://pypi.org/project/diskcache/), used as a queue.

Its README and docstrings promise:

- "cross-process, persistent replacements for Python's collections.deque": `processes`, `persistent`; appended on the
  right and popped on the left, it is `fifo`
- "Thread-safe and process-safe" ("Features"): `threads`, `processes`

A crash is not spoken of. What was popped is gone, so that there is nothing to ack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diskcache

from lowq_conformance.queues.peers.taken import Taken


class Deque:
    """One folder for each place, in which every client opens a Deque of its own."""

    promises = frozenset({"fifo", "persistent", "threads", "processes"})

    def open(self, place: Path) -> DequeClient:
        """A new Deque on the folder of this place."""
        return DequeClient(place / "deque")


class DequeClient:
    """A Deque of what can be pickled."""

    def __init__(self, folder: Path) -> None:
        self.deque = diskcache.Deque(directory=str(folder))

    def push(self, work: Any) -> None:
        """The work was appended on the right."""
        self.deque.append(work)

    def claim(self) -> Taken | None:
        """The leftmost work was popped."""
        try:
            return Taken(self.deque.popleft())
        except IndexError:
            return None

    def ack(self, taken: Taken) -> None:
        """It was gone when it was popped."""

    def close(self) -> None:
        """The connection is closed."""
        self.deque.cache.close()
