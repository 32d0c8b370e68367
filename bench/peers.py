"""The queues that are measured, each behind the same few calls, each with the same durability setting."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

import lowq
from bench.raw import RawQueue, RawTwin

MINUTE = timedelta(minutes=1)
LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")


class Client(Protocol):
    """One connection to a queue; what `claim` gives goes to `ack`."""

    def __init__(self, folder: Path, full: bool) -> None: ...
    def push(self, work: Any) -> object: ...
    def claim(self) -> Any: ...
    def ack(self, claimed: Any) -> object: ...
    def connection(self) -> sqlite3.Connection: ...
    def close(self) -> object: ...


class Lowq:
    def __init__(self, folder: Path, full: bool) -> None:
        self.queue = lowq.open_backend(folder / "lowq.db", durability="power" if full else "process")
        self.push = self.queue.push
        self.ack = self.queue.ack
        self.close = self.queue.close

    def push_many(self, works: list[Any]) -> None:
        self.queue.push_many(lowq.Item(work) for work in works)

    def claim(self) -> lowq.Lease | None:
        return self.queue.claim(lease_for=MINUTE)

    def ack_and_claim(self, claimed: lowq.Lease) -> lowq.Lease | None:
        return self.queue.ack(claimed, claim_for=MINUTE)

    def connection(self) -> sqlite3.Connection:
        # the settings that it really runs with
        return self.queue._database.alone(lambda db: db)  # type: ignore[attr-defined, no-any-return]


class Raw(RawQueue):
    def __init__(self, folder: Path, full: bool) -> None:
        super().__init__(folder / "raw.db", full=full)

    def connection(self) -> sqlite3.Connection:
        return self.db


class Twin(RawTwin):
    def __init__(self, folder: Path, full: bool) -> None:
        super().__init__(folder / "raw.db", full=full)

    def connection(self) -> sqlite3.Connection:
        return self.db


class Huey:
    """The storage alone, without huey's own messages around a task."""

    def __init__(self, folder: Path, full: bool) -> None:
        from huey.storage import SqliteStorage

        self.storage = SqliteStorage(filename=str(folder / "huey.db"), strict_fifo=True, timeout=30)
        self.connection().execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def push(self, work: Any) -> None:
        self.storage.enqueue(json.dumps(work).encode())

    def claim(self) -> Any:
        data = self.storage.dequeue()
        return None if data is None else (json.loads(data),)

    def ack(self, claimed: Any) -> None:
        """Taking it has deleted it."""

    def connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self.storage.conn
        return connection

    def close(self) -> None:
        self.storage.close()


class LiteQueue:
    def __init__(self, folder: Path, full: bool) -> None:
        import litequeue

        self.queue: Any = litequeue.LiteQueue(folder / "litequeue.db", timeout=30)
        self.connection().execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        self.close = self.queue.close

    def push(self, work: Any) -> None:
        self.queue.put(json.dumps(work))

    def claim(self) -> Any:
        message = self.queue.pop()
        return None if message is None else (json.loads(message.data), message)

    def ack(self, claimed: Any) -> None:
        message = claimed[1]
        claim = {"claim_id": message.claim_id} if hasattr(message, "claim_id") else {}  # since 0.13
        self.queue.done(message.message_id, **claim)

    def connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self.queue.conn
        return connection


class PersistQueue:
    def __init__(self, folder: Path, full: bool) -> None:
        import persistqueue
        from persistqueue.serializers import json as as_json

        self.empty = persistqueue.Empty
        self.queue = persistqueue.SQLiteAckQueue(str(folder / "persistqueue"), serializer=as_json, timeout=30)
        self.connection().execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        self.push = self.queue.put
        self.close = self.queue.close

    def claim(self) -> Any:
        try:
            return self.queue.get(block=False, raw=True)
        except self.empty:
            return None

    def ack(self, claimed: Any) -> None:
        self.queue.ack(claimed)

    def connection(self) -> sqlite3.Connection:
        return cast(sqlite3.Connection, self.queue._putter)


class DiskCache:
    def __init__(self, folder: Path, full: bool) -> None:
        from diskcache import Cache, Deque

        self.cache = Cache(
            str(folder / "diskcache"), timeout=30, eviction_policy="none", sqlite_synchronous=2 if full else 1
        )
        self.deque = Deque.fromcache(self.cache)
        self.close = self.cache.close

    def push(self, work: Any) -> None:
        self.deque.append(json.dumps(work))

    def claim(self) -> Any:
        try:
            return (json.loads(self.deque.popleft()),)
        except IndexError:
            return None

    def ack(self, claimed: Any) -> None:
        """Taking it has deleted it."""

    def connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self.cache._con
        return connection


@dataclass(frozen=True, slots=True)
class Peer:
    """A queue to measure, and what its calls do that the others' do not."""

    name: str
    open: Callable[[Path, bool], Client]
    says: str

    def settings(self, folder: Path, full: bool) -> str:
        """What a new queue's own connection answers, where SQLite keeps its durability."""
        client = self.open(folder, full)
        journal = client.connection().execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = client.connection().execute("PRAGMA synchronous").fetchone()[0]
        client.close()
        return f"journal_mode={journal}, synchronous={LEVELS[synchronous]}"


PEERS = (
    Peer("raw SQLite", Raw, f"SQLite {sqlite3.sqlite_version}, lowq's statements by hand"),
    Peer("raw, as lowq", Twin, "one statement where one is enough; looks that the file is there and who waits"),
    Peer("lowq", Lowq, f"{lowq.__version__}: dedupe, priority, schedule, lease with token, ack deletes"),
    Peer("huey", Huey, f"{version('huey')} SqliteStorage: priority; no dedupe, no ack (taking deletes)"),
    Peer(
        "litequeue",
        LiteQueue,
        f"{version('litequeue')}: leases end when somebody says so; done rows stay until pruned",
    ),
    Peer(
        "persist-queue",
        PersistQueue,
        f"{version('persist-queue')} SQLiteAckQueue: for threads; no lease; acked rows stay",
    ),
    Peer("diskcache", DiskCache, f"{version('diskcache')} Deque: no dedupe, no ack (taking deletes)"),
)
