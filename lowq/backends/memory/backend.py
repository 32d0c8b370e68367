"""A queue in the memory of one process: for tests, and for work that may die with the process."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import ClassVar

from lowq.backend import (
    NOW,
    Acked,
    BackendUnavailable,
    Counts,
    Dedupe,
    InvalidLocation,
    Item,
    Lease,
    LeaseLost,
    Pushed,
    QueueClosed,
    State,
    Task,
    Work,
)
from lowq.backends.memory.heaps import Kept, Place, Queue, place_of
from lowq.clock import Clock, SystemClock, deadline, span, to_datetime, to_micros
from lowq.rules.canonical import decode
from lowq.rules.entry import Entry, entries, entry
from lowq.rules.headers import headers_of
from lowq.rules.leases import (
    check_id,
    check_lease,
    check_leases,
    check_number,
    check_reason,
    deadline_of_next,
    lost,
    number,
)
from lowq.rules.names import check_dedupe, check_name
from lowq.rules.paging import check_page, page_of


class MemoryBackend:
    """A client of a queue that lives in this process, as long as one client of its location is open."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    promises = frozenset(
        "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch bulk key"
        " headers names inspect json prompt close clock threads".split()
    )

    def __init__(
        self, place: str = "", *, name: str = "default", dedupe: Dedupe | None = None, clock: Clock | None = None
    ) -> None:
        check_name(name)
        check_dedupe(dedupe)
        self._place: Place | None = place_of(place)
        self.name = name
        self._clock = clock or SystemClock()
        with self._place.changed:
            self._queue = self._place.queues.setdefault(name, Queue(dedupe or "until_done"))
        if dedupe not in (None, self._queue.dedupe):
            raise InvalidLocation(
                f"memory://{place}: the queue {name!r} was made with dedupe={self._queue.dedupe!r}, not {dedupe!r}"
            )

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._queue.dedupe

    def push(
        self,
        work: Work,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        """The work is kept, or an equal one already stood and nothing changed."""
        return self._keep([entry(work, key, priority, not_before, headers)])[0]

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        return self._keep(entries(items))

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        place = self._open()
        left = self._clock.countdown(wait)
        with place.changed:
            while True:
                last = left() <= NOW
                now = self._now()
                lease = self._claim(now, deadline(now, lease_for))
                if lease is not None or last:
                    return lease
                next_due = self._queue.next_due()
                nap = left() if next_due is None else min(left(), timedelta(microseconds=next_due - now))
                self._clock.wait(place.change(), nap)
                self._open()

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        limit = check_number(limit, "limit", least=1)
        with self._open().changed:
            now = self._now()
            return self._claim_up_to(limit, now, deadline(now, lease_for))

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        until = deadline(self._now(), lease_for)
        with self._open().changed:
            kept = self._held(lease)
            self._queue.hold(kept, until)
            return Lease(self._task(kept), lease.token, to_datetime(until))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        now = self._now()
        until = None if claim_for is None else deadline(now, claim_for)
        with self._open().changed:
            self._queue.remove(self._held(lease))
            return None if until is None else self._claim(now, until)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)
        with self._open().changed:
            now = self._now()
            until = deadline_of_next(claim, lease_for, now)
            lost: list[str | None] = []
            for lease in settled:
                try:
                    self._queue.remove(self._held(lease))
                    lost.append(None)
                except LeaseLost as error:
                    lost.append(str(error))
            return Acked(tuple(lost), tuple(self._claim_up_to(claim, now, until)))

    def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        uncount: bool = False,
    ) -> None:
        """The task waits again in its old place, with `reason`; `uncount` takes the attempt back."""
        again = None if not_before is None else to_micros(not_before, "not_before")
        check_reason(reason)
        place = self._open()
        with place.changed:
            kept = self._held(lease)
            kept.token, kept.reason = None, reason
            kept.attempts -= bool(uncount)
            if again is not None:
                kept.not_before = again
            self._queue.wait(kept, again, self._now())
            place.announce()

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        with self._open().changed:
            kept = self._held(lease)
            kept.token, kept.reason, kept.state, kept.due = None, reason, State.DEAD, None

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        place = self._open()
        with place.changed:
            self._queue.promote(self._now())
            kept = self._find(id)
            if kept is None or kept.state is not State.DEAD:
                return False
            if self._queue.standing_equal(kept.entry.digest) is not None:
                return False
            kept.attempts = 0
            self._queue.wait(kept, None, 0)
            place.announce()
            return True

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        with self._open().changed:
            self._queue.promote(self._now())
            kept = self._find(id)
            if kept is None or kept.state is State.LEASED:
                return False
            self._queue.remove(kept)
            return True

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        with self._open().changed:
            self._queue.promote(self._now())
            kept = self._find(id)
            return None if kept is None else self._task(kept)

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
        check_page(state, after, limit)
        with self._open().changed:
            self._queue.promote(self._now())
            return page_of([self._task(kept) for kept in self._queue.tasks.values()], state, after, limit)

    def count(self) -> Counts:
        """How many tasks are in each state."""
        with self._open().changed:
            self._queue.promote(self._now())
            states = [kept.state for kept in self._queue.tasks.values()]
            return Counts(*(states.count(state) for state in State))

    def names(self) -> list[str]:
        """The names of the queues at this location."""
        place = self._open()
        with place.changed:
            return sorted(place.queues)

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        with self._open().changed:
            due = self._queue.next_due()
            return None if due is None else to_datetime(due)

    def close(self) -> None:
        """This client is closed; the queue is gone with the last client of its location."""
        place, self._place = self._place, None
        if place is not None and place.pid == os.getpid():
            with place.changed:
                place.announce()  # for a claim of this client that waits

    def _open(self) -> Place:
        if self._place is None:
            raise QueueClosed("this client was closed; open the queue again")
        if self._place.pid != os.getpid():
            raise BackendUnavailable(
                "a memory queue stays in its process: this one belongs to the parent of the fork"
            )
        return self._place

    def _now(self) -> int:
        return to_micros(self._clock.now())

    def _keep(self, batch: list[Entry]) -> list[Pushed]:
        place = self._open()
        with place.changed:
            now = self._now()
            self._queue.promote(now)
            answers = []
            for each in batch:
                stands = self._queue.standing_equal(each.digest)
                if added := stands is None:
                    stands = next(place.numbers)
                    kept = Kept(stands, each, State.READY, now, not_before=each.not_before)
                    self._queue.add(kept)
                    self._queue.wait(kept, each.not_before, now)
                answers.append(Pushed(str(stands), added))
            place.announce()
            return answers

    def _claim(self, now: int, until: int) -> Lease | None:
        self._queue.promote(now)
        kept = self._queue.first()
        if kept is None:
            return None
        kept.token = os.urandom(8).hex()
        kept.attempts += 1
        self._queue.hold(kept, until)
        return Lease(self._task(kept), kept.token, to_datetime(until))

    def _claim_up_to(self, limit: int, now: int, until: int) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and (lease := self._claim(now, until)) is not None:
            leases.append(lease)
        return leases

    def _held(self, lease: Lease) -> Kept:
        """The task of a lease that is still the caller's."""
        check_lease(lease)
        kept = self._find(lease.id)
        if kept is None or kept.token is None or kept.token != lease.token:
            raise LeaseLost(lost(lease, None if kept is None else self._task(kept)))
        return kept

    def _find(self, id: str) -> Kept | None:
        check_id(id)
        return self._queue.tasks.get(number(id))

    def _task(self, kept: Kept) -> Task:
        return Task(
            id=str(kept.number),
            work=decode(kept.entry.text),
            key=kept.entry.key,
            priority=kept.entry.priority,
            not_before=None if kept.not_before is None else to_datetime(kept.not_before),
            attempts=kept.attempts,
            state=kept.state,
            reason=kept.reason,
            pushed_at=to_datetime(kept.pushed_at),
            headers=headers_of(kept.entry.headers),
        )
