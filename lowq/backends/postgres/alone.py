"""One session in the whole cluster claims, and all who ask for the same stand by until it ends.

A single active consumer, as RabbitMQ calls it. The right to claim is an advisory lock of the very session through
which the claims go: where that session has ended, for whatever reason, no claim of it can come any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from lowq.backend import NOW, InvalidLocation
from lowq.backends.postgres.connection import Away, Connection, Left, Refused
from lowq.backends.postgres.database import Database, take_usable
from lowq.backends.postgres.rows import Row
from lowq.clock import SystemClock

_SLICE = timedelta(milliseconds=500)
"""How long the server keeps one who waits; a session whose client was killed meanwhile ends after that."""

_KEEPALIVES = "tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4"
"""The server lets go of a machine that has gone without a word after 25 s; else that would take it two hours."""


class Alone:
    """The session that claims for this client, if it is the one; `lock` is what the clients of the queue share.

    `told` is called with True when this client begins to claim, and with False when it begins to stand by.
    """

    def __init__(self, database: Database, lock: str, told: Callable[[bool], object] | None) -> None:
        self._database = database
        self._lock = lock
        self._told = told
        self._said: bool | None = None
        self._ended = False
        self._kept: list[Connection] = []

    def take(self, left: Left) -> Connection:
        """The session, which is `alone` if its client is the one to claim. Raises as Database.take does."""
        self._database.check_open()
        connection = take_usable(self._kept) or self._connect(left)
        if not connection.alone:
            try:
                ((got,),) = self._run(connection, f"SELECT pg_try_advisory_lock({self._lock})", left)
            except Refused as error:
                connection.close()
                raise self._database.translate(error) from None
            connection.alone = got == b"t"
        self._tell(connection.alone)
        return connection

    def give_back(self, connection: Connection) -> None:
        """The session is kept for the next claim, and with it the right to claim, if it has that."""
        if self._kept and not connection.alone:  # another thread's, which came while the right one was in use
            connection.close()
            return
        self._kept.append(connection)
        if self._ended:  # meanwhile
            self.end()

    def wait(self, wait: timedelta) -> bool:
        """Whether this client is the one to claim now, or becomes it within about `wait`."""
        left = SystemClock().countdown(wait)
        while not self._database.call(lambda connection, _, __: connection.alone, again=True, by=self):
            nap = min(left(), _SLICE)
            if nap <= NOW:
                return False
            self._stand_by(max(nap // timedelta(milliseconds=1), 1))
        return True

    def end(self) -> None:
        """The right to claim is the next one's, and the session is let go."""
        self._ended = True
        while self._kept:
            with suppress(IndexError):
                self._let_go(self._kept.pop())

    def _let_go(self, connection: Connection) -> None:
        """The lock is free when this returns, and not only when the server has seen that the session has ended."""
        try:
            if connection.alone and connection.usable:
                connection.run(f"SELECT pg_advisory_unlock({self._lock})", self._database.countdown())
        except (Away, Refused):
            pass
        finally:
            connection.close()

    def _connect(self, left: Left) -> Connection:
        connection = self._database.connect(left)
        if connection.setting is not None:
            connection.close()
            raise InvalidLocation(
                f"{self._database.shown}: once per cluster takes a session of one's own, and a pooler shares them out"
                " here; connect to the server itself (or say ?pooled=false, where each client keeps its session)"
            )
        with suppress(Refused):  # not all systems have them
            self._run(connection, f"SET {_KEEPALIVES}", left)
        return connection

    def _run(self, connection: Connection, script: str, left: Left) -> list[Row]:
        """What the script gives; a connection that breaks meanwhile, or is cut off, is closed."""
        try:
            return connection.run(script, left)
        except Refused:
            raise
        except Away:
            connection.close()
            raise
        except BaseException:
            connection.cut_off()
            raise

    def _stand_by(self, milliseconds: int) -> None:
        """This client waits so long in the row of those who want the lock."""

        def wait(connection: Connection, left: Left, _: bool) -> None:
            if connection.alone:
                return
            try:
                connection.run(
                    f"SET LOCAL lock_timeout = {milliseconds}; SELECT pg_advisory_lock({self._lock})", left
                )
            except Refused as error:
                if error.code != "55P03":
                    raise
            else:
                connection.alone = True

        self._database.call(wait, again=True, by=self)

    def _tell(self, alone: bool) -> None:
        if alone != self._said:
            self._said = alone
            if self._told is not None:
                self._told(alone)
