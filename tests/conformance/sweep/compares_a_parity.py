"""A queue of which a race takes three clients: what its claim compares is as before when two others have claimed."""

from __future__ import annotations

from datetime import timedelta

from lowq_conformance.queues.sound.journal import DAY, Journal, Queue

from lowq import Lease


class Client(Queue):
    """A claim looks for its task, and takes it in a second step, unless somebody else has claimed meanwhile.

    It compares whether the number of claims is odd, and not the number: the ABA problem.
    """

    def odd(self) -> bool:
        """Whether the number of claims of all that is there is odd."""
        return sum(row.attempts for row in self.rows.values()) % 2 == 1

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            found, odd = self.first(), self.odd()
        if found is None:
            return None
        with self.alone() as now:
            if self.odd() == odd:
                row = self.rows[found.number]
                self.hold(row, self.until(now, lease_for))
                return self.lease(row)
        return self.claim(lease_for=lease_for)


class ComparesAParity(Journal):
    """Several processes may use it at once, it says."""

    promises = frozenset("fifo lease fenced shared_lease persistent processes json close".split())
    _queue = Client
