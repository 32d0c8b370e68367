"""Harnesses for two transports of kombu (https://pypi.org/project/kombu/), by its "Simple Interface".

The guide of that name promises:

- `SimpleQueue` "is used for persistent messages" ("Sending and receiving messages"): `persistent`
- messages are acknowledged by `message.ack()`, and `message.requeue()` will "reject this message and put it back on
  the queue" (docstring): `release`; where the message goes is not said
- queues are told apart by their names: `names`

The guide calls it "only slightly different from the Queue class in the Python Standard Library", which is too little
to ask for `fifo`; nor do the transports' own pages promise an order. Both say "Supports Priority: No". What a client
holds when it is closed goes back to its queue.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kombu
from kombu.transport import filesystem

from lowq_conformance.queues.peers.taken import Taken


class Filesystem:
    """The transport `filesystem://`, which keeps each message in a file; who puts and who gets use one folder.

    The example in its docstring is of two programs, a producer and a consumer that share the folders: `processes`.
    It keeps in memory, once for all folders of a process, which queues are bound (`global_state`, "filesystem backend
    state is global"). A new harness forgets it, as a new process would, or each test would suffer from the last.
    """

    promises = frozenset({"persistent", "release", "names", "processes"})
    requeue = "any"

    def __init__(self) -> None:
        filesystem.Transport.global_state.clear()

    def open(self, place: Path, name: str = "simple") -> SimpleClient:
        """A new connection to the folder of this place."""
        messages = place / "messages"
        messages.mkdir(exist_ok=True)
        options = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(place / "control"),
        }
        return SimpleClient(kombu.Connection("filesystem://", transport_options=options), name)


class SQLAlchemy:
    """The transport `sqlalchemy+sqlite://`, which keeps each message in a row; its page is silent on processes."""

    promises = frozenset({"persistent", "release", "names"})
    requeue = "any"

    def open(self, place: Path, name: str = "simple") -> SimpleClient:
        """A new connection to the database of this place."""
        return SimpleClient(kombu.Connection(f"sqlalchemy+sqlite:///{place / 'messages.db'}"), name)


class SimpleClient:
    """A SimpleQueue on a connection of its own."""

    def __init__(self, connection: kombu.Connection, name: str) -> None:
        self.connection = connection
        self.queue = connection.SimpleQueue(name)

    def push(self, work: Any) -> None:
        """The work was put; kombu makes JSON of it."""
        self.queue.put(work)

    def claim(self) -> Taken | None:
        """The next message was got."""
        try:
            message = self.queue.get(block=False)
        except self.queue.Empty:
            return None
        return Taken(message.payload, message)

    def ack(self, taken: Taken) -> None:
        """The message is acknowledged."""
        taken.token.ack()

    def release(self, taken: Taken) -> None:
        """The message is on the queue again."""
        taken.token.requeue()

    def close(self) -> None:
        """The queue and its connection are closed."""
        self.queue.close()
        self.connection.close()
