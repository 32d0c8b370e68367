"""A queue in a directory: one file a task, and the order in the names of the files.

Long: each verb of the contract is a method with its step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from typing import ClassVar

from lowq.backend import (
    NOW,
    Acked,
    Counts,
    Dedupe,
    Item,
    Lease,
    LeaseLost,
    Pushed,
    State,
    Task,
    Work,
)
from lowq.backends.files.claims import TOGETHER, Claims
from lowq.backends.files.content import Content, Wrong, read
from lowq.backends.files.folder import Durability, Folder
from lowq.backends.files.forks import register
from lowq.backends.files.inbox import Inbox
from lowq.backends.files.index import Index
from lowq.backends.files.journal import Change
from lowq.backends.files.ledger import Ledger
from lowq.backends.files.mutex import Mutex
from lowq.backends.files.names import Name, moment, parse, stamp
from lowq.backends.files.pushes import Pushes
from lowq.backends.files.settings import INNER, names_at
from lowq.backends.files.standing import Standing, start_of
from lowq.backends.files.tasks import Tasks
from lowq.backends.wakeup import Bell, Listener
from lowq.clock import Clock, choose_clock, deadline, span, to_datetime, to_micros
from lowq.location import folder_of, inside
from lowq.process.handlers import let_through
from lowq.rules.adoption import adoptions
from lowq.rules.entry import Entry, entries, entry
from lowq.rules.leases import (
    check_id,
    check_lease,
    check_leases,
    check_number,
    check_reason,
    deadline_of_next,
    explain_lost,
)
from lowq.rules.names import check_dedupe, check_name
from lowq.rules.options import check_choice, flag_of, length_of
from lowq.rules.origin import let_through_strange
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import check_page
from lowq.rules.transaction import no_transaction

_LOOK_AGAIN = timedelta(milliseconds=500)
"""How long a waiting claim trusts the bell, and how long what was dropped into ``new/`` waits at most."""


class FilesBackend:
    """A client of a queue in a directory, usable by many threads and, in both, after a fork.

    `durability` is ``"power"`` (a push that returned survives the loss of power: its file and the directory are
    synced), ``"process"`` or ``"none"`` (it survives the death of the process). `patience` is how long to wait for
    others before BackendUnavailable. `create=False` refuses a directory or name where no queue is; otherwise it is
    made. In a URL: ``files:///var/lib/jobs?durability=process&patience=5`` (seconds).
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("durability", "patience", "create")

    promises = frozenset(
        "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch bulk wait key"
        " headers names inspect json prompt close clock persistent threads processes crash".split()
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        name: str = "default",
        dedupe: Dedupe | None = None,
        clock: Clock | None = None,
        durability: Durability = "power",
        patience: timedelta | str = timedelta(seconds=30),
        create: bool | str = True,
    ) -> None:
        patience, create = length_of(patience, "patience"), flag_of(create, "create")
        check_name(name)
        check_dedupe(dedupe)
        check_choice(durability, "durability", ("power", "process", "none"))
        self.where = root = os.path.abspath(path)
        self.name = name
        self._clock = choose_clock(clock)
        mutex = Mutex(os.path.join(folder_of(root, name), INNER, "lock"), patience)
        self._folder = Folder(root, name, durability=durability, mutex=mutex)
        self._ledger = Ledger(self._folder)
        self._tasks = Tasks(self._folder, self._ledger, self._now)
        self._claims = Claims(self._folder, self._ledger, self._tasks)
        self._standing = Standing(self._folder, self._ledger, self._folder.adopt(dedupe, create))
        self._pushes = Pushes(self._folder, self._ledger, self._standing, self._tasks, self._clock)
        self._ledger.arrivals = Inbox(self._folder, self._ledger, self._standing, self._clock).take_in
        self._bell = Bell(inside(root, "bell", name), self._folder.path)
        register(self._folder)

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._standing.dedupe

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
        pushed = self._pushes.adopt(adoptions(tasks))
        self._bell.ring()
        return pushed

    def within(self, connection: object) -> AbstractContextManager[None]:  # noqa: ARG002  # whatever it is
        """Raises NoTransaction: the queue is in no database of the caller's."""
        raise no_transaction(self)

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        lease = next(iter(self._claim(lease_for, 1)), None)
        if lease is not None or wait == NOW:
            return lease
        listener = self._bell.listener()
        try:
            listener.open()
            lease = self._claim_when_there_is_one(lease_for, self._clock.countdown(wait), listener)
            listener.close()
            return lease
        except BaseException:  # and not `finally`, at whose first instruction it would stay open
            listener.close()
            raise

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        return self._claim(lease_for, check_number(limit, "limit", least=1))

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        until = deadline(self._micros(), lease_for)
        check_lease(lease)

        def hold(index: Index) -> Lease:
            name = self._tasks.name_held(index, lease)
            longer = name._replace(state="leased", due=stamp(to_datetime(until)))
            task = self._tasks.task(longer, self._tasks.content(index, name, lease), State.LEASED)
            self._settle(index, lease, [(str(name), str(longer))] if longer != name else [])
            return Lease(task, lease.token, to_datetime(until))

        return self._ledger.alone(hold)

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        check_lease(lease)
        now = self._micros()
        until = None if claim_for is None else deadline(now, claim_for, "claim_for")

        def step(index: Index) -> Lease | None:
            if until is not None:
                self._claims.promote_all(index, now)
            name = str(self._tasks.name_held(index, lease))
            if until is None:
                self._settle(index, lease, [(name, "")])
                return None
            index.remove(name)
            return next(iter(self._claims.take(index, until, 1, [(name, "")])), None)

        following = self._ledger.alone(step)
        self._folder.sync()
        return following

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)
        now = self._micros()
        until = deadline_of_next(claim, lease_for, now)

        def step(index: Index) -> Acked:
            if claim:
                self._claims.promote_all(index, now)
            answers: list[str | None] = []
            changes: list[Change] = []
            for lease in settled:
                try:
                    name = str(self._tasks.name_held(index, lease))
                    index.remove(name)
                    changes.append((name, ""))
                    answers.append(None)
                except LeaseLost as error:
                    answers.append(str(error))
            while len(changes) > TOGETHER:
                self._ledger.change(index, changes[:TOGETHER])
                del changes[:TOGETHER]
            return Acked(tuple(answers), tuple(self._claims.take(index, until, claim, changes)))

        acked = self._ledger.alone(step)
        self._folder.sync()
        return acked

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
        check_lease(lease)

        def wait(index: Index) -> None:
            name = self._tasks.name_held(index, lease)
            due = "" if again is None or again <= self._micros() else stamp(to_datetime(again))
            content = self._tasks.content(index, name, lease)
            attempts = name.attempts - bool(uncount)
            after = name._replace(state="scheduled" if due else "ready", due=due, attempts=attempts, token="")
            told = content._replace(reason=reason, not_before=content.not_before if again is None else again)
            self._move(index, lease, name, after, content, told)

        self._ledger.alone(wait)
        self._folder.sync()
        self._bell.ring()

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        check_lease(lease)

        def bury(index: Index) -> None:
            name = self._tasks.name_held(index, lease)
            content = self._tasks.content(index, name, lease)
            after = name._replace(state="dead", due="", token="")
            self._move(index, lease, name, after, content, content._replace(reason=reason))

        self._ledger.alone(bury)
        self._folder.sync()

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        check_id(id)

        def revive(index: Index) -> bool:
            name = self._tasks.find(index, id)
            if name is None or name.state != "dead":
                return False
            try:
                digest = read(self._folder.read(str(name))).entry().digest
            except FileNotFoundError as error:
                let_through(error)
                self._ledger.forget(index, str(name))
                return False
            except (Wrong, TypeError, ValueError) as error:
                let_through_strange(error)
                self._ledger.set_aside(index, str(name), str(error))
                return False
            if self._standing.find(index, digest, self._now()) is not None:
                return False
            after = name.ready()._replace(attempts=0, digest=start_of(digest))
            return not self._ledger.change(index, [(str(name), str(after))])

        revived = self._ledger.alone(revive)
        if revived:
            self._folder.sync()
            self._bell.ring()
        return revived

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        check_id(id)

        def remove(index: Index) -> bool:
            name = self._tasks.find(index, id)
            if name is None or (name.state == "leased" and name.due > self._now()):
                return False
            return not self._ledger.change(index, [(str(name), "")])

        removed = self._ledger.alone(remove)
        if removed:
            self._folder.sync()
        return removed

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id)
        return self._ledger.alone(lambda index: self._tasks.read_task(index, self._tasks.find(index, id)))

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
        limit = check_page(state, after, limit)

        def page(index: Index) -> list[Task]:
            found: list[Task] = []
            for name in self._tasks.page(index, self._now(), state, after):
                if limit is not None and len(found) >= limit:
                    break
                task = self._tasks.read_task(index, parse(name))
                if task is not None:
                    found.append(task)
            return found

        return self._ledger.alone(page)

    def count(self) -> Counts:
        """How many tasks are in each state."""
        return self._ledger.alone(lambda index: index.counts(self._now()))

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        due = self._ledger.alone(lambda index: index.next_due())
        return None if due is None else moment(due)

    def names(self) -> list[str]:
        """The names of the queues in the directory."""
        self._ledger.open()
        return names_at(self.where)

    def close(self) -> None:
        """The files are let go; twice is fine; anything else afterwards raises QueueClosed."""
        self._folder.shut()
        self._bell.ring()  # for a claim of this client that waits

    def __del__(self) -> None:
        """Whoever drops a client without closing it leaves no file open."""
        with suppress(AttributeError):
            self._folder.close()

    def _claim_when_there_is_one(
        self, lease_for: timedelta, left: Callable[[], timedelta], listener: Listener
    ) -> Lease | None:
        woken = False
        while True:
            last = left() <= NOW
            lease = next(iter(self._claim(lease_for, 1)), None)
            if lease is not None and woken and self.count().ready:
                self._bell.ring()  # one ring may have stood for several tasks, and others may be asleep
            if lease is not None or last:
                return lease
            due = self.next_due()
            nap = min(left(), _LOOK_AGAIN)
            if due is not None:
                nap = min(nap, due - self._clock.now())
            woken = self._clock.wait(listener.heard, nap)

    def _now(self) -> str:
        return stamp(self._clock.now())

    def _micros(self) -> int:
        return to_micros(self._clock.now(), "clock.now()")

    def _push(self, batch: list[Entry]) -> list[Pushed]:
        pushed = self._pushes.keep(batch)
        if any(each.added for each in pushed):
            self._bell.ring()
        warn_of_own_work(self, pushed)
        return pushed

    def _claim(self, lease_for: timedelta, limit: int) -> list[Lease]:
        deadline(0, lease_for)

        def take(index: Index) -> list[Lease] | None:
            now = self._micros()
            if not self._claims.promote(index, now):
                return None  # others may have their turn before the rest falls due
            return self._claims.take(index, deadline(now, lease_for), limit, [])

        while (leases := self._ledger.alone(take)) is None:
            pass
        return leases

    def _move(self, index: Index, lease: Lease, name: Name, after: Name, content: Content, told: Content) -> None:
        """The task of the lease has another name, and another content where that differs."""
        if told[1:] == content[1:]:
            self._settle(index, lease, [(str(name), str(after))])
            return
        written = self._folder.write(told.data())
        try:
            self._settle(index, lease, [(written, str(name)), (str(name), str(after))])
        finally:
            self._folder.discard(written)

    def _settle(self, index: Index, lease: Lease, changes: list[Change]) -> None:
        """The change of the lease's task is made. Raises LeaseLost where its file is gone."""
        if self._ledger.change(index, changes):
            raise LeaseLost(explain_lost(lease, None))
