"""A connection that cannot be closed while a call on it is running.

Code of Python can run inside a call of the module sqlite3: a finalizer that the garbage collector calls, and with it
whatever signal handler comes meanwhile. Were the connection closed or used there, the call would go on with what is
freed, which ends the process. Therefore all statements go through one cursor: the module itself locks it for exactly
as long as it is inside, and a locked one refuses to give the next row, for which whoever is about to close the
connection asks first. (It refuses a statement too, but forgets by that that it is locked.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from operator import methodcaller

from lowq.backends.sqlite.descriptors import noting_descriptors
from lowq.backends.sqlite.rows import fetch, text_of
from lowq.process.descriptors import Descriptors


class Handle:
    """At most one open connection, and the cursor through which alone it is used."""

    __slots__ = ("_cursors", "_kind", "descriptors")

    def __init__(self, kind: type[sqlite3.Cursor] = sqlite3.Cursor) -> None:
        self._kind = kind
        self._cursors: list[sqlite3.Cursor] = []
        self.descriptors = Descriptors()
        """What the open connection has open."""

    def open(self, path: str, timeout: float, prepare: Callable[[sqlite3.Cursor], None]) -> sqlite3.Cursor:
        """The cursor of a new connection, prepared. It waits that many seconds for locks, and begins nothing itself.

        One thread at a time, so that it is known which descriptors are its own.
        """

        def connect() -> sqlite3.Cursor:
            cursor = self._connect(path, timeout)
            prepare(cursor)
            fetch(cursor, "PRAGMA schema_version")  # opens the log, if nothing has
            return cursor

        cursor, self.descriptors = noting_descriptors(path, connect)
        return cursor

    def _connect(self, path: str, timeout: float) -> sqlite3.Cursor:
        connect = partial(sqlite3.Connection, timeout=timeout, isolation_level=None, check_same_thread=False)
        # One call into C: no connection is open that is not written down.
        self._cursors.extend(map(methodcaller("cursor", self._kind), map(connect, (path,))))
        cursor = next(iter(self._cursors), None)
        if cursor is None:
            raise sqlite3.ProgrammingError("a signal handler closed the connection")
        cursor.connection.text_factory = text_of
        return cursor

    def close(self) -> bool:
        """The connection is closed, its transaction undone.

        False: it stays as it is, since a call of SQLite on it goes on when this one has ended.
        """
        for cursor in tuple(self._cursors):
            if _is_locked(cursor):
                return False
            if _is_open(cursor) and self.descriptors.are_lost():  # and not by a close that was cut off
                with self.descriptors.made_harmless():
                    _close(cursor)
            else:
                _close(cursor)
            with suppress(ValueError):
                self._cursors.remove(cursor)
        self.descriptors = Descriptors()
        return True

    def in_transaction(self) -> bool:
        """Whether a transaction was begun on the connection."""
        with suppress(sqlite3.Error):  # somebody closed it
            return any(cursor.connection.in_transaction for cursor in tuple(self._cursors))
        return False

    def give_up(self) -> None:
        """The connection is closed when it is dropped."""
        self._cursors.clear()
        self.descriptors = Descriptors()

    def cross(self) -> list[sqlite3.Connection]:
        """In a forked child: the connections that were open, which this handle has no more.

        A call that goes on when this one has ended may still be inside of one: whatever it runs from now on is
        refused by SQLite.
        """
        crossed = [cursor.connection for cursor in self._cursors]
        self._cursors.clear()
        self.descriptors = Descriptors()
        for connection in crossed:
            with suppress(sqlite3.Error):
                connection.set_authorizer(_deny)  # statements that are ready to run are looked at once more
                connection.set_progress_handler(_stop, 1)
        return crossed


def _close(cursor: sqlite3.Cursor) -> None:
    with suppress(sqlite3.Error):  # SQLite closes nothing where a statement has more rows, but undoes this
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
    cursor.connection.close()


def _is_open(cursor: sqlite3.Cursor) -> bool:
    with suppress(sqlite3.ProgrammingError):
        _ = cursor.connection.in_transaction
        return True
    return False


def _is_locked(cursor: sqlite3.Cursor) -> bool:
    try:
        cursor.fetchone()
    except sqlite3.ProgrammingError:  # or the connection was closed
        return _is_open(cursor)
    except (sqlite3.Error, ValueError):  # of the row
        pass
    return False


def _deny(*_: object) -> int:
    return sqlite3.SQLITE_DENY


def _stop() -> int:
    return 1
