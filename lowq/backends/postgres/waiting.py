"""Waiting for a task in PostgreSQL: who waits listens, and whoever makes a task ready tells him.

A waiter holds an advisory lock, shared with others, while he listens: where nobody holds it, nobody is told, since
each NOTIFY makes commits wait for one another. Notifications are hints: who is woken looks into the queue, and looks
by himself from time to time. That is all there is where sessions are shared out among clients, as by PgBouncer: who
listens there would hear nothing, and leave it to others, together with his lock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from lowq.backend import NOW, Lease
from lowq.backends.postgres.connection import Away, Connection, Refused
from lowq.backends.postgres.database import Database
from lowq.clock import Clock, SystemClock

_LOOK_AGAIN = timedelta(milliseconds=500)
"""How long a waiting claim trusts the notifications, or where it hears none is content to know nothing."""
_REGISTER_AGAIN = timedelta(milliseconds=20)
"""How long until the next try to listen, where somebody has just made a task ready."""


class Listener:
    """A connection on which notifications are heard, as far as one can be had."""

    def __init__(self, database: Database, channel: str, lock: tuple[int, int]) -> None:
        self._database = database
        self._channel = channel
        self._lock = locks(*lock)
        self._connection: Connection | None = None
        self._registered = False

    def begin(self) -> None:
        """Whoever makes a task ready knows from now on that somebody listens, if that can be."""
        if self._registered:
            return
        if self._database.pooled:
            self.drop()
            return
        left = self._database.countdown()
        try:
            if self._connection is None:
                self._connection = self._database.take(left)
            own = f"pg_backend_pid() = {self._connection.process}" if self._database.pooled is None else "true"
            ((told,),) = self._connection.run(
                f"LISTEN {self._channel}; SELECT CASE WHEN {own} THEN pg_try_advisory_lock_shared({self._lock}) END",
                left,
            )
            self._registered = told == b"t"
            if told is None:  # it was the server's own when it was made, and is not any more
                self._database.pooled = True
                self.drop()
        except (Away, Refused):
            self.drop()
        except BaseException:
            if self._connection is not None:
                self._connection.cut_off()
            raise

    @property
    def pause(self) -> timedelta:
        """How long it is until the next look into the queue, at most."""
        return _LOOK_AGAIN if self._registered or self._database.pooled else _REGISTER_AGAIN

    def heard(self, seconds: float) -> bool:
        """Waits up to that many seconds for a notification; a lost connection is one, too, soon."""
        if self._connection is not None:
            try:
                return self._connection.listen(seconds)
            except Away:
                self.drop()
        SystemClock().sleep(min(timedelta(seconds=seconds), self.pause))
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
            listener.begin()
            lease = claim()
            if lease is not None or last:
                listener.end()
                return lease
            due = until_due()
            nap = min(left(), listener.pause)
            clock.wait(listener.heard, nap if due is None else min(nap, due))
    except BaseException:
        listener.drop()
        raise


def locks(table: int, queue: int) -> str:
    """The advisory lock of a queue that goes with this table of lowq's, as PostgreSQL's functions take it."""
    return f"{_integer(table)}, {_integer(queue)}"


def _integer(number: int) -> str:
    """The number as PostgreSQL's 32 bits with a sign have it."""
    return str((number + 2**31) % 2**32 - 2**31)
