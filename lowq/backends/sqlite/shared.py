"""Queues in the application's own SQLite file, beside its tables: in tables of ours whose names begin with ``lowq_``.

What else is the application's stays as it is: its journal mode, its versions, its free pages.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from secrets import randbits
from typing import Any, TypeVar

from lowq import kernel
from lowq.backend import BackendUnavailable, CorruptQueue, Dedupe, InvalidLocation, NoTransaction, Pushed
from lowq.backends.sqlite.database import Database
from lowq.backends.sqlite.descriptors import list_open_files
from lowq.backends.sqlite.errors import is_busy
from lowq.backends.sqlite.names import SharedCursor, in_shared_tables
from lowq.backends.sqlite.pushes import INSERT_UNLESS, STANDING, row_of, same_as
from lowq.backends.sqlite.schema import APPLICATION_ID, SCHEMA, SCHEMA_VERSION
from lowq.process.handlers import let_through, let_through_hidden
from lowq.process.paths import exists
from lowq.rules.callers import Caller, causes, error_of_read_only
from lowq.rules.entry import Entry
from lowq.rules.transaction import Joined, callers_here

T = TypeVar("T")

_SHORT = timedelta(seconds=1)
"""How long a call waits for the write lock that its own thread may have, as nobody can tell whose it is."""
_GAP = 30
"""Bits: ids of a push that is rolled back come back in SQLite's sequence, so that none may follow soon behind it."""


class SharedDatabase(Database):
    """The application's file, of which only our tables are ours."""

    cursor_class = SharedCursor

    def _run(self, begin: str, body: Callable[[sqlite3.Cursor], T]) -> T:
        """As Database._run; who may wait for a transaction of his own thread is refused soon."""
        if not self._patience or (begin == "BEGIN" and self._identity is not None):
            return super()._run(begin, body)
        callers = callers_here("sqlite")
        if not any(each.in_transaction() and _is_to(each, self.path) for each in callers):
            return super()._run(begin, body)
        patience = self._patience
        self.rest()  # the patience is the connection's
        self._patience = min(patience, _SHORT)
        try:
            return super()._run(begin, body)
        except BackendUnavailable as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.Error) or not is_busy(cause):
                raise
            raise BackendUnavailable(
                f"{self.path} is locked, as far as is known by the transaction that is open on the connection of this"
                " block (within), for which this call would wait in vain; push inside the queue's own `within`, or do"
                " it after the commit. Where the queue is new: use it once (queue.backend) before the transaction,"
                " since that makes its tables"
            ) from None
        finally:
            self.rest()
            self._patience = patience

    def give_room_back(self, longest: timedelta, is_wanted: Callable[[], bool]) -> None:
        """The room is the application's."""

    def check_fork(self) -> None:
        """Raise BackendUnavailable where this process has the file open by itself, and it has a log (WAL).

        A child would share that connection's entry in SQLite's table of open files, and believe in its locks: the
        parent, closing, would delete the log under the child.
        """
        self.rest()
        if not exists(f"{self.path}-wal"):
            return
        status = kernel.stat(self.path)
        if (status.st_dev, status.st_ino) in list_open_files().values():
            raise BackendUnavailable(
                f"start(): this process has {self.path} open by another connection, and the file is in WAL mode,"
                " so that a forked worker could lose what it writes; close the connection, or run the worker"
                " as a process of its own: lowq work"
            )

    def _prepare(self, cursor: sqlite3.Cursor) -> None:
        """Our tables are there, in this version."""
        cursor.execute("BEGIN")
        version = version_in_shared(cursor, self.path)
        cursor.execute("COMMIT")
        if not version and not self._create:
            raise InvalidLocation(f"{self.path}: there is no queue in this database; a push makes one")
        if version < SCHEMA_VERSION:
            cursor.execute("BEGIN IMMEDIATE")
            if not version_in_shared(cursor, self.path):
                for statement in (*SCHEMA, *_ABOUT):
                    cursor.execute(statement)
            cursor.execute("COMMIT")
        self._set_durability(cursor)


_ABOUT = (
    "CREATE TABLE lowq_about (version INTEGER NOT NULL)",
    f"INSERT INTO lowq_about (version) VALUES ({SCHEMA_VERSION})",
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('task', 0)",
)


def version_in_shared(cursor: sqlite3.Cursor, path: str) -> int:
    """The version of our tables in this file; 0: there are none."""
    if cursor.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        raise InvalidLocation(f"{path} is a queue's own file, not an application's; leave out shared=1")
    if cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'lowq_about'").fetchone() is None:
        return 0
    row = cursor.execute("SELECT max(version) FROM lowq_about").fetchone()
    version = row[0] if row else None
    if type(version) is not int or version < SCHEMA_VERSION:
        raise CorruptQueue(f"{path} is damaged (its table lowq_about); restore it from a copy")
    if version > SCHEMA_VERSION:
        raise InvalidLocation(
            f"{path}: its queues were made by a newer lowq (schema {version}, this lowq knows {SCHEMA_VERSION});"
            " upgrade lowq"
        )
    return version


def push_within(joined: Joined, path: str, queue: int, dedupe: Dedupe, batch: list[Entry], now: int) -> list[Pushed]:
    """The entries are part of the caller's transaction, all or none. Raises NoTransaction."""
    caller = joined.caller
    caller.check()
    if not joined.known:
        _check_same(caller.run("PRAGMA database_list"), path)
        joined.known = True
    leap = in_shared_tables("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'task'")
    try:
        caller.run(leap, ((1 << _GAP) + randbits(_GAP),))
    except Exception as error:
        let_through(error)
        let_through_hidden(error)
        if any(getattr(each, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY for each in causes(error)):
            raise error_of_read_only(str(error).splitlines()[0]) from error
        raise
    caller.run("SAVEPOINT lowq_push")  # the transaction was begun by the statement before
    try:
        pushed = [_keep(joined, queue, dedupe, new, now) for new in batch]
    except BaseException:
        caller.run("ROLLBACK TO lowq_push")
        caller.run("RELEASE lowq_push")
        raise
    caller.run("RELEASE lowq_push")
    return pushed


def _keep(joined: Joined, queue: int, dedupe: Dedupe, new: Entry, now: int) -> Pushed:
    same = same_as(queue, dedupe, new.digest, now)
    insert = f"{in_shared_tables(INSERT_UNLESS)} RETURNING id"
    if rows := joined.caller.run(insert, (*row_of(queue, new, now), *same)):
        return Pushed(str(rows[0][0]), True)
    ((found,),) = joined.caller.run(in_shared_tables(STANDING), same)
    return Pushed(str(found), False)


def _is_to(caller: Caller, path: str) -> bool:
    """Whether the caller's connection is to that file."""
    try:
        _check_same(caller.run("PRAGMA database_list"), path)
    except NoTransaction:
        return False
    return True


def _check_same(databases: list[tuple[Any, ...]], path: str) -> None:
    """Raise NoTransaction unless the connection's main database is the file at that path."""
    found = next((file for _, name, file in databases if name == "main"), None)
    try:
        if found and os.path.samestat(kernel.stat(found), kernel.stat(path)):
            return
    except OSError as error:
        let_through(error)
    raise NoTransaction(
        f"within: the connection is to {found or 'a database in memory'}, and the queue is in {path}; nothing was"
        " pushed"
    )
