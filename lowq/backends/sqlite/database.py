"""One SQLite file of ours: made, recognised, locked, and never carried across a fork.

Long: what a signal handler may come between is one course of events.

The file and its ``-wal`` and ``-shm`` are only ever opened by SQLite: a process that opens and closes one of them by
itself drops the POSIX locks that SQLite holds on it (https://www.sqlite.org/howtocorrupt.html, section 2.2).

Nothing of SQLite crosses a fork either. Its table of open files does, so that even a new connection in the child
believes in locks that only the parent has: the parent, closing, deletes the WAL under the child, or a write lock held
at the fork is held for ever. Therefore every connection is closed before a fork, and both sides open their own.

A call may be cut off by an exception anywhere: a signal handler raises it. Every statement runs inside `_run`, whose
one handler undoes what is under way. Where that is cut off too, the lock tells the next call that it takes over from
a dead one; the connection, which may be in any state, is then closed and another opened.

A signal handler or a finalizer that uses the client while a call of its thread is under way, or forks, takes the
connection away, which undoes what that call had done; the call then begins anew. Where SQLite itself is at work in
that call, the connection stays: it is used by nobody else, closed at the end of the call, and unusable in a child;
the call that came in between has a connection of its own, and is refused at once where it would have to wait for the
one below.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import weakref
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from math import ceil
from types import FrameType
from typing import ClassVar, Literal, TypeVar

from lowq import kernel
from lowq.backend import (
    BackendUnavailable,
    CorruptQueue,
    InvalidLocation,
    LowqError,
    QueueClosed,
    QueueGone,
)
from lowq.backends.sqlite.errors import DescriptorsLost, explain_loss, is_busy, translate
from lowq.backends.sqlite.handle import Handle
from lowq.backends.sqlite.schema import SCHEMA_VERSION, bring_up_to_date, version_of
from lowq.clock import SystemClock
from lowq.framelock import CLEAN, NESTED, FrameLock
from lowq.process.handlers import let_through
from lowq.process.paths import exists, is_folder
from lowq.rules.options import check_choice
from lowq.rules.origin import let_through_strange

T = TypeVar("T")

Durability = Literal["power", "process", "none"]
"""What a push that returned survives: the loss of power (synchronous=FULL); the death of the process (NORMAL); or
that in a file which the loss of power may damage (OFF): for tests."""

_SYNCHRONOUS = {"power": "FULL", "process": "NORMAL", "none": "OFF"}


LOG_KEPT = 4 << 20
"""Bytes to which the log is cut when it begins anew: as many as SQLite writes between two checkpoints."""
_LONGEST_WAIT = timedelta(days=20)
"""SQLite counts the milliseconds of a wait in 32 bits; a longer patience is several waits."""

_BEGINNINGS = 100
"""How often a call begins anew because signal handlers used the client meanwhile."""


class Database:
    """A connection to a queue file, for one call at a time, with errors that have names."""

    _cursor: sqlite3.Cursor | None = None
    """The cursor of the connection, once it is ready to be used."""
    cursor_class: ClassVar[type[sqlite3.Cursor]] = sqlite3.Cursor

    def __init__(
        self, path: str, *, create: bool, durability: Durability, patience: timedelta, now: Callable[[], int]
    ) -> None:
        check_choice(durability, "durability", tuple(_SYNCHRONOUS))
        if sqlite3.sqlite_version_info < (3, 35):
            raise BackendUnavailable(f"lowq needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}")
        self.path = path
        self._durability = durability
        self._patience = patience
        self._create = create
        self._now = now
        self._lock = FrameLock()
        self._taken_away = 0
        self._begin = ""
        """How the latest call began."""
        self._handle = Handle(self.cursor_class)
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._check_path(create)
        try:
            _gate.take(sys._getframe())
            # The finalizer is one call into C, so that nothing can interrupt it.
            _databases[id(self)] = weakref.ref(self, partial(_databases.pop, id(self)))
        finally:
            _gate.leave(sys._getframe())

    def alone(self, body: Callable[[sqlite3.Cursor], T]) -> T:
        """What `body` answers: the cursor is its own, and each of its statements is a transaction by itself.

        Here and below `body` may be called again where the connection was taken away from it, so here a statement
        that changes something is the last one that it runs. A body reads rows by `rows.fetch`, all of them.
        """
        return self._run("", body)

    def reading(self, body: Callable[[sqlite3.Cursor], T]) -> T:
        """What `body` answers, which sees one state of the file."""
        return self._run("BEGIN", body)

    def writing(self, body: Callable[[sqlite3.Cursor], T]) -> T:
        """What `body` answers, which holds the write lock from its start: kept at its end, undone by an exception."""
        return self._run("BEGIN IMMEDIATE", body)

    def check_open(self) -> None:
        """Raise QueueClosed where the client was closed."""
        if self._closed:
            raise QueueClosed(f"this client of {self.path} was closed; open the queue again")

    def close(self) -> None:
        """The connection is let go; whoever uses this client afterwards gets QueueClosed."""
        self._closed = True
        self.rest()

    def rest(self) -> None:
        """The connection is let go until the next use."""
        found = None
        try:
            found = self._lock.take(sys._getframe())
            self._taken_away += 1  # from a call that goes on when this one has ended
            self._disconnect()
            self._lock.leave(sys._getframe())
        except BaseException:
            self._end(sys._getframe(), found is NESTED, keep=False)
            raise

    def _run(self, begin: str, body: Callable[[sqlite3.Cursor], T]) -> T:
        left = SystemClock().countdown(self._patience) if self._patience > _LONGEST_WAIT else None
        beginnings = 0
        while beginnings < _BEGINNINGS:
            found, taken_away, committing = None, self._taken_away, False
            try:
                found = self._lock.take(sys._getframe())
                if found is not CLEAN:
                    self._taken_away += 1
                    if not self._disconnect():
                        return self._beside(begin, body)
                if len(_databases) > 1 and begin != "BEGIN":
                    self._get_past_others()
                if self._handle.descriptors.is_highest_lost():
                    raise DescriptorsLost
                taken_away = self._taken_away
                cursor = self._current()
                self._begin = begin
                if begin:
                    cursor.execute(begin)
                committing = not begin
                answer = body(cursor)
                if begin:
                    committing = begin != "BEGIN"
                    cursor.execute("COMMIT")
                if self._closed:  # by a call that came in between
                    self._disconnect()
                self._lock.leave(sys._getframe())
                return answer
            except BaseException as error:
                self._end(sys._getframe(), found is NESTED, keep=isinstance(error, (LowqError, sqlite3.Error)))
                if isinstance(error, UnicodeDecodeError):  # of SQLite's message, which quotes the file
                    let_through_strange(error)
                    raise CorruptQueue(f"{self.path} is damaged ({error}); restore it from a copy") from error
                if not isinstance(error, sqlite3.Error):
                    raise
                lost = self._reopens(error)
                if lost and committing:
                    raise explain_loss(self.path) from error
                if lost or isinstance(error, DescriptorsLost) or self._taken_away != taken_away:
                    beginnings += 1
                elif left is None or not is_busy(error) or left() <= timedelta(0):
                    raise translate(error, self.path, self._patience) from error
        raise BackendUnavailable(
            f"{self.path}: signal handlers used this client or forked, and so undid this call, {_BEGINNINGS} times;"
            " give them a client of their own"
        )

    def _beside(self, begin: str, body: Callable[[sqlite3.Cursor], T]) -> T:
        """What `body` answers on a connection of its own: SQLite is at work for a call that waits for this one."""
        if self._closed:
            raise QueueClosed(f"this client of {self.path} was closed; open the queue again")
        waiting = self._keeps_others_out()
        own = type(self)(
            self.path,
            create=False,
            durability=self._durability,
            patience=timedelta(0) if waiting else self._patience,
            now=self._now,
        )
        own._identity = self._identity
        try:
            return own._run(begin, body)
        except BackendUnavailable as error:
            if waiting and isinstance(error.__cause__, sqlite3.Error) and is_busy(error.__cause__):
                raise self._below() from None
            raise
        finally:
            own.close()

    def _reopens(self, error: sqlite3.Error) -> bool:
        """Whether the error came of descriptors that the program closed: then no client of the file has any of them.

        Of all, since SQLite shares its locks among the connections of a process.
        """
        clients = [each for each in _standing() if each.path == self.path]
        if is_busy(error) or not any(each._handle.descriptors.are_lost() for each in clients):
            return False
        for each in clients:
            each._lock.take(sys._getframe())
            each._taken_away += 1
            if not each._disconnect():
                raise explain_loss(self.path) from error
            each._lock.leave(sys._getframe())
        return True

    def _get_past_others(self) -> None:
        """No other client of the file in this thread, in a call that waits for this one, keeps it locked."""
        for other in _standing():
            if other is self or other.path != self.path or not other._lock.is_below():
                continue
            if other._keeps_others_out():
                other._taken_away += 1
                if not other._disconnect():
                    raise self._below()

    def _keeps_others_out(self) -> bool:
        """Whether the call under way holds the write lock."""
        return self._begin != "BEGIN" and self._handle.in_transaction()

    def _below(self) -> BackendUnavailable:
        return BackendUnavailable(
            f"{self.path}: this call runs in a signal handler or a finalizer, in the middle of another call of its"
            " thread that keeps the database locked; let it take a note, and do this afterwards"
        )

    def _end(self, frame: FrameType, nested: bool, *, keep: bool) -> None:
        """Of the call with that frame nothing is under way any more; `keep`: the connection is in a known state.

        An exception that comes in between is raised at the end: what is undone here keeps others out until it is.
        """
        later: BaseException | None = None
        while True:
            try:
                if nested or self._lock.is_held_by(frame):
                    cursor = self._cursor
                    if nested:  # the connection may be that of the call that goes on when this one has ended
                        self._taken_away += 1
                    if nested or not keep or cursor is None or self._closed:
                        self._disconnect()
                    elif cursor.connection.in_transaction:
                        cursor.execute("ROLLBACK")
                    self._lock.leave(frame)
                break
            except sqlite3.Error:
                if not keep:
                    self._handle.give_up()
                keep = False
            except BaseException as error:
                later = error
        if later is not None:
            raise later

    def __del__(self, is_ending: Callable[[], bool] = sys.is_finalizing) -> None:
        """Whoever drops a client without closing it leaves no connection behind.

        When the interpreter ends, the names of the module are gone, and SQLite closes what is open.
        """
        if hasattr(self, "_handle") and not is_ending():
            self._disconnect()

    def _check_path(self, create: bool) -> None:
        folder = os.path.dirname(self.path)
        if is_folder(self.path):
            raise InvalidLocation(f"{self.path} is a directory; name a file in it")
        if exists(self.path):
            return
        if not is_folder(folder):
            raise InvalidLocation(f"{self.path}: the directory {folder} does not exist; make it first")
        if not create:
            raise InvalidLocation(f"{self.path}: there is no queue here; a push makes one")

    def _current(self) -> sqlite3.Cursor:
        """The cursor of the connection, opened again after a fork; the file is still the one that was opened."""
        if self._closed:
            raise QueueClosed(f"this client of {self.path} was closed; open the queue again")
        cursor = self._cursor or self._connect()
        try:
            status = kernel.stat(self.path)
        except FileNotFoundError as error:
            let_through(error)
            raise QueueGone(f"{self.path} is gone ({error.strerror}); open the queue again") from None
        except OSError as error:
            let_through(error)
            raise BackendUnavailable(f"{self.path} cannot be reached: {error.strerror}") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise QueueGone(f"{self.path} was replaced by another file; open the queue again")
        return cursor

    def _connect(self) -> sqlite3.Cursor:
        if _crossed:
            raise BackendUnavailable(
                f"{self.path}: an exception of a signal handler kept a connection open while this process was forked,"
                " and SQLite would believe here in locks that the parent holds; start a process afresh"
            )
        if self._identity is not None and not exists(self.path):
            raise QueueGone(f"{self.path} is gone; open the queue again")
        self._disconnect()
        if any(each._handle.descriptors.are_lost() for each in _standing() if each.path == self.path):
            raise DescriptorsLost
        timeout = (self._patience / max(1, ceil(self._patience / _LONGEST_WAIT))).total_seconds()
        if self._identity is None and self._create:
            _make_file(self.path)
        cursor = self._handle.open(self.path, timeout, self._prepare)
        if self._identity is None:
            status = kernel.stat(self.path)
            self._identity = (status.st_dev, status.st_ino)
        self._cursor = cursor
        return cursor

    def _disconnect(self) -> bool:
        """The connection is let go; False: SQLite is at work on it, for a call that waits for this one."""
        cursor, self._cursor = self._cursor, None
        if self._handle.close():
            return True
        self._cursor = cursor
        return False

    def _prepare(self, cursor: sqlite3.Cursor) -> None:
        """The file is a queue of this version in WAL mode; nothing is written to a file that is anything else."""
        cursor.execute("BEGIN")  # one look: what is made between two questions makes no sense together
        version = version_of(cursor, self.path)
        cursor.execute("COMMIT")
        if not version and not self._create:
            raise InvalidLocation(f"{self.path} is empty: there is no queue here; a push makes one")
        if version < SCHEMA_VERSION:
            self._bring_up_to_date(cursor, version)
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            self._switch_to_wal(cursor)
        cursor.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}").fetchall()
        self._set_durability(cursor)

    def _set_durability(self, cursor: sqlite3.Cursor) -> None:
        """What this connection commits is synced as was asked for."""
        cursor.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}")
        if sys.platform == "darwin" and self._durability == "power":
            cursor.execute("PRAGMA fullfsync = 1")  # there fsync() stops at the drive's own cache

    def _bring_up_to_date(self, cursor: sqlite3.Cursor, version: int) -> None:
        """The tables are those of this version, made or upgraded by this process or by another one meanwhile."""
        try:
            if not version:
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")  # see room.py; no other than a new file minds
            cursor.execute("BEGIN IMMEDIATE")
            bring_up_to_date(cursor, self.path, self._now())
            cursor.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if version and error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                raise BackendUnavailable(
                    f"{self.path} was made by an older lowq (schema {version}), and this one, which must bring it to"
                    f" schema {SCHEMA_VERSION} first, cannot write it; make the file and its folder writable"
                ) from None
            raise

    def _switch_to_wal(self, cursor: sqlite3.Cursor) -> None:
        """The file is in WAL mode. SQLite does not wait for others at this one statement, so this does."""
        clock = SystemClock()
        left = clock.countdown(self._patience)
        while True:
            try:
                mode = cursor.execute("PRAGMA journal_mode = WAL").fetchone()[0]
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


_databases: dict[int, weakref.ref[Database]] = {}
_gate = FrameLock()
"""Held while a process is forked: nobody opens a database meanwhile."""
_crossed: list[sqlite3.Connection] = []
"""Connections that were open at the fork of this process, kept: closing them would drop the parent's locks."""


