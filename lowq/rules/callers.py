"""The caller's own connections, in whose transactions a push can be: psycopg's, sqlite3's, SQLAlchemy's, Django's.

None of these libraries is imported here: a program that has a connection has imported it. A statement is written with
``?`` for its values, and with CAST where their types matter; it holds no other ``?``, ``%`` or ``:``.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

from lowq.backend import NoTransaction

Rows = list[tuple[Any, ...]]

_KNOWN = (
    "a psycopg 3 or sqlite3 connection, a connection or session of SQLAlchemy's, or a connection of Django's"
    " (django.db.connection)"
)


class Caller(Protocol):
    """A connection of the caller's; `dialect` is ``postgresql``, ``sqlite``, or another database's name."""

    dialect: str

    def check(self) -> None:
        """Raise NoTransaction where the connection is closed, or a statement would be committed by itself."""
        ...

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """The rows that the statement gives, in the transaction, which it begins where none is open."""
        ...

    def in_transaction(self) -> bool:
        """Whether a transaction is open now."""
        ...

    def call_after_commit(self, call: Callable[[], object]) -> bool:
        """`call` is called when the transaction was committed; False: this connection does not tell."""
        ...


def caller_of(connection: Any, dialect: str) -> Caller:
    """What is known of a connection. Raises TypeError where it is none, NoTransaction where of another dialect."""
    caller = _find(connection)
    if caller is None:
        raise TypeError(f"within: expected {_KNOWN}, got {_name(connection)}")
    if caller.dialect != dialect:
        raise NoTransaction(
            f"within: the queue is in a database of {dialect}, and this is a connection to {caller.dialect}; give a"
            " connection to the database that the queue is in"
        )
    return caller


def _find(connection: Any) -> Caller | None:
    psycopg, orm = sys.modules.get("psycopg"), sys.modules.get("sqlalchemy.orm")
    engine, django = sys.modules.get("sqlalchemy.engine"), sys.modules.get("django.db.backends.base.base")
    asynchronous = sys.modules.get("sqlalchemy.ext.asyncio")
    if isinstance(connection, sqlite3.Connection):
        return SQLiteCaller(connection)
    if psycopg is not None and isinstance(connection, psycopg.Connection):
        return PsycopgCaller(connection)
    if psycopg is not None and isinstance(connection, psycopg.AsyncConnection):
        raise NoTransaction(
            "within: push does not await, and this is an asynchronous connection; give a psycopg.Connection, or push"
            " in a function that SQLAlchemy's AsyncSession.run_sync calls"
        )
    if asynchronous is not None and isinstance(
        connection, asynchronous.AsyncConnection | asynchronous.AsyncSession | asynchronous.async_scoped_session
    ):
        raise NoTransaction(
            "within: push does not await, and this is asynchronous; push in a function that its run_sync calls, which"
            " is given a Session or Connection"
        )
    if orm is not None and isinstance(connection, orm.scoped_session):
        connection = connection()
    if orm is not None and isinstance(connection, orm.Session):
        return SessionCaller(connection)
    if engine is not None and isinstance(connection, engine.Connection):
        return SQLAlchemyCaller(connection)
    if django is not None:
        proxied = getattr(type(connection), "__name__", "") == "ConnectionProxy"
        if proxied:
            connection = connection._connections[connection._alias]
        if isinstance(connection, django.BaseDatabaseWrapper):
            return DjangoCaller(connection)
    return None


class PsycopgCaller:
    """A connection of psycopg 3, which does not tell of its commits."""

    dialect = "postgresql"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.check_open()

    def check_open(self) -> None:
        """Raise NoTransaction where it is closed."""
        if self._connection.closed:
            raise _error_of_closed()

    def check(self) -> None:
        """As Caller.check."""
        self.check_open()
        _check_driver(self._connection)

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """As Caller.run."""
        psycopg = sys.modules["psycopg"]
        with psycopg.Cursor(self._connection, row_factory=psycopg.rows.tuple_row) as cursor:
            cursor.execute(statement.replace("?", "%s"), values)
            return list(cursor.fetchall()) if cursor.description else []

    def in_transaction(self) -> bool:
        """As Caller.in_transaction."""
        return not self._connection.closed and not _is_idle(self._connection)

    def call_after_commit(self, call: Callable[[], object]) -> bool:  # noqa: ARG002  # it does not tell
        """False."""
        return False


class SQLiteCaller:
    """A connection of sqlite3, which does not tell of its commits."""

    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.check_open()

    def check_open(self) -> None:
        """Raise NoTransaction where it is closed, or another thread's."""
        try:
            _ = self._connection.in_transaction
            self._connection.cursor().close()
        except sqlite3.ProgrammingError as error:
            raise NoTransaction(f"within: the connection cannot be used here: {error}; nothing was pushed") from None

    def check(self) -> None:
        """As Caller.check."""
        self.check_open()
        _check_driver(self._connection)

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """As Caller.run."""
        with closing(sqlite3.Cursor(self._connection)) as cursor:
            cursor.row_factory = None
            return list(cursor.execute(statement, tuple(values)).fetchall())

    def in_transaction(self) -> bool:
        """As Caller.in_transaction."""
        try:
            return self._connection.in_transaction
        except sqlite3.ProgrammingError:
            return False

    def call_after_commit(self, call: Callable[[], object]) -> bool:  # noqa: ARG002  # it does not tell
        """False."""
        return False


