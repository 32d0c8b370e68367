"""A queue in the memory of one process: for tests, and for work that may die with the process.

Long: each verb of the contract is a method with its step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from queue import SimpleQueue
from typing import ClassVar, cast

from lowq import kernel
from lowq.backend import (
    NOW,
    Acked,
    BackendUnavailable,
    Counts,
    Dedupe,
    Item,
    Lease,
    LeaseLost,
    Pushed,
    QueueClosed,
    State,
    Task,
    Work,
)
from lowq.backends.memory.heaps import Place, Queue, StoredTask, heard, place_of
from lowq.backends.numbers import number
from lowq.clock import Clock, choose_clock, deadline, span, to_datetime, to_micros
from lowq.rules.adoption import Adoption, adoptions
from lowq.rules.damage import Unreadable, mark_damaged, read_work, reason_of
from lowq.rules.entry import Entry, entries, entry
from lowq.rules.headers import headers_of
from lowq.rules.leases import (
    check_id,
    check_lease,
    check_leases,
    check_number,
    check_reason,
    deadline_of_next,
    explain_lost,
)
from lowq.rules.names import check_dedupe, check_name, check_same_dedupe
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import check_page, page_of
from lowq.rules.transaction import no_transaction

_LOOK_AGAIN = timedelta(milliseconds=500)
"""How long a waiting claim trusts that it is told of a push: one that was cut off may have told nobody."""


class MemoryBackend:
    """A client of a queue that lives in this process, as long as one client of its location is open."""

    OPTIONS: ClassVar[tuple[str, ...]] = ()

    promises = frozenset(
        "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch bulk wait key"
        " headers names inspect json prompt close clock threads".split()
    )

    def __init__(
        self, place: str = "", *, name: str = "default", dedupe: Dedupe | None = None, clock: Clock | None = None
    ) -> None:
        check_name(name)
        check_dedupe(dedupe)
        self._place: Place | None = place_of(place)
        self.name = name
        self.where = self._place.token
        self._clock = choose_clock(clock)
        self._queue = self._place.queues.setdefault(name, Queue(dedupe or "until_done"))
        check_same_dedupe(f"memory://{place}", name, self._queue.dedupe, dedupe)

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
        return self._push([entry(work, key, priority, not_before, headers)])[0]

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        return self._push(entries(items))

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks, which another queue had, are kept or none; see `lowq.backend.Adopting`."""
        return self._keep(adoptions(tasks))

    def within(self, connection: object) -> AbstractContextManager[None]:  # noqa: ARG002  # whatever it is
        """Raises NoTransaction: the queue is in no database of the caller's."""
        raise no_transaction(self)

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        self._open()
        if wait == NOW:
            return self._claim_now(lease_for)
        waiter: SimpleQueue[None] = SimpleQueue()
        try:
            self._queue.waiters[id(waiter)] = waiter
            lease = self._claim_when_there_is_one(lease_for, self._clock.countdown(wait), waiter)
            self._queue.waiters.pop(id(waiter), None)
            return lease
        except BaseException:
            self._queue.waiters.pop(id(waiter), None)
            raise

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        limit = check_number(limit, "limit", least=1)

        def claim() -> list[Lease]:
            now = self._now()
            return self._claim_up_to(limit, now, deadline(now, lease_for))

        return self._open().alone(claim)

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        until = deadline(self._now(), lease_for)

        def hold() -> Lease:
            kept = self._find_held(lease)
            self._queue.touch(kept)
            self._queue.hold(kept, until)
            return Lease(self._task(kept), lease.token, to_datetime(until))

        return self._open().alone(hold)

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        now = self._now()
        until = None if claim_for is None else deadline(now, claim_for, "claim_for")

        def settle() -> Lease | None:
            self._queue.remove(self._find_held(lease))
            return None if until is None else self._claim(now, until)

        return self._open().alone(settle)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)

        def settle() -> Acked:
            now = self._now()
            until = deadline_of_next(claim, lease_for, now)
            lost: list[str | None] = []
            for lease in settled:
                try:
                    kept = self._find_held(lease)
                except LeaseLost as error:
                    lost.append(str(error))
                else:
                    self._queue.remove(kept)
                    lost.append(None)
            return Acked(tuple(lost), tuple(self._claim_up_to(claim, now, until)))

        return self._open().alone(settle)

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

        def wait() -> None:
            kept = self._find_held(lease)
            self._queue.touch(kept)
            kept.token, kept.reason = None, reason
            kept.attempts -= bool(uncount)
            if again is not None:
                kept.not_before = again
            self._queue.wait(kept, again, self._now())

        self._open().alone(wait)
        self._queue.announce()

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)

        def set_aside() -> None:
            kept = self._find_held(lease)
            self._queue.touch(kept)
            kept.token, kept.reason, kept.state, kept.due = None, reason, State.DEAD, None

        self._open().alone(set_aside)

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""

        def revive() -> bool:
            self._queue.promote(self._now())
            kept = self._find(id)
            if kept is None or kept.state is not State.DEAD:
                return False
            if self._queue.standing_equal(kept.entry.digest) is not None:
                return False
            self._queue.touch(kept)
            kept.attempts = 0
            self._queue.wait(kept, None, 0)
            return True

        revived = self._open().alone(revive)
        self._queue.announce()
        return revived

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""

        def remove() -> bool:
            self._queue.promote(self._now())
            kept = self._find(id)
            if kept is None or kept.state is State.LEASED:
                return False
            self._queue.remove(kept)
            return True

        return self._open().alone(remove)

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""

        def find() -> Task | None:
            self._queue.promote(self._now())
            kept = self._find(id)
            return None if kept is None else self._task(kept)

        return self._open().alone(find)

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
        limit = check_page(state, after, limit)

        def read() -> list[Task]:
            self._queue.promote(self._now())
            return page_of([self._task(kept) for kept in self._queue.tasks.values()], state, after, limit, number)

        return self._open().alone(read)

    def count(self) -> Counts:
        """How many tasks are in each state."""

        def read() -> Counts:
            self._queue.promote(self._now())
            states = [kept.state for kept in self._queue.tasks.values()]
            return Counts(*[states.count(state) for state in State])

        return self._open().alone(read)

    def names(self) -> list[str]:
        """The names of the queues at this location."""
        self._open()
        return sorted(cast(Place, self._place).queues)

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        due = self._open().alone(self._queue.next_due)
        return None if due is None else to_datetime(due)

    def close(self) -> None:
        """This client is closed; the queue is gone with the last client of its location."""
        place, self._place = self._place, None
        if place is not None and place.pid == kernel.getpid():
            self._queue.announce()  # for a claim of this client that waits

    def _open(self) -> Queue:
        if self._place is None:
            raise QueueClosed("this client was closed; open the queue again")
        if self._place.pid != kernel.getpid():
            raise BackendUnavailable(
                "a memory queue stays in its process: this one belongs to the parent of the fork"
            )
        return self._queue

    def _now(self) -> int:
        return to_micros(self._clock.now(), "clock.now()")

    def _push(self, batch: list[Entry]) -> list[Pushed]:
        pushed = self._keep([Adoption(new, State.SCHEDULED, 0, None, -1) for new in batch])
        warn_of_own_work(self, pushed)
        return pushed

    def _keep(self, batch: list[Adoption]) -> list[Pushed]:
        """Each is kept, or an equal one stands; what was pushed at -1 is pushed now."""
        queue, numbers = self._open(), cast(Place, self._place).numbers

        def keep() -> list[Pushed]:
            now = self._now()
            queue.promote(now)
            answers = []
            for new, state, attempts, reason, pushed_at in batch:
                stands = None if state is State.DEAD else queue.standing_equal(new.digest)
                if added := stands is None:
                    stands = next(numbers)
                    at = now if pushed_at < 0 else pushed_at
                    kept = StoredTask(stands, new, state, at, None, new.not_before, attempts, None, reason)
                    queue.add(kept)
                    if state is not State.DEAD:
                        queue.wait(kept, new.not_before if state is State.SCHEDULED else None, now)
                answers.append(Pushed(str(stands), added))
            return answers

        answers = queue.alone(keep)
        queue.announce()
        return answers

    def _claim_now(self, lease_for: timedelta) -> Lease | None:
        def claim() -> Lease | None:
            now = self._now()
            return self._claim(now, deadline(now, lease_for))

        return self._open().alone(claim)

    def _claim_when_there_is_one(
        self, lease_for: timedelta, left: Callable[[], timedelta], waiter: SimpleQueue[None]
    ) -> Lease | None:
        while True:
            last = left() <= NOW
            lease = self._claim_now(lease_for)
            if lease is not None or last:
                return lease
            due = self.next_due()
            nap = min(left(), _LOOK_AGAIN)
            if due is not None:
                nap = min(nap, due - self._clock.now())
            self._clock.wait(partial(heard, waiter), nap)

    def _claim(self, now: int, until: int) -> Lease | None:
        self._queue.promote(now)
        while (kept := self._queue.first()) is not None:
            self._queue.touch(kept)
            try:
                self._work(kept)
            except Unreadable as error:  # an int of more digits than the interpreter was told to read since
                kept.state, kept.due, kept.reason = State.DEAD, None, reason_of(error)
                continue
            kept.token = kernel.urandom(8).hex()
            kept.attempts += 1
            self._queue.hold(kept, until)
            return Lease(self._task(kept), kept.token, to_datetime(until))
        return None

    def _claim_up_to(self, limit: int, now: int, until: int) -> list[Lease]:
        leases: list[Lease] = []
        while len(leases) < limit and (lease := self._claim(now, until)) is not None:
            leases.append(lease)
        return leases

    def _find_held(self, lease: Lease) -> StoredTask:
        """The task of a lease that is still the caller's."""
        check_lease(lease)
        kept = self._find(lease.id)
        if kept is None or kept.token is None or kept.token != lease.token:
            raise LeaseLost(explain_lost(lease, None if kept is None else self._task(kept)))
        return kept

    def _find(self, id: str) -> StoredTask | None:
        check_id(id)
        return self._queue.tasks.get(number(id))

    def _work(self, kept: StoredTask) -> Work:
        return read_work(kept.entry.text, kept.entry.key, kept.entry.headers, kept.entry.crc)

    def _task(self, kept: StoredTask) -> Task:
        try:
            work = self._work(kept)
        except Unreadable:
            work = mark_damaged(kept.entry.text)
        return Task(
            id=str(kept.number),
            work=work,
            key=kept.entry.key,
            priority=kept.entry.priority,
            not_before=None if kept.not_before is None else to_datetime(kept.not_before),
            attempts=kept.attempts,
            state=kept.state,
            reason=kept.reason,
            pushed_at=to_datetime(kept.pushed_at),
            headers=headers_of(kept.entry.headers),
        )
