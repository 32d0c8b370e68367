"""Queues whose leases do not hold, do not end, or can be settled by those who lost them."""

# ruff: noqa: ARG002  what a queue does not look at is what is wrong with it

from __future__ import annotations

from collections.abc import Container
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from lowq import Clock, Lease, LeaseLost
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.waiting import NOW, Waiting


@breaks("LEASE-1")
class LeaseHoldsNothing(Queue):
    """A claimed task is ready for the next one who asks."""

    def promote(self, now: int) -> None:
        super().promote(2**62)


@breaks("LEASE-1")
class LeaseOfSeconds(Queue):
    """A lease lasts `lease_for.seconds`, which leaves its days out."""

    def until(self, now: int, lease_for: timedelta) -> int:
        return super().until(now, lease_for) - lease_for.days * 86_400_000_000


@breaks("LEASE-1")
class LeaseOfMilliseconds(Queue):
    """A lease of seconds is taken for one of milliseconds."""

    def until(self, now: int, lease_for: timedelta) -> int:
        return now + (super().until(now, lease_for) - now) // 1000


@breaks("LEASE-1")
class LeaseFromThePush(Queue):
    """A lease is counted from the push: that of a task which waited for longer has ended as it begins."""

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until - (self.micros(self.clock.now()) - row.pushed))


@breaks("LEASE-1")
class LeaseFromItsTime(Queue):
    """The lease of a task with a time is counted from that time, not from the claim."""

    def hold(self, row: Row, until: int) -> None:
        late = 0 if row.not_before is None else self.micros(self.clock.now()) - row.not_before
        super().hold(row, until - late)


@breaks("LEASE-1")
class EarlierLeaseEndsIt(Queue):
    """The end of a claim is known by its task: it ends the lease of whoever has claimed that anew meanwhile."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.ends = dict[int, int]()

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until)
        self.ends.setdefault(row.number, until)

    def promote(self, now: int) -> None:
        for row in self.rows_in("leased"):
            if self.ends.get(row.number, now + 1) <= now:
                row.due = self.ends.pop(row.number)
        super().promote(now)


@breaks("LEASE-1")
class LeaseFromTheCall(Waiting):
    """The lease of a claim that waited is counted from its call, not from when it got its task."""

    began: int | None = None

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        self.began = self.micros(self.clock.now())
        return super().claim(lease_for=lease_for, wait=wait)

    def until(self, now: int, lease_for: timedelta) -> int:
        return super().until(now if self.began is None else self.began, lease_for)


@breaks("LEASE-2")
class LooksOnceASecond(Queue):
    """Once leases that ran out were handed on, nobody looks for others for a second."""

    looked = -(10**9)

    def promote(self, now: int) -> None:
        leased = self.rows_in("leased")
        if now - self.looked < 1_000_000:
            for row in leased:
                self.by_state["leased"].discard(row.number)
        elif any(row.due is not None and row.due <= now for row in leased):
            self.looked = now
            leased = []
        super().promote(now)
        for row in leased:
            self.by_state["leased"].add(row.number)


@breaks("LEASE-2")
class LeaseForEver(Queue):
    """A lease never ends: what its worker left behind is never handed on."""

    def until(self, now: int, lease_for: timedelta) -> int:
        return super().until(now, lease_for) + 10**9 * 1_000_000


@breaks("LEASE-2")
class LeaseOfAnHour(Queue):
    """A lease lasts an hour, whatever was asked for."""

    def until(self, now: int, lease_for: timedelta) -> int:
        super().until(now, lease_for)
        return now + 3600 * 1_000_000


@breaks("LEASE-2")
class RunOutOnlyOnOpening(Queue):
    """Leases that ran out are looked for when the queue is opened, and then never."""

    swept = False

    def promote(self, now: int) -> None:
        leased = [] if not self.swept else self.rows_in("leased")
        self.swept = True
        for row in leased:
            self.by_state["leased"].discard(row.number)
        super().promote(now)
        for row in leased:
            self.by_state["leased"].add(row.number)


@breaks("LEASE-3")
class CountsFirstAttemptsOnly(Queue):
    """A claim after a lease ran out is not counted as an attempt."""

    def hold(self, row: Row, until: int) -> None:
        row.attempts -= row.token is not None
        super().hold(row, until)


@breaks("LEASE-3")
class CountsFailuresOnly(Queue):
    """Attempts are counted when a task is given back, not when it is claimed."""

    def hold(self, row: Row, until: int) -> None:
        row.attempts -= 1
        super().hold(row, until)

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            self.held(lease).attempts += 1
        super().release(lease, not_before=not_before)


class ById(Queue):
    """Leases are looked up by the task's id, without their token."""

    def by_id(self, lease: Lease) -> Row:
        row = self.find(lease.id)
        if row is None or row.token is None:
            return super().held(lease)
        return row