_MODE = 0o664
"""Of a file that is made, less the umask: SQLite would keep it from the group whatever the umask says."""


def _make_file(path: str) -> None:
    """An empty file is there; where none can be made, SQLite finds that out, and is asked why."""
    make = partial(kernel.open_descriptor, flags=os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode=_MODE)
    try:
        list(map(os.close, map(make, (path,))))  # one call into C: no signal handler can leave it open
    except OSError as error:
        let_through_strange(error)


def _standing() -> list[Database]:
    return [database for ref in list(_databases.values()) if (database := ref()) is not None]


def _before_fork() -> None:
    """Every connection is closed, and none is opened until the fork is done: for as long as who forks runs."""
    forking = sys._getframe(1)
    _gate.take(forking)
    for database in _standing():
        database._lock.take(forking)
        database._taken_away += 1
        database._disconnect()


def _after_fork_in_parent() -> None:
    forking = sys._getframe(1)
    for database in _standing():
        database._lock.leave(forking)
    _gate.leave(forking)


def _after_fork_in_child() -> None:
    global _gate
    for database in _standing():
        database._lock = FrameLock()
        database._taken_away += 1
        database._cursor = None
        _crossed.extend(database._handle.cross())
    _gate = FrameLock()


if hasattr(os, "register_at_fork"):
    # Twice, since each can be done twice: an exception of a signal handler, which a fork disregards, may cut one off.
    for _ in range(2):
        os.register_at_fork(
            before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
        )
