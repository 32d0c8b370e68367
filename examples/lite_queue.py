"""Harnesses for litequeue (https://pypi.org/project/litequeue/), version 0.14, and 0.9, the last for Python 3.11.

The README and docstrings of both promise:

- "You can use this to implement a persistent queue": `persistent`
- The quickstart puts "hello" and "world" and pops "hello", and "Differences with a normal Python `queue.Queue`" lists
  no other order: `fifo`
- `retry`: "Mark a locked message as free again" (0.9), back to READY (0.14): `release`; where it goes is not said
- "Messages are always passed as strings, so you can use json data as messages"

Check it with `lowq check examples/lite_queue.py:LiteQueue`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import litequeue


class LiteQueue:
    """Version 0.14. "A file-backed LiteQueue instance can be shared between threads" (README): `threads`.

    So the clients of a place share one instance, until the last of them is closed. Two scripts of its examples share
    a file, one that puts and one that pops; more is not said of processes. An idempotency key is no key of ours: it
    refuses other data under the same key, also when the message was done.
    """

    promises = frozenset({"fifo", "release", "persistent", "threads"})
    requeue = "any"

    def __init__(self) -> None:
        self._shared: dict[Path, SharedQueue] = {}

    def open(self, place: Path) -> LiteQueueClient:
        """A client of the LiteQueue on the file of this place."""
        if place not in self._shared or not self._shared[place].clients:
            self._shared[place] = SharedQueue(litequeue.LiteQueue(filename=place / "queue.sqlite3"))
        self._shared[place].clients += 1
        return LiteQueueClient(self._shared[place].queue, self._shared[place].let_go)


class LiteQueue09:
    """Version 0.9, which does not speak of threads.

    "Multiple queues in the same SQLite is supported, but it's neither tested nor recommended" (README): `names`.
    """

    promises = frozenset({"fifo", "release", "persistent", "names"})
    requeue = "any"

    def open(self, place: Path, name: str = "Queue") -> LiteQueueClient:
        """A new LiteQueue on the file of this place and the table of this name."""
        queue = litequeue.LiteQueue(place / "queue.sqlite3", queue_name=name)
        return LiteQueueClient(queue, queue.close)


@dataclass
class SharedQueue:
    """A LiteQueue, and how many clients have it."""

    queue: Any
    clients: int = 0

    def let_go(self) -> None:
        """One client less; with the last the connections are closed."""
        self.clients -= 1
        if not self.clients:
            self.queue.close()


@dataclass(frozen=True)
class Popped:
    """A message that was popped."""

    work: Any
    id: str
    claim: dict[str, int]
    """What says which claim of the message this is; nothing in 0.9."""


class LiteQueueClient:
    """A LiteQueue of messages that are JSON."""

    def __init__(self, queue: Any, let_go: Callable[[], object]) -> None:
        self.queue = queue
        self._let_go = let_go

    def push(self, work: Any) -> None:
        """The work was put as JSON text."""
        self.queue.put(json.dumps(work))

    def claim(self) -> Popped | None:
        """The next message was popped, which locks it."""
        message = self.queue.pop()
        if message is None:
            return None
        claim = {"claim_id": message.claim_id} if hasattr(message, "claim_id") else {}
        return Popped(json.loads(message.data), message.message_id, claim)

    def ack(self, popped: Popped) -> bool:
        """The message is marked as done; False: it was not this claim's any more."""
        return self.queue.done(popped.id, **popped.claim) is not False

    def release(self, popped: Popped) -> bool:
        """The message is free again; False: it was not this claim's any more."""
        return self.queue.retry(popped.id, **popped.claim) is not False

    def close(self) -> None:
        """The queue is let go."""
        self._let_go()