class SQLAlchemyCaller:
    """A connection of SQLAlchemy's, which does not tell when a commit is done."""

    def __init__(self, connection: Any) -> None:
        self._connected = connection
        self.check_open()
        self.dialect = connection.dialect.name

    def connection(self) -> Any:
        """The connection now."""
        return self._connected

    def check_open(self) -> None:
        """Raise NoTransaction where it is closed."""
        if self._connected.closed:
            raise _error_of_closed()

    def check(self) -> None:
        """As Caller.check."""
        self.check_open()
        self.run("SELECT 1")  # which begins the transaction that SQLAlchemy knows of
        if isinstance(self.connection().get_transaction(), sys.modules["sqlalchemy"].TwoPhaseTransaction):
            raise _error_of_two_phases()
        _check_driver(_driver_of(self.connection()))

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """As Caller.run."""
        first, *others = statement.split("?")
        names = {f"value{place}": value for place, value in enumerate(values)}
        text = first + "".join(f":value{place}{part}" for place, part in enumerate(others))
        result = self.connection().execute(sys.modules["sqlalchemy"].text(text), names)
        return [tuple(row) for row in result.fetchall()] if result.returns_rows else []

    def in_transaction(self) -> bool:
        """As Caller.in_transaction."""
        return bool(not self._connected.closed and self._connected.in_transaction())

    def call_after_commit(self, call: Callable[[], object]) -> bool:  # noqa: ARG002  # "commit" comes before it
        """False."""
        return False


class SessionCaller(SQLAlchemyCaller):
    """A session of SQLAlchemy's, which tells of its commits."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.dialect = session.get_bind().dialect.name

    def connection(self) -> Any:
        """The connection of the session's transaction, which is begun where none is."""
        return self._session.connection()

    def check_open(self) -> None:
        """A session is never closed for good."""

    def in_transaction(self) -> bool:
        """As Caller.in_transaction."""
        return bool(self._session.in_transaction())

    def call_after_commit(self, call: Callable[[], object]) -> bool:
        """`call` is called when the session's transaction was committed, and not when a savepoint was."""
        session = self._session
        if not session.in_transaction():
            return False
        if _AFTER_COMMIT not in session.info:  # once, as a listener cannot go while it is called
            session.info[_AFTER_COMMIT] = []
            event = sys.modules["sqlalchemy"].event
            event.listen(session, "after_commit", _call_waiting)
            event.listen(session, "after_transaction_end", _forget_waiting)
        if call not in session.info[_AFTER_COMMIT]:
            session.info[_AFTER_COMMIT].append(call)
        return True


