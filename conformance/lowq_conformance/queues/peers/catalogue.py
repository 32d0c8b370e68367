"""The short names of the bundled peers, and what each needs; a peer's package is imported when its name is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a peer's harness is, as a module of this folder and a name in it, and what `pip install` takes."""

    module: str
    harness: str
    install: str


PEERS: Mapping[str, Peer] = {
    "diskcache": Peer("diskcache", "Deque", "diskcache"),
    "huey": Peer("huey", "Sqlite", '"huey>=3.5"'),
    "huey-fifo": Peer("huey", "SqliteFifo", '"huey>=3.5"'),
    "huey-file": Peer("huey", "File", '"huey>=3.5"'),
    "huey-worker": Peer("huey", "Worker", '"huey>=3.5"'),
    "kombu-filesystem": Peer("kombu", "Filesystem", "kombu"),
    "kombu-sqlalchemy": Peer("kombu", "SQLAlchemy", '"kombu[sqlalchemy]"'),
    "litequeue": Peer("litequeue", "Installed", "litequeue"),
    "persist-queue": Peer("persist_queue", "Queue", "persist-queue"),
    "persist-queue-ack": Peer("persist_queue", "AckQueue", "persist-queue"),
    "persist-queue-ack-raw": Peer("persist_queue", "AckQueueRaw", "persist-queue"),
    "persist-queue-priority": Peer("persist_queue", "PriorityQueue", "persist-queue"),
    "persist-queue-sqlite": Peer("persist_queue", "SQLiteQueue", "persist-queue"),
    "persist-queue-unique": Peer("persist_queue", "UniqueQ", "persist-queue"),
    "persist-queue-unique-json": Peer("persist_queue", "UniqueQJson", "persist-queue"),
    "pqueue": Peer("pqueue", "Queue", "pqueue"),
    "queuelib": Peer("queuelib", "FifoDiskQueue", "queuelib"),
    "queuelib-priority": Peer("queuelib", "PriorityQueue", "queuelib"),
    "queuelib-sqlite": Peer("queuelib", "FifoSQLiteQueue", "queuelib"),
}


def harness_of(name: str) -> Callable[[], Any]:
    """The harness that the short name stands for. Raises BrokenHarness where its package is not installed."""
    peer = PEERS[name]
    try:
        module = import_module(f"lowq_conformance.queues.peers.{peer.module}")
    except ModuleNotFoundError as error:
        raise BrokenHarness(f"{name}: {error.name} is missing: pip install {peer.install}") from error
    harness: Callable[[], Any] = getattr(module, peer.harness)
    return harness
