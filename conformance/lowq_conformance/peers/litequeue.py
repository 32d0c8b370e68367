"""A harness for litequeue (https://pypi.org/project/litequeue/), version 0.9.

Its README and docstrings promise:

- "You can use this to implement a persistent queue": `persistent`
- The quickstart puts "hello" and "world" and pops "hello", and "Differences with a normal Python `queue.Queue`" lists
  no other order: `fifo`
- "Multiple queues in the same SQLite is supported, but it's neither tested nor recommended": `names`
- `retry`: "Mark a locked message as free again": `release`; where the message goes is not said
- "Messages are always passed as strings, so you can use json data as messages"

Threads and processes are not spoken of. Versions from 0.10 on have another interface; 0.13 settles by a claim's id,
"Integer claim IDs prevent stale workers from changing newer message claims", which this one does not say.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import litequeue

from lowq_conformance.peers.taken import Taken


class LiteQueue:
    """One SQLite file for each place, one table for each name."""

    promises = frozenset({"fifo", "release", "persistent", "names"})
    requeue = "any"

    def open(self, place: Path, name: str = "Queue") -> LiteQueueClient:
        """A new LiteQueue on the file of this place."""
        return LiteQueueClient(place / "queue.sqlite3", name)


class LiteQueueClient:
    """A LiteQueue of messages that are JSON."""

    def __init__(self, file: Path, name: str) -> None:
        self.queue = litequeue.LiteQueue(file, queue_name=name)

    def push(self, work: Any) -> None:
        """The work was put as JSON text."""
        self.queue.put(json.dumps(work))

    def claim(self) -> Taken | None:
        """The next message was popped, which locks it."""
        message = self.queue.pop()
        return None if message is None else Taken(json.loads(message.data), message.message_id)

    def ack(self, taken: Taken) -> None:
        """The message is marked as done."""
        self.queue.done(taken.token)

    def release(self, taken: Taken) -> None:
        """The message is free again."""
        self.queue.retry(taken.token)

    def close(self) -> None:
        """The connection is closed."""
        self.queue.close()
