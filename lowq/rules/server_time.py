"""The time of a queue that a server keeps: the server's own, unless this program says what time it is."""

from __future__ import annotations

from datetime import timedelta

from lowq.clock import Clock, choose_clock, deadline, is_replaced, to_micros


class ServerTime:
    """What time it is in a server's queue; `given` is the clock that its client was opened with, or None.

    `clock` is that by which this program waits.
    """

    def __init__(self, given: Clock | None) -> None:
        self.clock = choose_clock(given)
        self._is_given = given is not None

    def now(self) -> int:
        """Microseconds since 1970, by this program's clock."""
        return to_micros(self.clock.now(), "clock.now()")

    def instant(self) -> int | None:
        """What the server is told of the time; None: it is to look at its own clock.

        A test that stops the time of its program stops that of its queues.
        """
        return self.now() if self._is_given or is_replaced() else None

    def length(self, lease_for: timedelta, what: str = "lease_for") -> int:
        """Microseconds of a lease. Raises TypeError or ValueError, by a clock that may not be the server's."""
        now = self.now()
        return deadline(now, lease_for, what) - now
