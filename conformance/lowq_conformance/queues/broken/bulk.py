"""Queues that are right with one task at a time, and wrong with many in one step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from lowq import Lease
from lowq_conformance.queues.broken.register import breaks_in
from lowq_conformance.queues.sound.bulk import Bulk, BulkQueue
from lowq_conformance.queues.sound.journal import DAY
from lowq_conformance.queues.sound.rows import Row

breaks = partial(breaks_in, Bulk)


@breaks("DELIVER-4")
class AcksTen(BulkQueue):
    """Ten are acked in one step, as a service allows, and what is more is forgotten."""

    def ack_many(self, leases: Sequence[Lease]) -> list[str]:
        return super().ack_many(leases[:10])


@breaks("DELIVER-1")
class HandsOutAllButOne(BulkQueue):
    """The last one of a full bundle is in hand, and nobody is told."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        return super().claim_many(limit, lease_for=lease_for)[: max(1, limit - 1)]


@breaks("ORDER-1")
class LastOfManyFirst(BulkQueue):
    """What is claimed together is told from the last to the first."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        return super().claim_many(limit, lease_for=lease_for)[::-1]


@breaks("ORDER-3")
class OldestOfMany(BulkQueue):
    """What is claimed together are the oldest tasks, whatever their priority."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        with self.alone() as now:
            until = self.until(now, lease_for)
            rows = sorted(self.rows_in("ready"), key=lambda row: row.number)[:limit]
            return [self.hold_one_of_many(row, until) for row in rows]


@breaks("LEASE-2")
class ManyForADay(BulkQueue):
    """What is claimed together is in hand for a day, whatever was asked for."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        del lease_for
        return super().claim_many(limit, lease_for=DAY)


@breaks("LEASE-1")
class ManyForAMinute(BulkQueue):
    """What is claimed together is in hand for a minute at most, whatever was asked for."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        return super().claim_many(limit, lease_for=min(lease_for, timedelta(minutes=1)))


@breaks("LEASE-1")
class OnlyLooksAtMany(BulkQueue):
    """Only the first of many is held."""

    def claim_many(self, limit: int, *, lease_for: timedelta = DAY) -> list[Lease]:
        found = super().claim_many(limit, lease_for=lease_for)
        with self.alone() as now:
            for lease in found[1:]:
                self.wait(self.held(lease), None, now)
        return found


@breaks("LEASE-3")
class CountsOneOfMany(BulkQueue):
    """An attempt is counted where one task is claimed, and not where many are."""

    def hold_one_of_many(self, row: Row, until: int) -> Lease:
        row.attempts -= 1
        return super().hold_one_of_many(row, until)


@breaks("LEASE-4")
class AcksManyByTheirIds(BulkQueue):
    """Who acks many acks whatever has their ids, whoever holds it."""

    def ack_one_of_many(self, lease: Lease) -> bool:
        row = self.find(lease.id)
        if row is not None:
            self.remove(row)
        return row is not None
