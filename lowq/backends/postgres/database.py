"""A PostgreSQL database with lowq's schema: connections that come back by themselves, and errors that have names.

A connection is one caller's while he uses it, and idle otherwise. It hangs on the call's own frame: where an
exception that a signal raises cuts the call off, at whichever instruction, the connection is dropped with it, which
closes it, and so leaves nothing under way on the server.

Where a connection broke, a call is made again until patience is over, if the server cannot have done what it was
asked, or if doing it twice is no harm. Otherwise the caller is told that nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

from lowq.backend import (
    NOW,
    BackendUnavailable,
    CorruptQueue,
    InvalidLocation,
    InvalidWork,
    LowqError,
    NotAllowed,
    QueueClosed,
    QueueGone,
)
from lowq.backends.postgres.address import Address
from lowq.backends.postgres.connection import Away, Connection, Left, Refused, Unreachable
from lowq.backends.postgres.hints import HINTS, NOT_LET_IN
from lowq.backends.postgres.rows import Array, Row, Value
from lowq.backends.postgres.schema import MAKING, SCHEMA_VERSION, leaping, making, upgrading
from lowq.backends.postgres.session import IN_EACH, setting_session
from lowq.clock import SystemClock
from lowq.process.handlers import let_through

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(milliseconds=10), timedelta(seconds=1)

_LEAST_PATIENCE = timedelta(seconds=1)

_AGAIN = ("40001", "40P01")
"""Serialization failure and deadlock: undone, and to be done again."""
_LOST_NAME = ("26000", "42P05")
"""A prepared statement that is not there, or there already: something between shares out the server's connections."""
_ABSENT = ("42P01", "3F000", "42883", "3D000")
"""No such table, schema, function, or database."""

_STANDS_THERE = ("42P07", "42710", "42723")
"""A table, a type or a function of that name is there already."""

_IDLE = 8
"""How many connections are kept while nobody uses them."""


class Lender(Protocol):
    """Gives connections to calls, each to one at a time, and takes them back."""

    def take(self, left: Left) -> Connection:
        """A connection that nobody else uses."""
        ...

    def give_back(self, connection: Connection) -> None:
        """The connection is free for whoever comes next."""
        ...


def take_usable(connections: list[Connection]) -> Connection | None:
    """The last of them that can be used, which is theirs no more; those that cannot are closed."""
    while connections:
        try:
            connection = connections.pop()
        except IndexError:  # another thread's by now
            break
        if connection.usable:
            return connection
        connection.close()
    return None


