"""The answers to requests that carry an id: a request that comes again is answered, and not done again.

They are kept in an SQLite file of their own, beside a queue that is a file, so that they outlive the server and are
shared by the processes that serve together. They cannot be part of the queue's own transaction, because a queue may
be kept anywhere. So a request is written down twice: that it began, and what it was answered. One that began in a
server that then died is of unknown outcome, and says so when it comes again: it is not done a second time. A claim
is: the lease that nobody heard of runs out.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from lowq.backend import BackendUnavailable
from lowq.clock import SystemClock, span, to_micros
from lowq.wire import InvalidMessage

LONGEST_ID = 200
"""Characters of a request's id."""

_OTHERS_ANSWER = timedelta(seconds=5)
"""How long another process that lives may take to answer what it began."""

_PRUNE_EVERY = timedelta(minutes=1)

_BEGIN = "INSERT INTO reply (id, what, server, pid, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reply (
    id TEXT PRIMARY KEY, what BLOB NOT NULL, server TEXT NOT NULL, pid INTEGER NOT NULL, at INTEGER NOT NULL,
    status INTEGER, body TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS reply_at ON reply (at);
CREATE TABLE IF NOT EXISTS lease (
    queue TEXT NOT NULL, task TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (queue, task)
    ) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS lease_at ON lease (at);
"""


class IdReused(InvalidMessage):
    """The id of the request was that of another request; nothing was done."""


class OutcomeUnknown(BackendUnavailable):
    """The server ended while it did this request, which was done or was not; nothing more was done now."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request was answered: the status and the JSON text of the body; `keep`: also when it comes again."""

    status: int
    body: str
    keep: bool = True


class Replies:
    """The answers of the last while, at `path` (``:memory:`` for this process alone)."""

    def __init__(self, path: str, keep: timedelta) -> None:
        self.path = path
        self._keep = span(keep, "keep")
        self._clock = SystemClock()
        self._server = uuid4().hex
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._running: dict[str, threading.Event] = {}
        self._since_prune = self._clock.countdown(timedelta(0))
        with _registry:
            _all.add(self)
        self._execute("SELECT 1 FROM reply LIMIT 1")

    def once(self, id: str | None, what: str, act: Callable[[], Reply], *, again: bool = False) -> Reply:
        """What `act` answers, or what it answered when the request `id` came first.

        `what` tells one request from another; `again`: it may be done again where its outcome is unknown. Raises
        IdReused and OutcomeUnknown.
        """
        if id is None:
            return act()
        mark = blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        mine = threading.Event()
        while (others := self._running.setdefault(id, mine)) is not mine:
            others.wait()
        try:
            known = self._find_or_begin(id, mark, again)
            if known is not None:
                return known
            reply: Reply | None = None
            try:
                reply = act()
            finally:
                self._finish(id, mark, reply, again)
            return reply
        finally:
            del self._running[id]
            mine.set()

    def remember_lease(self, queue: str, task: str, body: str) -> None:
        """The lease that was handed out for the task, as JSON, in case a person gives it back."""
        self._execute(
            "INSERT OR REPLACE INTO lease (queue, task, at, body) VALUES (?, ?, ?, ?)", queue, task, self._now(), body
        )

    def lease(self, queue: str, task: str) -> str | None:
        """The last lease that was handed out for the task through here, as JSON, or None."""
        rows = self._execute("SELECT body FROM lease WHERE queue = ? AND task = ?", queue, task)
        return str(rows[0][0]) if rows else None

    def close(self) -> None:
        """The file is let go."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _find_or_begin(self, id: str, mark: bytes, again: bool) -> Reply | None:
        """The answer that is kept, or None: it is done now, and that it began is written down unless `again`."""
        self._prune()
        left = self._clock.countdown(_OTHERS_ANSWER)
        while True:
            if not again and self._execute(_BEGIN, id, mark, self._server, os.getpid(), self._now()):
                return None
            rows = self._execute("SELECT what, server, pid, status, body FROM reply WHERE id = ?", id)
            if not rows and again:
                return None
            if not rows:
                continue
            what, server, pid, status, body = rows[0]
            if what != mark:
                raise IdReused(f"the request's id {id!r} was that of another request; give each request its own")
            if status is not None:
                return Reply(status, body)
            if server == self._server or not _lives(pid) or left() <= timedelta(0):
                raise OutcomeUnknown(
                    "the server was restarted while it did this request; it was done or it was not: look, or send it "
                    "again under another id if doing it twice is no harm"
                )
            threading.Event().wait(0.01)

    def _finish(self, id: str, mark: bytes, reply: Reply | None, again: bool) -> None:
        if reply is None or not reply.keep:
            if not again:
                self._execute("DELETE FROM reply WHERE id = ?", id)
            return
        self._execute(
            "INSERT OR REPLACE INTO reply (id, what, server, pid, at, status, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
            id, mark, self._server, os.getpid(), self._now(), reply.status, reply.body,
        )  # fmt: skip

    def _prune(self) -> None:
        if self._since_prune() > timedelta(0):
            return
        self._since_prune = self._clock.countdown(_PRUNE_EVERY)
        for table in ("reply", "lease"):
            self._execute(f"DELETE FROM {table} WHERE at < ?", self._now() - self._keep)

    def _now(self) -> int:
        return to_micros(self._clock.now())

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise BackendUnavailable(f"{self.path}: the answers to requests cannot be kept: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        """The file, opened; one that was damaged is set aside: what it kept is of use for an hour at most."""
        try:
            return self._open_database()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise
            for end in ("-wal", "-shm"):
                if os.path.exists(self.path + end):
                    os.unlink(self.path + end)
            os.replace(self.path, f"{self.path}-damaged")
            return self._open_database()

    def _open_database(self) -> sqlite3.Connection:
        connection = sqlite3.Connection(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.executescript(_SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()  # with another server's mark: an earlier process had this number


# SQLite must not cross a fork (lowq/backends/sqlite/database.py says why): connections are closed before one.
_all: weakref.WeakSet[Replies] = weakref.WeakSet()
_registry = threading.Lock()
_held: list[Replies] = []


def _before_fork() -> None:
    _registry.acquire()
    for each in list(_all):
        each._lock.acquire()
        if each.path != ":memory:":
            each.close()
        _held.append(each)


def _after_fork_in_parent() -> None:
    for each in _held:
        each._lock.release()
    _held.clear()
    _registry.release()


def _after_fork_in_child() -> None:
    global _registry
    for each in _held:
        each._lock = threading.RLock()
        each._running = {}
        each._server = uuid4().hex
    _held.clear()
    _registry = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