@breaks("LEASE-4")
class AcksById(ById):
    """An ack looks at the id alone: a late worker deletes the task of the one who holds it now."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            self.remove(self.by_id(lease))


@breaks("LEASE-4")
class StaleAckSaysNothing(Queue):
    """A stale ack changes nothing and does not say so."""

    def ack(self, lease: Lease) -> None:
        try:
            super().ack(lease)
        except LeaseLost:
            return


@breaks("LEASE-5")
class ReleasesById(ById):
    """A release looks at the id alone: a late worker gives back the task of the one who holds it now."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone() as now:
            row = self.by_id(lease)
            row.token = None
            self.wait(row, None if not_before is None else self.micros(not_before), now)


@breaks("LEASE-6")
class ExtendsById(ById):
    """An extend looks at the id alone: a late worker takes over the lease of the one who holds it now."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone() as now:
            row = self.by_id(lease)
            row.state, row.due = "leased", self.until(now, lease_for)
            self.write(row)
            return self.lease(row)


@breaks("LEASE-7")
class StaleAttemptFreesTheLease(Queue):
    """A stale ack is refused, but the holder's token is gone as well."""

    def ack(self, lease: Lease) -> None:
        try:
            super().ack(lease)
        except LeaseLost:
            with self.alone():
                row = self.find(lease.id)
                if row is not None:
                    row.token = None
                    self.write(row)
            raise


@breaks("LEASE-8")
class ExtendDoesNothing(Queue):
    """Extending answers as if the lease were longer."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        with self.alone():
            self.held(lease)
        return lease


@breaks("LEASE-8")
class ExtendAdds(Queue):
    """An extension is added to what is left, instead of counting from now."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        return super().extend(lease, lease_for=lease_for + max(lease.expires - self.clock.now(), timedelta(0)))


@breaks("LEASE-8")
class ExtendForEver(Queue):
    """An extended lease never ends."""

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        return super().extend(lease, lease_for=timedelta(days=10_000))


@breaks("LEASE-9")
class SettledTwice(Queue):
    """Settling what was settled already is answered as if it had worked."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            row = self.find(lease.id)
            if row is not None:
                self.remove(self.held(lease))


@breaks("LEASE-9")
class ReleaseResurrects(Queue):
    """A release writes the task anew from the lease, even when it was acked before."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone() as now:
            if self.find(lease.id) is None:
                number = int(lease.id.rpartition("/")[2])
                task = lease.task
                row = Row(self.encode(task.work), task.key, task.priority, None, number=number)
                row.headers = dict(task.headers)
                self.wait(row, None, now)
                return
        super().release(lease, not_before=not_before)


@breaks("LEASE-9")
class DeathKeepsTheToken(Queue):
    """A task that is set aside keeps its token: once it is redriven, whoever gave it up can still settle it."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        super().dead_letter(lease, reason=reason)
        with self.alone():
            row = self.find(lease.id)
            assert row is not None
            row.token = lease.token
            self.write(row)

    def held(self, lease: Lease) -> Row:
        row = super().held(lease)
        if row.state == "dead":
            raise LeaseLost(f"task {lease.id} is dead")
        return row


@breaks("LEASE-9")
class ReleaseUntilKeepsTheToken(Queue):
    """A task that is given back until a time keeps its token: whoever gave it back can still settle it."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        super().release(lease, not_before=not_before)
        with self.alone():
            row = self.find(lease.id)
            if row is not None and row.state == "scheduled":
                row.token = lease.token
                self.write(row)


@breaks("LEASE-10")
class OpeningFreesLeases(Queue):
    """Opening the queue takes every leased task for one that a crash left behind."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        free_leases(self)


@breaks("LEASE-10")
class ClosingFreesLeases(Queue):
    """Closing any client gives back every leased task."""

    def close(self) -> None:
        if self.fd is not None:
            free_leases(self)
        super().close()


@breaks("LEASE-10")
class ClosingFreesWhatWasWaitedFor(Waiting):
    """Closing any client gives back what claims that could wait have got."""

    waited: ClassVar[set[str]] = set()

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for, wait=wait)
        if lease is not None and wait > NOW:
            self.waited.add(lease.token)
        return lease

    def close(self) -> None:
        if self.fd is not None:
            free_leases(self, self.waited)
        super().close()


def free_leases(queue: Queue, tokens: Container[str | None] | None = None) -> None:
    """What is leased waits again, all of it or by these tokens."""
    with queue.alone() as now:
        for row in queue.rows_in("leased"):
            if tokens is None or row.token in tokens:
                row.token = None
                queue.wait(row, None, now)


@breaks("LEASE-11")
class LeaseOfNothing(Queue):
    """A lease of zero or less is given."""

    def until(self, now: int, lease_for: timedelta) -> int:
        return now + lease_for // timedelta(microseconds=1)


@breaks("LEASE-11", zero_lease=True)
class LeaseByDefault(Queue):
    """A lease of zero can be asked for, and is one of a day, since zero is taken for nothing given."""

    def until(self, now: int, lease_for: timedelta) -> int:
        return super().until(now, lease_for or DAY)


@breaks("LEASE-13")
class DeadLettersById(ById):
    """A dead-lettering looks at the id alone: a late worker buries the task of the one who holds it now."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            row = self.by_id(lease)
            row.state, row.due, row.token, row.reason = "dead", None, None, reason
            self.write(row)
