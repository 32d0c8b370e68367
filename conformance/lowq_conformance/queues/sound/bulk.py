"""A queue that hands out and takes back many tasks in one step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from lowq import Lease, LeaseLost
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.rows import Row


class BulkQueue(Queue):
    """Its client; whose lease is another's by now is left out of what is acked together."""

    promises: ClassVar[frozenset[str]] = Queue.promises | {"bulk"}

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        with self.alone() as now:
            until, found = self.until(now, lease_for), list[Lease]()
            while len(found) < limit and (row := self.first()) is not None:
                found.append(self.hold_one_of_many(row, until))
            return found

    def hold_one_of_many(self, row: Row, until: int) -> Lease:
        """The row is in hand."""
        self.hold(row, until)
        return self.lease(row)

    def ack_many(self, leases: Sequence[Lease]) -> list[str]:
        """The ids of those that were another's by now."""
        with self.alone():
            return [lease.id for lease in leases if not self.ack_one_of_many(lease)]

    def ack_one_of_many(self, lease: Lease) -> bool:
        """Whether the row is done."""
        try:
            self.remove(self.held(lease))
        except LeaseLost:
            return False
        return True


class Bulk(Journal):
    """The journal with many tasks in one step."""

    promises = BulkQueue.promises
    _queue = BulkQueue
