"""Waiting for a task in PostgreSQL: who waits listens, and whoever makes a task ready tells him.

A waiter holds an advisory lock, shared with others, while he listens: where nobody holds it, nobody is told, since
each NOTIFY makes commits wait for one another. Notifications are hints: who is woken looks into the queue, and looks
by himself from time to time, as where something between hands the server's connections to others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from lowq.backend import NOW, Lease
from lowq.backends.postgres.connection import Away, Connection, Refused
from lowq.backends.postgres.database import Database
from lowq.clock import Clock, SystemClock

_LOOK_AGAIN = timedelta(milliseconds=500)
"""How long a waiting claim trusts the notifications."""
_REGISTER_AGAIN = timedelta(milliseconds=20)
"""How long until the next try to listen, where somebody has just made a task ready."""


class Listener:
    """A connection on which notifications are heard, as far as one can be had."""

    def __init__(self, database: Database, channel: str, lock: tuple[int, int]) -> None:
        self._database = database
        self._channel = channel
        self._lock = ", ".join(map(_integer, lock))
        self._connection: Connection | None = None
        self._registered = False

    def begin(self) -> bool:
        """Whether whoever makes a task ready knows from now on that somebody listens."""
        if self._registered:
            return True
        left = self._database.countdown()
        try:
            if self._connection is None:
                self._connection = self._database.take(left)
            ((told,),) = self._connection.run(
                f"LISTEN {self._channel}; SELECT pg_try_advisory_lock_shared({self._lock})", left
            )
            self._registered = told == b"t"
        except (Away, Refused):
            self.drop()
        except BaseException:
            if self._connection is not None:
                self._connection.cut_off()
            raise
        return self._registered

    def heard(self, seconds: float) -> bool:
        """Waits up to that many seconds for a notification; a lost connection is one, too, soon."""
        if self._connection is not None:
            try:
                return self._connection.listen(seconds)
            except Away:
                self.drop()
        SystemClock().sleep(timedelta(seconds=min(seconds, _REGISTER_AGAIN.total_seconds())))
        return False

    def end(self) -> None:
        """Nothing is heard any more, and the connection is free for others."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            unlock = f"; SELECT pg_advisory_unlock_shared({self._lock})" if self._registered else ""
            left = self._database.countdown()
            connection.run(f"UNLISTEN {self._channel}{unlock}", left)
            connection.heard = False
            self._database.give_back(connection)
        except (Away, Refused):
            connection.close()
        except BaseException:
            connection.cut_off()
            raise

    def drop(self) -> None:
        """The connection is closed, and with it all that the server knew of it."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._registered = None, False


def wait_for_task(
    listener: Listener,
    clock: Clock,
    left: Callable[[], timedelta],
    claim: Callable[[], Lease | None],
    until_due: Callable[[], timedelta | None],
) -> Lease | None:
    """The lease that `claim` gave as soon as it could, or None when nothing is `left` of the wait."""
    try:
        while True:
            last = left() <= NOW
            registered = listener.begin()
            lease = claim()
            if lease is not None or last:
                listener.end()
                return lease
            due = until_due()
            nap = min(left(), _LOOK_AGAIN if registered else _REGISTER_AGAIN)
            clock.wait(listener.heard, nap if due is None else min(nap, due))
    except BaseException:
        listener.drop()
        raise


def _integer(number: int) -> str:
    """The number as PostgreSQL's 32 bits with a sign have it."""
    return str((number + 2**31) % 2**32 - 2**31)
