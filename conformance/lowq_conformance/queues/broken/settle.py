"""Queues in which a release, a dead letter, a cancellation or a batch does not do what it says."""

# ruff: noqa: ARG002  what a queue does not look at is what is wrong with it

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from lowq import Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.dead import RedrivingBeside
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("RELEASE-1")
class ReleaseWaitsForTheLease(Queue):
    """A released task is handed out only when its lease would have run out."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=max(not_before or lease.expires, lease.expires))


@breaks("RELEASE-1")
class ReleaseBacksOff(Queue):
    """A released task waits ten seconds that nobody asked for."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=not_before or self.clock.now() + timedelta(seconds=10))


@breaks("RELEASE-2")
class ReleaseForgetsTheTime(Queue):
    """A task released until later is handed out at once."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease)


@breaks("RELEASE-2")
class ReleaseDropsTheZone(Queue):
    """The time of a release is taken for one in UTC, whatever its zone says."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=None if not_before is None else not_before.replace(tzinfo=UTC))


@breaks("RELEASE-2")
class ReleaseTakesTheEarlierTime(Queue):
    """Of the time of a release and the one of the push the earlier counts."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        pushed = lease.task.not_before
        super().release(lease, not_before=min(pushed, not_before) if pushed and not_before else not_before)


@breaks("RELEASE-2")
class ReleasedUntilTheLeaseEnds(Queue):
    """A task that was released until a time waits for that or for the end of its lease, whichever is first."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=None if not_before is None else min(not_before, lease.expires))


@breaks("RELEASE-3")
class ReleaseResetsAttempts(Queue):
    """A released task begins to count its attempts anew, so that it is never given up."""

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        row.attempts = 0
        super().wait(row, not_before, now)


@breaks("RELEASE-3")
class ReleaseDropsPriority(Queue):
    """A released task comes back with the default priority."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            self.held(lease).priority = 0
        super().release(lease, not_before=not_before)


@breaks("RELEASE-3")
class ReleaseDropsTheKey(Queue):
    """A released task comes back without its explicit key."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            self.equals[self.identity(row)].discard(row.number)
            row.key = None
        super().release(lease, not_before=not_before)


@breaks("RELEASE-3")
class ReleaseKeepsWhatTheWorkerMade(Queue):
    """A released task comes back as its worker has changed it."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            self.equals[self.identity(row)].discard(row.number)
            row.text = self.encode(lease.work)
        super().release(lease, not_before=not_before)


@breaks("DEAD-1")
class DeadComesBack(Queue):
    """A dead-lettered task is claimed again."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone() as now:
            row = self.held(lease)
            row.token, row.reason = None, reason
            self.wait(row, None, now)


@breaks("DEAD-1")
class DeadUntilTheLeaseEnds(Queue):
    """A dead-lettered task is claimed again when its lease has run out."""

    def promote(self, now: int) -> None:
        super().promote(now)
        for row in self.rows_in("dead"):
            if row.not_before is not None and row.not_before <= now:
                self.wait(row, None, now)

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            self.held(lease).not_before = self.micros(lease.expires)
        super().dead_letter(lease, reason=reason)


@breaks("DEAD-2")
class DeadIsDropped(Queue):
    """A dead-lettered task is deleted."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        self.ack(lease)


@breaks("DEAD-2")
class DeadWithoutReason(Queue):
    """Why a task was dead-lettered is not kept."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        super().dead_letter(lease, reason="")


@breaks("DEAD-3")
class RedriveDoesNothing(Queue):
    """Redriving says that it worked, and the task stays dead."""

    def redrive(self, id: str) -> bool:
        task = self.task(id)
        return task is not None and task.state == "dead"


@breaks("DEAD-3")
class RedriveCopies(Queue):
    """Redriving adds a copy and leaves the dead task, which can be redriven again."""

    def redrive(self, id: str) -> bool:
        with self.alone() as now:
            row = self.find(id)
            if row is None or row.state != "dead":
                return False
            self.wait(
                Row(row.text, row.key, row.priority, None, number=self.last + 1, headers=row.headers), None, now
            )
            return True


@breaks("DEAD-3")
class RedrivesBesideAnEqual(RedrivingBeside):
    """A dead task is put back without a look at whether its work was pushed again meanwhile."""


@breaks("CANCEL-1")
class CancelledIsClaimed(Queue):
    """Cancelling says that it worked, and the task is claimed all the same."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            return row is not None and row.state != "leased"


@breaks("CANCEL-1")
class CancelMissesTheScheduled(Queue):
    """Cancelling a task that is not due yet says that it worked, and does nothing."""

    def cancel(self, id: str) -> bool:
        task = self.task(id)
        return True if task is not None and task.state == "scheduled" else super().cancel(id)


@breaks("CANCEL-2")
class CancelsTheLeased(Queue):
    """A leased task is cancelled under its worker, whose ack then fails."""

    def cancel(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None:
                return False
            self.remove(row)
            return True


@breaks("CANCEL-3")
class CancelAlwaysWorks(Queue):
    """Cancelling a task that is gone says that it worked."""

    def cancel(self, id: str) -> bool:
        task = self.task(id)
        return super().cancel(id) if task is not None else True


@breaks("BATCH-1")
class BatchInPieces(Queue):
    """A batch is pushed one by one; what came before an invalid work stays."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        push_many = super().push_many
        return [push_many([item])[0] for item in items]


@breaks("BATCH-1")
class BatchSkipsInvalid(Queue):
    """Of a batch with an invalid work the others are pushed, and nothing is said."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        if len(items) < 2:
            return super().push_many(items)
        return super().push_many([item for item in items if self.is_valid(item)])

    def is_valid(self, item: Item) -> bool:
        try:
            return bool(self.row(item).text)
        except (TypeError, ValueError):
            return False


@breaks("BATCH-2")
class EmptyBatchRaises(Queue):
    """An empty batch raises."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        first, *rest = list(items)
        return super().push_many([first, *rest])
