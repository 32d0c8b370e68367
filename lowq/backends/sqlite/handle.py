"""A connection that nobody closes while SQLite is at work in it, however deep in that call they are.

Code of Python can run inside a call of the module sqlite3: a finalizer that the garbage collector calls, and with it
whatever signal handler comes meanwhile. Were the connection closed or used there, the call would go on with what is
freed, which ends the process. Therefore all statements go through one cursor: the module itself locks it for exactly
as long as it is inside, and a locked one refuses to give the next row, for which whoever is about to close the
connection asks first. (It refuses a statement too, but forgets by that that it is locked.)
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import partial
from operator import methodcaller

from lowq.backends.sqlite.rows import text_of


class Handle:
    """At most one open connection, and the cursor through which alone it is used."""

    __slots__ = ("_cursors", "_kind")

    def __init__(self, kind: type[sqlite3.Cursor] = sqlite3.Cursor) -> None:
        self._kind = kind
        self._cursors: list[sqlite3.Cursor] = []

    def open(self, path: str, timeout: float) -> sqlite3.Cursor:
        """The cursor of a new connection, which waits that many seconds for locks and begins nothing by itself."""
        connect = partial(sqlite3.connect, timeout=timeout, isolation_level=None, check_same_thread=False)
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
            with suppress(sqlite3.Error):  # SQLite closes nothing where a statement has more rows, but undoes this
                if cursor.connection.in_transaction:
                    cursor.execute("ROLLBACK")
            cursor.connection.close()
            with suppress(ValueError):
                self._cursors.remove(cursor)
        return True

    def in_transaction(self) -> bool:
        """Whether a transaction was begun on the connection."""
        with suppress(sqlite3.Error):  # somebody closed it
            return any(cursor.connection.in_transaction for cursor in tuple(self._cursors))
        return False

    def give_up(self) -> None:
        """The connection is closed when it is dropped."""
        self._cursors.clear()

    def cross(self) -> list[sqlite3.Connection]:
        """In a forked child: the connections that were open, which this handle has no more.

        A call that goes on when this one has ended may still be inside of one: whatever it runs from now on is
        refused by SQLite.
        """
        crossed = [cursor.connection for cursor in self._cursors]
        self._cursors.clear()
        for connection in crossed:
            with suppress(sqlite3.Error):
                connection.set_authorizer(_deny)  # statements that are ready to run are looked at once more
                connection.set_progress_handler(_stop, 1)
        return crossed


def _is_locked(cursor: sqlite3.Cursor) -> bool:
    try:
        cursor.fetchone()
    except sqlite3.ProgrammingError:  # or the connection was closed
        with suppress(sqlite3.ProgrammingError):
            _ = cursor.connection.in_transaction
            return True
    except (sqlite3.Error, ValueError):  # of the row
        pass
    return False


def _deny(*_: object) -> int:
    return sqlite3.SQLITE_DENY


def _stop() -> int:
    return 1