_AFTER_COMMIT = "lowq_after_commit"


def _call_waiting(session: Any) -> None:
    """What waits for the commit of the session is called: it was committed, or one of its savepoints was."""
    if not session.in_nested_transaction():
        waiting, session.info[_AFTER_COMMIT] = session.info[_AFTER_COMMIT], []
        for call in waiting:
            call()


def _forget_waiting(session: Any, transaction: Any) -> None:
    """Of a transaction that was rolled back nothing waits any more."""
    if transaction.parent is None:
        session.info[_AFTER_COMMIT] = []


class DjangoCaller:
    """A connection of Django's, inside `transaction.atomic()`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.dialect = connection.vendor

    def check(self) -> None:
        """As Caller.check."""
        if self._connection.get_autocommit():
            raise NoTransaction(
                f"within: no transaction is open on Django's database {self._connection.alias!r}, so that the push"
                " would be committed by itself; push inside `with transaction.atomic():`"
            )

    def run(self, statement: str, values: Sequence[Any] = ()) -> Rows:
        """As Caller.run."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement.replace("?", "%s"), list(values))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def in_transaction(self) -> bool:
        """As Caller.in_transaction."""
        return bool(self._connection.in_atomic_block or not self._connection.get_autocommit())

    def call_after_commit(self, call: Callable[[], object]) -> bool:
        """As Django's on_commit; where a transaction was opened without `atomic`, it does not tell."""
        if self._connection.in_atomic_block:
            self._connection.on_commit(call)
            return True
        return False


def _driver_of(connection: Any) -> Any:
    """The connection below one of SQLAlchemy's; of an asynchronous driver, what SQLAlchemy has put before it."""
    pooled = connection.connection
    raw = pooled.driver_connection
    return raw if hasattr(raw, "in_transaction") or hasattr(raw, "info") else pooled.dbapi_connection


def _check_driver(raw: Any) -> None:
    """Raise NoTransaction where a statement would be committed by itself, or the transaction has failed."""
    if hasattr(raw, "isolation_level") and hasattr(raw, "in_transaction"):  # SQLite's
        at_once = not raw.in_transaction and (getattr(raw, "autocommit", -1) is True or raw.isolation_level is None)
    elif hasattr(getattr(raw, "info", None), "transaction_status"):  # psycopg's
        if raw.info.transaction_status.name == "INERROR":
            raise NoTransaction(
                "within: the transaction has failed, and takes no more statements; roll it back, or go back to a"
                " savepoint, and push then"
            )
        if getattr(raw, "_tpc", None) is not None:  # where it is not known, the server refuses to prepare it
            raise _error_of_two_phases()
        at_once = raw.autocommit and _is_idle(raw)
    else:
        at_once = getattr(raw, "autocommit", False) is True
    if at_once:
        raise NoTransaction(
            "within: the connection is in autocommit mode and no transaction is open, so that the push would be"
            " committed by itself; begin a transaction first"
        )


def _is_idle(raw: Any) -> bool:
    return bool(raw.info.transaction_status.name == "IDLE")


def _error_of_closed() -> NoTransaction:
    return NoTransaction("within: the connection is closed; nothing was pushed")


def _error_of_two_phases() -> NoTransaction:
    return NoTransaction(
        "within: the transaction is to be committed in two phases, between which nobody could push to the queue or"
        " claim from it; nothing was pushed: push after that commit, or in a transaction of one phase"
    )


def causes(error: BaseException | None) -> Iterator[Any]:
    """The error, and those that it was made of: SQLAlchemy's and Django's are made of the driver's."""
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def error_of_read_only(text: str) -> NoTransaction:
    """The error of a push in a transaction that may not write; `text` is what the driver said."""
    return NoTransaction(
        f"within: the transaction is read-only ({text}), and nothing was pushed; roll it back, and push in one that"
        " may write, on a connection that may"
    )


def _name(connection: object) -> str:
    kind = type(connection)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
