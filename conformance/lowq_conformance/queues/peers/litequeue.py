"""Harnesses for litequeue (https://pypi.org/project/litequeue/), version 0.14, and 0.9, the last for Python 3.11.

The README and docstrings of both promise:

- "You can use this to implement a persistent queue": `persistent`
- The quickstart puts "hello" and "world" and pops "hello", and "Differences with a normal Python `queue.Queue`" lists
  no other order: `fifo`
- `retry`: "Mark a locked message as free again" (0.9), back to READY (0.14): `release`; where it goes is not said
- "Messages are always passed as strings, so you can use json data as messages"
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import litequeue

from lowq_conformance.queues.peers.shared import Client, Shared

NAMED = "claim_id" not in {field.name for field in fields(litequeue.Message)}
"""Whether this is the older interface, in which a message does not know its claim and queues have names."""


class LiteQueue:
    """Version 0.14. "A file-backed LiteQueue instance can be shared between threads" (README): `threads`.

    So the clients of a place share one instance, until the last of them is closed. Two scripts of its examples share
    a file, one that puts and one that pops; more is not said of processes. An idempotency key is no key of ours: it
    refuses other data under the same key, also when the message was done.
    """

    promises = frozenset({"fifo", "release", "persistent", "threads"})
    requeue = "any"

    def __init__(self) -> None:
        self._shared = Shared(_opened, _closed)

    def open(self, place: Path) -> LiteQueueClient:
        """A client of the LiteQueue on the file of this place."""
        return LiteQueueClient(self._shared, place)


class LiteQueue09:
    """Version 0.9, which does not speak of threads.

    "Multiple queues in the same SQLite is supported, but it's neither tested nor recommended" (README): `names`.
    """

    promises = frozenset({"fifo", "release", "persistent", "names"})
    requeue = "any"

    def open(self, place: Path, name: str = "Queue") -> LiteQueueClient:
        """A new LiteQueue on the file of this place and the table of this name."""
        return LiteQueueClient(Shared(lambda _: litequeue.LiteQueue(_file(place), queue_name=name), _closed), place)


Installed = LiteQueue09 if NAMED else LiteQueue
"""The harness for the version that is installed."""


@dataclass(frozen=True, slots=True)
class Popped:
    """A message that was popped; `claim` says which claim of it this is, and is empty in 0.9."""

    work: Any
    message_id: str
    claim: dict[str, int]


class LiteQueueClient(Client):
    """A LiteQueue of messages that are JSON."""

    def push(self, work: Any) -> None:
        """The work was put as JSON text."""
        self.queue.put(json.dumps(work))

    def claim(self) -> Popped | None:
        """The next message was popped, which locks it."""
        message = self.queue.pop()
        if message is None:
            return None
        return Popped(json.loads(message.data), message.message_id, {} if NAMED else {"claim_id": message.claim_id})

    def ack(self, popped: Popped) -> bool:
        """The message is marked as done; False: it was not this claim's any more."""
        return self.queue.done(popped.message_id, **popped.claim) is not False

    def release(self, popped: Popped) -> bool:
        """The message is free again; False: it was not this claim's any more."""
        return self.queue.retry(popped.message_id, **popped.claim) is not False


def _opened(place: Path) -> Any:
    return litequeue.LiteQueue(filename=_file(place))


def _closed(queue: Any, _place: Path) -> None:
    queue.close()


def _file(place: Path) -> Path:
    return place / "queue.sqlite3"
