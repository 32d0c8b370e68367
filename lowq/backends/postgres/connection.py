"""One connection to a PostgreSQL server: asked with a bound on the wait, and never carried across a fork.

It is libpq's own, without psycopg's cursors: so every wait is ours, and ends when the caller's patience does. Each
statement is a transaction by itself. Whoever drops a connection, however that came, closes it, and the server undoes
what was under way.

A child process has the parent's connections, too, and must not say a word over them: there something else stands in
the place of each socket.
"""

from __future__ import annotations

import hashlib
import os
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lowq import kernel
from lowq.backend import InvalidLocation
from lowq.backends.postgres.rows import Array, Row, Value, reader, to_server
from lowq.clock import SystemClock
from lowq.process.inherited import forget, look_after

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

Left = Callable[[], timedelta]
"""How much of the caller's patience is left."""

_OFTEN = 3
"""A statement that a connection is asked this often is prepared: most programs push once and end."""

_LONGEST_WAIT = 1_000_000
"""Seconds; poll(2) counts milliseconds in 32 bits."""
_LAST_WORDS = timedelta(seconds=1)

_FILES = (b"md.c", b"fd.c", b"buffile.c")
"""What of the server reads and writes files. An error there that it knows no name for is a limit of the disk's."""

_SHUT_DOWN = ("57P01", "57P02", "57P05")
"""The server ended the connection; what it was asked is undone."""


class Away(Exception):
    """The server does not answer, or the connection broke; `asked`: it may have done what it was asked."""

    def __init__(self, text: str, *, asked: bool = False) -> None:
        super().__init__(text)
        self.asked = asked


class Refused(Exception):
    """The server answered with an error, and nothing was done; `code` is its SQLSTATE."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Unreachable(Exception):
    """No connection can be made, and why; `known`: the server, or libpq, has said what is wrong with the request."""

    def __init__(self, text: str, *, known: bool) -> None:
        super().__init__(text)
        self.known = known


def code_of_file(code: str, source: bytes | None) -> str:
    """The code of an error that came up in that file of the server's: disk_full for a quota and the like."""
    return "53100" if code == "XX000" and source in _FILES else code


def load_psycopg() -> Any:
    """The module `psycopg.pq`. Raises InvalidLocation where psycopg is missing, or finds no libpq."""
    try:
        from psycopg import pq
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "psycopg"
        why = "psycopg is missing" if missing else f"psycopg cannot be used ({str(error).splitlines()[0]})"
        raise InvalidLocation(f'postgresql://: {why}: pip install "lowq[postgres]"') from None
    return pq


