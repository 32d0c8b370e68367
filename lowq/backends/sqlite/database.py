"""One SQLite file of ours: made, recognised, locked, and never carried across a fork.

The file and its ``-wal`` and ``-shm`` are only ever opened by SQLite: a process that opens and closes one of them by
itself drops the POSIX locks that SQLite holds on it (https://www.sqlite.org/howtocorrupt.html, section 2.2).

Nothing of SQLite crosses a fork either. Its table of open files does, so that even a new connection in the child
believes in locks that only the parent has: the parent, closing, deletes the WAL under the child, or a write lock held
at the fork is held for ever. Therefore every connection is closed before a fork, and both sides open their own.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Literal

from lowq.backend import (
    BackendUnavailable,
    CorruptQueue,
    InvalidLocation,
    InvalidWork,
    LowqError,
    QueueClosed,
    QueueGone,
)
from lowq.backends.sqlite.schema import SCHEMA_VERSION, bring_up_to_date, version_of
from lowq.clock import SystemClock

Durability = Literal["power", "process", "none"]
"""What a push that returned survives: the loss of power (synchronous=FULL); the death of the process (NORMAL); or
that in a file which the loss of power may damage (OFF): for tests."""

_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL", "none": "OFF"}


class Database:
    """A connection to a queue file, for one thread at a time, with errors that have names."""

    _connection: sqlite3.Connection | None = None

    def __init__(
        self, path: str, *, create: bool, durability: Durability, patience: timedelta, now: Callable[[], int]
    ) -> None:
        if durability not in _SYNCHRONOUS:
            raise ValueError(f"durability: expected {', '.join(_SYNCHRONOUS)}, got {durability!r}")
        if sqlite3.sqlite_version_info < (3, 35):
            raise BackendUnavailable(f"lowq needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}")
        self.path = path
        self._durability = durability
        self._patience = patience
        self._now = now
        self._lock = threading.RLock()
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._check_path(create)
        with _registry:
            _databases.add(self)
        try:
            with self._lock:
                self._connect()
        except BaseException:
            self.close()
            raise

    def writing(self) -> Transaction:
        """A transaction that holds the write lock from its start: committed at the end, undone by an exception."""
        return Transaction(self, "BEGIN IMMEDIATE")

    def reading(self) -> Transaction:
        """A transaction that sees one state of the file."""
        return Transaction(self, "BEGIN")

    def __enter__(self) -> sqlite3.Connection:
        """The connection is this thread's alone; outside a transaction each statement is one by itself."""
        self._lock.acquire()
        try:
            return self._current()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise self.named(error) from error

    def close(self) -> None:
        """The connection is let go; whoever uses this client afterwards gets QueueClosed."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def __del__(self) -> None:
        """Whoever drops a client without closing it leaves no connection behind."""
        self._disconnect()

    def _check_path(self, create: bool) -> None:
        folder = os.path.dirname(self.path)
        if os.path.isdir(self.path):
            raise InvalidLocation(f"{self.path} is a directory; name a file in it")
        if os.path.exists(self.path):
            return
        if not os.path.isdir(folder):
            raise InvalidLocation(f"{self.path}: the directory {folder} does not exist; make it first")
        if not create:
            raise InvalidLocation(f"{self.path}: there is no queue here; a push makes one")

    def _current(self) -> sqlite3.Connection:
        """The connection, opened again after a fork; the file is still the one that was opened."""
        if self._closed:
            raise QueueClosed(f"this client of {self.path} was closed; open the queue again")
        connection = self._connection or self._connect()
        try:
            status = os.stat(self.path)
        except FileNotFoundError as error:
            raise QueueGone(f"{self.path} is gone ({error.strerror}); open the queue again") from None
        except OSError as error:
            raise BackendUnavailable(f"{self.path} cannot be reached: {error.strerror}") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise QueueGone(f"{self.path} was replaced by another file; open the queue again")
        return connection

    def _connect(self) -> sqlite3.Connection:
        if self._identity is not None and not os.path.exists(self.path):
            raise QueueGone(f"{self.path} is gone; open the queue again")
        try:
            self._connection = sqlite3.connect(
                self.path,
                timeout=self._patience.total_seconds(),
                isolation_level=None,
                check_same_thread=False,
            )
            self._prepare(self._connection)
            if self._identity is None:
                status = os.stat(self.path)
                self._identity = (status.st_dev, status.st_ino)
        except sqlite3.Error as error:
            self._disconnect()
            raise self.named(error) from error
        except BaseException:
            self._disconnect()
            raise
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """The file is a queue of this version in WAL mode; nothing is written to a file that is anything else."""
        connection.execute("BEGIN")  # one look: what is made between two questions makes no sense together
        version = version_of(connection, self.path)
        connection.execute("COMMIT")
        if version < SCHEMA_VERSION:
            self._bring_up_to_date(connection, version)
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._switch_to_wal(connection)
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        if sys.platform == "darwin" and self._durability == "power":
            connection.execute("PRAGMA fullfsync = 1")  # there fsync() stops at the drive's own cache

    def _bring_up_to_date(self, connection: sqlite3.Connection, version: int) -> None:
        """The tables are those of this version, made or upgraded by this process or by another one meanwhile."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            bring_up_to_date(connection, self.path, self._now())
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if version and error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise BackendUnavailable(
                    f"{self.path} was made by an older lowq (schema {version}), and this one, which must bring it to"
                    f" schema {SCHEMA_VERSION} first, cannot write it; make the file and its folder writable"
                ) from None
            raise

    def _switch_to_wal(self, connection: sqlite3.Connection) -> None:
        """The file is in WAL mode. SQLite does not wait for others at this one statement, so this does."""
        clock = SystemClock()
        left = clock.countdown(self._patience)
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or left() <= timedelta(0):
                    raise
                clock.sleep(timedelta(milliseconds=5))
                continue
            if mode != "wal":
                raise BackendUnavailable(
                    f"{self.path}: this file system has no shared memory, which SQLite's WAL needs"
                )
            return

    def named(self, error: sqlite3.Error) -> LowqError:
        """The error of ours that tells what an SQLite error means to the caller."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            seconds = self._patience.total_seconds()
            return BackendUnavailable(f"{self.path}: another process kept the database locked for {seconds:g} s")
        if code == sqlite3.SQLITE_FULL:
            return BackendUnavailable(f"{self.path}: the disk is full; nothing was written")
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            return BackendUnavailable(
                f"{self.path} cannot be written; check the permissions of the file and its folder"
            )
        if code == sqlite3.SQLITE_NOTADB:
            return InvalidLocation(f"{self.path} is no SQLite database; name another file")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT):
            return CorruptQueue(f"{self.path} is damaged ({error}); restore it from a copy")
        if code == sqlite3.SQLITE_TOOBIG:
            return InvalidWork(f"work: larger than SQLite keeps ({error})")
        return BackendUnavailable(f"{self.path}: {error}")


class Transaction:
    """A `with` block around one transaction of a Database; it gives the connection."""

    __slots__ = ("_begin", "_connection", "_database")

    def __init__(self, database: Database, begin: str) -> None:
        self._database = database
        self._begin = begin

    def __enter__(self) -> sqlite3.Connection:
        self._connection = self._database.__enter__()
        try:
            self._connection.execute(self._begin)
        except BaseException as error:
            self._database.__exit__(type(error), error, None)
            raise
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._connection.execute("COMMIT")
            else:
                self._undo()
        except sqlite3.Error as failure:
            self._undo()
            error = failure
        self._database.__exit__(kind, error, traceback)

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_registry = threading.Lock()
_forking: list[Database] = []


def _before_fork() -> None:
    _registry.acquire()
    for database in list(_databases):
        database._lock.acquire()
        database._disconnect()
        _forking.append(database)


def _after_fork_in_parent() -> None:
    for database in _forking:
        database._lock.release()
    _forking.clear()
    _registry.release()


def _after_fork_in_child() -> None:
    global _registry
    for database in _forking:
        database._lock = threading.RLock()
    _forking.clear()
    _registry = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