class Database:
    """lowq's schema in one database, for many threads at once."""

    def __init__(
        self, address: Address, *, schema: str, create: bool, patience: timedelta, pooled: bool | None = None
    ) -> None:
        self.address = address
        self.schema = schema
        self.pooled = pooled
        """Whether sessions are the server's clients' for one transaction each; None until a server was asked."""
        self._create = create
        self._patience = patience
        self._allowed = max(patience, _LEAST_PATIENCE)
        self.patience = min(patience // 10 * 9 // timedelta(milliseconds=1), 2**31 - 1)
        """Milliseconds that a call waits for a lock: the server gives up before this client does."""
        self._identity: str | None = None
        """Of the schema and the database: one that was copied has another."""
        self._idle: list[Connection] = []
        self._closed = False

    @property
    def shown(self) -> str:
        """The server and the database, as messages name them."""
        return self.address.shown

    @property
    def identity(self) -> str:
        """Of the schema and the database, which this client has been connected to."""
        return self._identity or ""

    def countdown(self) -> Left:
        """How much is left of the time that a call waits for the server, which has a second at least."""
        return SystemClock().countdown(self._allowed)

    def ask(self, statement: str, *values: Value | Array, again: bool = False) -> list[Row]:
        """The rows that the statement gives; `again`: it may be done twice."""
        return self.call(lambda connection, left, _: connection.ask(statement, values, left), again=again)

    def call(
        self, body: Callable[[Connection, Left, bool], T], *, again: bool = False, by: Lender | None = None
    ) -> T:
        """What `body` answers, of a connection of its own, by that lender; it is told whether it was begun before."""
        lender = by or self
        left = self.countdown()
        pause, doubt = NOW, False
        reason = ""
        while True:
            try:
                connection = lender.take(left)
                try:
                    answer = body(connection, left, doubt)
                except Refused as error:
                    self._sort_out(connection, error, lender)
                    if error.code not in _AGAIN or left() <= NOW:
                        raise self.translate(error) from None
                except Away:
                    connection.close()
                    raise
                except BaseException:
                    connection.cut_off()
                    raise
                else:
                    lender.give_back(connection)
                    return answer
            except Away as error:
                if error.asked and not again:
                    raise BackendUnavailable(
                        f"{self._describe_away(error)}; whether it did what it was asked is not known"
                    ) from None
                if left() <= NOW:  # which is all that the last try can tell
                    raise BackendUnavailable(reason or self._describe_away(error)) from None
                reason = self._describe_away(error)
                doubt = doubt or error.asked
            SystemClock().sleep(min(pause, max(NOW, left())))
            pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)

    def check_open(self) -> None:
        """Raise QueueClosed where the client was closed."""
        if self._closed:
            raise QueueClosed(f"this client of {self.shown} was closed; open the queue again")

    def take(self, left: Left) -> Connection:
        """A connection that nobody else uses. Raises Away, and what is wrong with the location or the database."""
        self.check_open()
        return take_usable(self._idle) or self.connect(left)

    def give_back(self, connection: Connection) -> None:
        """The connection is free for whoever comes next; one of too many is closed."""
        if self._closed or len(self._idle) >= _IDLE:
            connection.close()
        else:
            self._idle.append(connection)
            if self._closed:  # meanwhile
                self.close()

    def close(self) -> None:
        """Every connection that nobody uses is closed; the others are when their call has ended."""
        self._closed = True
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                break

    def _sort_out(self, connection: Connection, error: Refused, lender: Lender) -> None:
        """The connection is free again, or closed where the error may be its own."""
        if error.code in _LOST_NAME:
            self.pooled = True
            error.code = _AGAIN[0]  # the call is made again, as nothing was done
        if error.code == "0A000":  # a cached plan does not fit a table that was upgraded
            error.code = _AGAIN[0]
        if error.code == _AGAIN[0]:
            connection.close()
        else:
            lender.give_back(connection)

    def connect(self, left: Left) -> Connection:
        """A new connection, its session set. Raises as `take` does."""
        try:
            connection = Connection(self.address.settings, left)
        except Unreachable as error:
            text = self.address.safe(str(error))
            if not error.known:
                raise Away(text) from None
            if "permission denied for database" in text:
                raise NotAllowed(
                    f"{self.shown}: {text}; let an administrator run: GRANT CONNECT ON DATABASE … TO …"
                ) from None
            if self._identity is None:
                hint = next((hint for words, hint in HINTS.items() if words in text), "")
                kind = NotAllowed if any(words in text for words in NOT_LET_IN) else InvalidLocation
                raise kind(f"{self.shown}: {text}{hint}") from None
            if "database" in text and "does not exist" in text:
                raise QueueGone(f"{self.shown} is gone: {text}") from None
            raise Away(text) from None
        except OSError as error:
            let_through(error)
            raise Away(str(error)) from None
        try:
            self._prepare_schema(connection, left)
            if self._create:
                self._go_on(connection, left)
        except Refused as error:
            connection.close()
            raise self.translate(error) from None
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare_schema(self, connection: Connection, left: Left) -> None:
        """The schema is there, in this version, and the one that this client knows; nothing else is written to."""
        found = self._look(connection, left)
        if found is None and self._identity is not None:
            raise QueueGone(f"{self.shown}: the schema {self.schema!r} is gone; open the queue again")
        if found is None and not self._create:
            raise InvalidLocation(f"{self.shown}: there is no queue here; a push makes one")
        if found is None or found[0] < SCHEMA_VERSION:
            self._bring_up_to_date(connection, left)
            found = self._look(connection, left)
        if found is None:
            raise QueueGone(f"{self.shown}: the schema {self.schema!r} is gone; open the queue again")
        version, identity = found
        if version > SCHEMA_VERSION:
            raise InvalidLocation(
                f"{self.shown}: the schema {self.schema!r} was made by a newer lowq (version {version}, this lowq"
                f" knows {SCHEMA_VERSION}); upgrade lowq"
            )
        if self._identity not in (None, identity):
            raise QueueGone(f"{self.shown}: another server or database stands there now; open the queue again")
        self._identity = identity

    def _go_on(self, connection: Connection, left: Left) -> None:
        """The next id is one that was never given here: who answers now may be another server, or an older state.

        A user who may not set the sequence goes on where it stands.
        """
        try:
            connection.run(leaping(self.schema), left)
        except Refused as error:
            if error.code != "42501":
                raise

    def _look(self, connection: Connection, left: Left) -> tuple[int, str] | None:
        """The version and the identity of the schema, or None where there is none; the session is as we need it."""
        own = f"pg_backend_pid() = {connection.process}" if self.pooled is None else str(not self.pooled)
        try:
            rows = connection.run(
                f"SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), {own},"
                f" {setting_session(own, self.patience)},"
                " version, identity || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database())"
                f' FROM "{self.schema}".about',
                left,
            )
        except Refused as error:
            if error.code not in ("42P01", "3F000"):
                if error.code in ("42703", "42809"):
                    raise self._not_ours() from None
                raise
            rows = []
        else:
            if len(rows) != 1:
                raise CorruptQueue(f"{self.shown} is damaged (its table {self.schema}.about); restore it from a copy")
        if not rows:
            self._check_primary(connection, left)
            return None
        recovering, read_only, is_own, *_, version, identity = (str(value, "utf-8") for value in rows[0])
        self._refuse_replica(recovering == "t", read_only == "on")
        if is_own != "t":
            self.pooled = True
            connection.setting = IN_EACH
        if not version.isdigit():
            raise self._not_ours()
        return int(version), identity

    def _check_primary(self, connection: Connection, left: Left) -> None:
        ((recovering, read_only),) = connection.run(
            "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')", left
        )
        self._refuse_replica(recovering == b"t", read_only == b"on")

    def _refuse_replica(self, recovering: bool, read_only: bool) -> None:
        if recovering:
            raise BackendUnavailable(
                f"{self.shown} is a read-only replica; name the primary, or all of them with"
                " ?target_session_attrs=read-write"
            )
        if read_only:
            raise BackendUnavailable(
                f"{self.shown}: transactions are read-only here (default_transaction_read_only); a queue is written"
            )

    def _not_ours(self) -> InvalidLocation:
        return InvalidLocation(
            f"{self.shown}: what is in the schema {self.schema!r} is not lowq's; name another one: ?schema=…"
        )

    def _bring_up_to_date(self, connection: Connection, left: Left) -> None:
        """The tables are those of this version, made or upgraded by this process or by another one meanwhile."""
        try:
            connection.run(f"BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_xact_lock({MAKING})", left)
            found = self._look_in_transaction(connection, left)
            if found is None:
                ((there, tables),) = connection.run(
                    f"SELECT count(DISTINCT n.oid) > 0, count(c.oid) FROM {self._relations}", left
                )
                if tables != b"0":
                    raise self._not_ours()
                if there != b"t":
                    connection.run(f'CREATE SCHEMA "{self.schema}"', left)
                connection.run(making(self.schema), left)
            elif found < SCHEMA_VERSION:
                connection.run(upgrading(self.schema, found), left)
            connection.run("COMMIT", left)
        except Refused as error:
            if error.code in _STANDS_THERE:
                raise self._not_ours() from None
            if error.code != "42501":
                raise
            ours = f'CREATE SCHEMA "{self.schema}" AUTHORIZATION …'
            if "for schema" in str(error):  # which is there, empty and somebody else's
                ours = f'ALTER SCHEMA "{self.schema}" OWNER TO …'
            raise NotAllowed(
                f"{self.shown}: {self.address.safe(str(error))}, and lowq must make its schema {self.schema!r} first;"
                f" let an administrator run: {ours}"
            ) from None

    def _look_in_transaction(self, connection: Connection, left: Left) -> int | None:
        """The version, or None; a table that is not there must not end the transaction."""
        ((there,),) = connection.run(f"SELECT count(*) > 0 FROM {self._relations} AND c.relname = 'about'", left)
        if there != b"t":
            return None
        rows = connection.run(f'SELECT version FROM "{self.schema}".about', left)
        return int(rows[0][0]) if rows else None

    @property
    def _relations(self) -> str:
        """The schema and what is in it, as of now: the server looks up a name as of when the transaction began."""
        return (
            "pg_catalog.pg_namespace n LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
            f" WHERE n.nspname = '{self.schema}'"
        )

    def _describe_away(self, error: Away) -> str:
        return f"{self.shown} does not answer: {self.address.safe(str(error))}"

    def translate(self, error: Refused) -> LowqError:
        """The error of ours that tells what a server's error means to the caller."""
        code, text = error.code, self.address.safe(str(error))
        if code == "55P03":
            seconds = self._patience.total_seconds()
            return BackendUnavailable(f"{self.shown}: another transaction kept the queue locked for {seconds:g} s")
        if code == "57014":
            return BackendUnavailable(f"{self.shown}: the statement was cancelled, and nothing was done ({text})")
        if code == "42501":
            return NotAllowed(
                f'{self.shown}: {text}; let an administrator run: GRANT USAGE ON SCHEMA "{self.schema}" TO …;'
                f' GRANT ALL ON ALL TABLES IN SCHEMA "{self.schema}" TO …; and the same ON ALL SEQUENCES'
            )
        if code in _ABSENT:
            return QueueGone(f"{self.shown}: the schema {self.schema!r} is gone or not whole ({text})")
        if code == "25006":
            return BackendUnavailable(f"{self.shown}: the server takes no writes now ({text})")
        if code[:2] == "54":
            return InvalidWork(f"work: larger than PostgreSQL keeps ({text})")
        if code in ("53100", "53200", "53300"):
            return BackendUnavailable(f"{self.shown}: the server is out of room ({text}); nothing was written")
        if code[:2] in ("XX", "22", "23", "42"):
            return CorruptQueue(f"{self.shown} is damaged, or its tables were changed ({text})")
        return BackendUnavailable(f"{self.shown}: {text}")