class Connection:
    """An open connection, of the process that made it, for one call at a time."""

    setting: str | None = None
    """The statement that each transaction begins with, where the session is this connection's for no longer."""
    alone = False
    """Whether its session is the one in the cluster that claims: see `alone`."""

    def __init__(self, settings: bytes, left: Left) -> None:
        self._pq = load_psycopg()
        self._errors = _error_of_psycopg()
        self._fatal, self._synced = self._pq.ExecStatus.FATAL_ERROR, self._pq.ExecStatus.PIPELINE_SYNC
        self._pid = kernel.getpid()
        self._asked: dict[str, int] = {}
        self._prepared: dict[str, bytes] = {}
        self._readers: dict[str, list[Callable[[bytes], Any]]] = {}
        """What reads the columns of a prepared statement's rows, whose types stay as they are."""
        self._reads, self._read = kernel.poll(), -1
        """What waits for an answer, on that descriptor: it is made once, since each call waits twice."""
        self.heard = False
        """Whether a notification came since this was last set to False."""
        self._pg: PGconn = self._pq.PGconn.connect_start(settings)
        look_after(self)
        try:
            self._connect(left)
        except (Away, Unreachable):  # or it would stay open for as long as the error is kept
            self.close()
            raise
        self._pg.nonblocking = 1

    def _connect(self, left: Left) -> None:
        status = self._pq.PollingStatus
        if self._pg.status == self._pq.ConnStatus.BAD:
            raise self._unreachable()
        wanted = status.WRITING
        while True:
            if not self._wait(select.POLLIN if wanted == status.READING else select.POLLOUT, left):
                raise Away("it takes too long to connect")
            wanted = self._pg.connect_poll()
            if wanted == status.OK:
                return
            if wanted == status.FAILED:
                raise self._unreachable()

    def _unreachable(self) -> Unreachable:
        text = _words(self._pg.get_error_message())
        wrong = self._pg.needs_password or any(word in text for word in _WRONG)
        return Unreachable(text, known=wrong)

    @property
    def process(self) -> int:
        """The server's process for this connection, as it says."""
        return int(self._pg.backend_pid)

    @property
    def usable(self) -> bool:
        """Whether it is this process's, and the server has not closed it; what it sent meanwhile is read."""
        if self._pid != kernel.getpid():
            return False
        try:
            while self._poll(select.POLLIN, 0):
                self._pg.consume_input()  # raises at the end
            self._hear()
            return bool(self._pg.status == self._pq.ConnStatus.OK)
        except (Away, self._errors):
            return False

    def ask(self, statement: str, values: Sequence[Value | Array], left: Left) -> list[Row]:
        """The rows that the statement gives. Raises Refused and Away."""
        data = [to_server(value) for value in values]
        if self.setting is not None:
            return self._ask_with_settings(self.setting, statement, data, left)
        try:
            self._prepare(statement, left)
            self._send(statement, data)
        except self._errors as error:
            raise Away(_words(str(error))) from None
        return self._rows(self._answer(left), statement)

    def ask_behind(
        self, first: str, value: Value, statement: str, values: Sequence[Value | Array], left: Left
    ) -> list[Row]:
        """The rows that the statement gives, in one transaction with the `first` one, of that value, before it.

        The session must be this connection's own. Raises Refused and Away.
        """
        data = [to_server(value) for value in values]
        try:
            self._prepare(first, left)
            self._prepare(statement, left)
            self._pg.enter_pipeline_mode()
            self._send(first, [to_server(value)])
            self._send(statement, data)
            self._pg.pipeline_sync()
        except self._errors as error:
            raise Away(_words(str(error))) from None
        try:
            results = self._answer(left, statements=2)
        except Refused:
            self._pg.exit_pipeline_mode()
            raise
        self._pg.exit_pipeline_mode()
        return self._rows(results, statement)

    def _prepare(self, statement: str, left: Left) -> None:
        """The statement is prepared, if it is asked often."""
        often = self._asked[statement] = self._asked.get(statement, 0) + 1
        if often >= _OFTEN and statement not in self._prepared:
            # One name for one statement: another client's of that name, in a session that is shared, is no other.
            name = b"lowq_" + hashlib.sha256(statement.encode()).hexdigest()[:32].encode()
            self._pg.send_prepare(name, statement.encode())
            self._answer(left)
            self._prepared[statement] = name

    def _send(self, statement: str, data: list[bytes | None]) -> None:
        name = self._prepared.get(statement)
        if name is None:
            self._pg.send_query_params(statement.encode(), data, None, [1] * len(data), 1)
        else:
            self._pg.send_query_prepared(name, data, [1] * len(data), 1)

    def _ask_with_settings(self, setting: str, statement: str, data: list[bytes | None], left: Left) -> list[Row]:
        """The rows, in a transaction with its settings, which the server is sent in one piece."""
        try:
            self._pg.enter_pipeline_mode()
            for command in ("BEGIN ISOLATION LEVEL READ COMMITTED", setting):
                self._pg.send_query_params(command.encode(), None)
            self._pg.send_query_params(statement.encode(), data, None, [1] * len(data), 1)
            self._pg.send_query_params(b"COMMIT", None)
            self._pg.pipeline_sync()
        except self._errors as error:
            raise Away(_words(str(error))) from None
        try:
            results = self._answer(left, statements=3)
        except Refused:
            self._pg.exit_pipeline_mode()
            self.run("ROLLBACK", left)
            raise
        self._pg.exit_pipeline_mode()
        return self._rows(results[2:3])

    def run(self, script: str, left: Left) -> list[Row]:
        """The rows of the last statement of the script, which is one transaction, as text. Raises Refused, Away."""
        try:
            self._pg.send_query(script.encode())
        except self._errors as error:
            raise Away(_words(str(error))) from None
        return self._rows(self._answer(left))

    def listen(self, seconds: float) -> bool:
        """Waits up to that many seconds for a notification, and says whether one came. Raises Away."""
        if not self.heard and self._poll(select.POLLIN, seconds):
            try:
                self._pg.consume_input()
            except self._errors as error:
                raise Away(_words(str(error))) from None
            self._hear()
        heard, self.heard = self.heard, False
        return heard

    def close(self) -> None:
        """The connection is let go; twice is fine."""
        forget(self)
        if self._pid == kernel.getpid():
            self._pg.finish()

    def cut_off(self) -> None:
        """The connection is let go within a call that an exception ends: what was asked is done, or never will be.

        As far as the server says so soon.
        """
        try:
            if self._pg.transaction_status == self._pq.TransactionStatus.ACTIVE:
                self._answer(SystemClock().countdown(_LAST_WORDS))
        except (Away, Refused):
            pass
        finally:
            self.close()

    def leave_to_parent(self) -> None:
        """In a forked child: nothing of the parent's connection is left, and the server has heard nothing."""
        forget(self)
        with suppress(Exception):
            socket = self._pg.socket
            null = kernel.open_descriptor(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            if null != socket:
                os.dup2(null, socket, inheritable=False)
                os.close(null)

    def _answer(self, left: Left, statements: int = 1) -> list[PGresult]:
        """All that the server answers, up to the end of the transaction of so many. Raises Refused and Away."""
        results: list[PGresult] = []
        pg = self._pg
        try:
            while pg.flush():
                if not self._wait(select.POLLIN | select.POLLOUT, left):
                    raise Away("nothing came in time", asked=True)
                if self._poll(select.POLLIN, 0):
                    pg.consume_input()
            while True:
                while pg.is_busy():
                    if not self._wait(select.POLLIN, left):
                        raise Away("nothing came in time", asked=True)
                    pg.consume_input()
                result = pg.get_result()
                if result is None:
                    if pg.pipeline_status == self._pq.PipelineStatus.OFF:
                        break
                elif result.status == self._synced:
                    break
                else:
                    results.append(result)
            self._hear()
        except self._errors as error:
            self._check(results, statements)
            raise Away(_words(str(error)), asked=True) from None
        self._check(results, statements)
        return results

    def _check(self, results: list[PGresult], statements: int) -> None:
        for result in results:
            if result.status == self._fatal:
                code = (result.error_field(self._pq.DiagnosticField.SQLSTATE) or b"").decode()
                code = code_of_file(code, result.error_field(self._pq.DiagnosticField.SOURCE_FILE))
                text = result.error_field(self._pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
                words = _words(text.decode(errors="replace"))
                if code in _SHUT_DOWN:  # undone, unless the end came behind all that it did, before it said so
                    raise Away(words, asked=results.index(result) >= statements)
                if not code or self._pg.status != self._pq.ConnStatus.OK:  # libpq's own words
                    raise Away(words, asked=True)
                raise Refused(code, words)

    def _rows(self, results: list[PGresult], statement: str = "") -> list[Row]:
        """The rows of the last result, which is that of the statement."""
        result = results[-1]
        reads = self._readers.get(statement)
        if reads is None:
            columns = range(result.nfields)
            reads = [reader(result.ftype(column) if result.fformat(column) else 0) for column in columns]
            if statement in self._prepared:
                self._readers[statement] = reads
        if not reads:
            return [(result.command_tuples,)]
        get = result.get_value
        return [
            tuple([None if (data := get(row, column)) is None else read(data) for column, read in enumerate(reads)])
            for row in range(result.ntuples)
        ]

    def _hear(self) -> None:
        while self._pg.notifies() is not None:
            self.heard = True

    def _wait(self, events: int, left: Left) -> bool:
        return self._poll(events, max(0.0, left().total_seconds()))

    def _poll(self, events: int, seconds: float) -> bool:
        try:
            socket = self._pg.socket
        except self._errors as error:
            raise Away(_words(str(error)), asked=True) from None
        if events != select.POLLIN:
            poll = kernel.poll()
            poll.register(socket, events)
        else:
            poll = self._reads
            if socket != self._read:
                self._reads = poll = kernel.poll()
                poll.register(socket, events)
                self._read = socket
        return bool(poll.poll(min(seconds, _LONGEST_WAIT) * 1000))


def _error_of_psycopg() -> type[Exception]:
    from psycopg import Error

    return Error


_WRONG = (
    "password authentication failed",
    "no password supplied",
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "permission denied",
    "is not permitted to log in",
    "is not currently accepting connections",
    "invalid ",
    "definition of service",
    "unrecognized configuration parameter",
    "server does not support SSL",
    "SSL negotiation",
    "expected authentication request",
    "certificate",
    "could not read",
    "unsupported",
    "requires",
    "must ",
)
"""What a server or libpq says of a request that waiting does not make right."""


def _words(text: str) -> str:
    """The message in one line, without its severity."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return "; ".join(line for line in lines if line).replace("FATAL:  ", "").replace("ERROR:  ", "") or "no reason"
