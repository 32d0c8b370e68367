"""A queue in one SQLite file: the reference.

Long: each verb of the contract is a method with its statement.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import ClassVar, cast, get_args

from lowq.backend import (
    NOW,
    Acked,
    CorruptQueue,
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
from lowq.backends.numbers import number
from lowq.backends.sqlite.claims import claim, claim_all
from lowq.backends.sqlite.database import Durability
from lowq.backends.sqlite.pushes import READY, SCHEDULED, adopt_all, keep, keep_all, standing_task
from lowq.backends.sqlite.room import BoundedDatabase
from lowq.backends.sqlite.rows import COLUMNS, Row, counts, fetch, is_anything_due, list_tasks, task_of
from lowq.backends.sqlite.shared import SharedDatabase, push_within
from lowq.backends.wakeup import Bell, Listener
from lowq.beside import check_links, true_path
from lowq.clock import LAST_MICROS, Clock, choose_clock, deadline, span, to_datetime, to_micros
from lowq.location import beside
from lowq.rules.adoption import adoptions
from lowq.rules.callers import caller_of
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
from lowq.rules.names import check_dedupe, check_name, check_same_dedupe, no_queue
from lowq.rules.options import flag_of, length_of
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import check_page
from lowq.rules.transaction import Joined, find_joined, joining, no_transaction, queue_of

_LOOK_AGAIN = timedelta(milliseconds=500)
"""How long a waiting claim trusts the bell."""


class SQLiteBackend:
    """A client of a queue in an SQLite file, usable by many threads and, in both, after a fork.

    `durability` is ``"power"`` (a push that returned survives the loss of power), ``"process"`` (the death of the
    process; several times faster on most disks) or ``"none"`` (for tests: the loss of power may damage the file).
    `patience` is how long to wait for other writers before BackendUnavailable. `create=False` refuses a path or name
    where no queue is. `shared`: the file is the application's, with tables of its own, and `within` pushes in its
    transactions. In a URL: ``?durability=process&patience=5`` (seconds).
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("durability", "patience", "create", "shared")

    _OWN = frozenset(
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
        shared: bool | str = False,
    ) -> None:
        patience, create = length_of(patience, "patience"), flag_of(create, "create")
        self._shared = flag_of(shared, "shared")
        check_name(name)
        check_dedupe(dedupe)
        self.where = file = true_path(path)
        check_links(file)
        self.name = name
        time = self._clock = choose_clock(clock)
        self._bell = Bell(beside(file, "bell", name), file)
        self._was_empty = False
        self._database = (SharedDatabase if self._shared else BoundedDatabase)(
            # Not a method of this client, which would then be a cycle, and keep its connection when it is dropped.
            file,
            create=create,
            durability=durability,
            patience=patience,
            now=lambda: to_micros(time.now(), "clock.now()"),
        )
        try:
            self._queue, self._dedupe = self._adopt(dedupe, create)
        except BaseException:
            self._database.close()
            raise

    @property
    def promises(self) -> frozenset[str]:
        """What this queue keeps; in an application's file, also pushes in its transactions."""
        return self._OWN | {"transaction"} if self._shared else self._OWN

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._dedupe

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
        new = entry(work, key, priority, not_before, headers)
        if (joined := find_joined(self)) is not None:
            return self._push_within(joined, [new])[0]
        pushed = self._database.alone(lambda db: keep(db, self._queue, self._dedupe, new, self._now()))
        if pushed.added:
            self._bell.ring()
        else:
            warn_of_own_work(self, [pushed])
        return pushed

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        batch = entries(items)
        if (joined := find_joined(self)) is not None:
            return self._push_within(joined, batch)
        pushed = self._database.writing(lambda db: keep_all(db, self._queue, self._dedupe, batch, self._now()))
        if any(each.added for each in pushed):
            self._bell.ring()
        warn_of_own_work(self, pushed)
        return pushed

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks, which another queue had, are kept or none; see `lowq.backend.Adopting`."""
        batch = adoptions(tasks)
        pushed = self._database.writing(lambda db: adopt_all(db, self._queue, self._dedupe, batch, self._now()))
        self._bell.ring()
        return pushed

    def within(self, connection: object) -> AbstractContextManager[None]:
        """Inside, pushes are part of the transaction on this connection to the file, which is the application's."""
        if not self._shared:
            raise no_transaction(self)
        self._database.check_open()
        return joining(queue_of(self), caller_of(connection, "sqlite"))

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        if wait is not NOW:
            span(wait, "wait")
        if leases := self._claim(lease_for, 1):
            return leases[0]
        if wait == NOW:
            self._database.give_room_back(NOW, self._anything_due)
            return None
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
        limit = check_number(limit, "limit", least=1)
        return self._claim(lease_for, limit)

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        until = deadline(self._now(), lease_for)

        def hold(db: sqlite3.Cursor) -> Task:
            self._settle(db, lease, "UPDATE task SET state = 2, due = ?", until)
            return task_of(cast(Row, self._row(db, lease.id)), until - 1)

        return Lease(self._database.writing(hold), lease.token, to_datetime(until))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        check_lease(lease)
        if claim_for is None:
            self._database.alone(lambda db: self._delete(db, lease))
            return None
        now = self._now()
        until = deadline(now, claim_for, "claim_for")

        def go_on(db: sqlite3.Cursor) -> list[Lease]:
            self._delete(db, lease)
            return claim_all(db, self._queue, now, until, 1)

        return next(iter(self._database.writing(go_on)), None)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)
        now = self._now()
        until = deadline_of_next(claim, lease_for, now)

        def go_on(db: sqlite3.Cursor) -> Acked:
            lost = tuple([self._delete_held(db, lease) for lease in settled])
            return Acked(lost, tuple(claim_all(db, self._queue, now, until, claim)) if claim else ())

        return self._database.writing(go_on)

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

        def wait(db: sqlite3.Cursor) -> None:
            due = again if again is not None and again > self._now() else None
            self._settle(
                db,
                lease,
                "UPDATE task SET token = NULL, reason = ?, attempts = attempts - ?, state = ?, due = ?,"
                " not_before = coalesce(?, not_before)",
                reason,
                bool(uncount),
                READY if due is None else SCHEDULED,
                due,
                again,
            )

        self._database.alone(wait)
        self._bell.ring()

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        change = "UPDATE task SET state = 3, token = NULL, due = NULL, reason = ?"
        self._database.alone(lambda db: self._settle(db, lease, change, reason))

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        check_id(id)

        def revive(db: sqlite3.Cursor) -> bool:
            statement = "SELECT id, digest FROM task WHERE id = ? AND queue = ? AND state = 3"
            dead = next(iter(fetch(db, statement, (number(id), self._queue))), None)
            if dead is None or standing_task(db, self._queue, self._dedupe, dead[1], self._now()) is not None:
                return False
            db.execute("UPDATE task SET state = 1, attempts = 0 WHERE id = ?", dead[:1])
            return True

        revived = self._database.writing(revive)
        if revived:
            self._bell.ring()
        return revived

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        check_id(id)
        statement = "DELETE FROM task WHERE id = ? AND queue = ? AND (state <> 2 OR due <= ?)"
        cancelled = self._database.alone(
            lambda db: db.execute(statement, (number(id), self._queue, self._now())).rowcount
        )
        return cancelled == 1

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id)
        row = self._database.reading(lambda db: self._row(db, id))
        return None if row is None else task_of(row, self._now())

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
        limit = check_page(state, after, limit)
        order = (State.READY, State.SCHEDULED, State.LEASED, State.DEAD)

        def read(db: sqlite3.Cursor) -> list[Task]:
            page: list[Task] = []
            now = self._now()
            for each in order[0 if after is None else order.index(after.state) :]:
                if state in (None, each):
                    left = None if limit is None else limit - len(page)
                    behind = after if after is not None and after.state is each else None
                    page += list_tasks(db, self._queue, now, each, behind, left)
            return page

        return self._database.reading(read)

    def count(self) -> Counts:
        """How many tasks are in each state."""
        return self._database.reading(lambda db: counts(db, self._queue, self._now()))

    def names(self) -> list[str]:
        """The names of the queues in this file."""
        rows = self._database.reading(lambda db: fetch(db, "SELECT name FROM queue ORDER BY name"))
        return [name for (name,) in rows if isinstance(name, str)]

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        statement = "SELECT due FROM task WHERE queue = ? AND due BETWEEN 0 AND ? ORDER BY due LIMIT 1"
        rows = self._database.reading(lambda db: fetch(db, statement, (self._queue, LAST_MICROS)))
        return to_datetime(int(rows[0][0])) if rows else None

    def close(self) -> None:
        """The connection is let go; twice is fine; anything else afterwards raises QueueClosed."""
        self._database.close()
        self._bell.ring()  # for a claim of this client that waits

    def check_fork(self) -> None:
        """Raise BackendUnavailable where a forked worker could not use the file."""
        if isinstance(self._database, SharedDatabase):
            self._database.check_fork()

    def _push_within(self, joined: Joined, batch: list[Entry]) -> list[Pushed]:
        self._database.check_open()
        if not batch:
            return []
        pushed = push_within(joined, self.where, self._queue, self._dedupe, batch, self._now())
        if any(each.added for each in pushed):
            joined.ring_after_commit(self._bell.ring)
        warn_of_own_work(self, pushed)
        return pushed

    def _now(self) -> int:
        return to_micros(self._clock.now(), "clock.now()")

    def _adopt(self, dedupe: Dedupe | None, create: bool) -> tuple[int, Dedupe]:
        """The number and the dedupe of the queue of this name, which is made where it is new."""

        def find(db: sqlite3.Cursor) -> tuple[int, Dedupe] | None:
            rows = fetch(db, "SELECT id, dedupe FROM queue WHERE name = ?", (self.name,))
            return cast("tuple[int, Dedupe]", rows[0]) if rows else None

        def make(db: sqlite3.Cursor) -> tuple[int, Dedupe] | None:
            statement = "INSERT OR IGNORE INTO queue (name, dedupe) VALUES (?, ?)"
            db.execute(statement, (self.name, dedupe or "until_done"))
            return find(db)

        row = self._database.reading(find)
        if row is None and not create:
            raise no_queue(self._database.path, self.name, self.names())
        if row is None:
            row = self._database.writing(make)
        if row is None or type(row[0]) is not int or row[1] not in get_args(Dedupe):
            raise CorruptQueue(f"{self._database.path} is damaged (its table of queues); restore it from a copy")
        check_same_dedupe(self._database.path, self.name, row[1], dedupe)
        return row

    def _claim(self, lease_for: timedelta, limit: int) -> list[Lease]:
        deadline(0, lease_for)
        if self._was_empty and not self._anything_due():
            return []  # without the write lock, which idle workers would fight for

        def take(db: sqlite3.Cursor) -> list[Lease] | None:
            now = self._now()
            return claim(db, self._queue, now, deadline(now, lease_for), limit)

        while (taken := self._database.writing(take)) is None:
            pass  # so much fell due that others get their turn in between
        self._was_empty = not taken
        return taken

    def _claim_when_there_is_one(
        self, lease_for: timedelta, left: Callable[[], timedelta], listener: Listener
    ) -> Lease | None:
        woken = False
        while True:
            last = left() <= NOW
            lease = next(iter(self._claim(lease_for, 1)), None)
            if lease is not None and woken and self._anything_due():
                self._bell.ring()  # one ring may have stood for several tasks, and others may be asleep
            if lease is not None or last:
                return lease
            due = self.next_due()
            nap = min(left(), _LOOK_AGAIN)
            if due is not None:
                nap = min(nap, due - self._clock.now())
            self._database.give_room_back(nap, self._anything_due)
            woken = self._clock.wait(listener.heard, nap)

    def _anything_due(self) -> bool:
        return self._database.reading(lambda db: is_anything_due(db, self._queue, self._now()))

    def _settle(self, db: sqlite3.Cursor, lease: Lease, change: str, *values: object) -> None:
        """Do `change` to the task of a lease that is still the caller's."""
        check_lease(lease)
        changed = db.execute(
            f"{change} WHERE id = ? AND token = ? AND queue = ?",
            (*values, number(lease.id), lease.token, self._queue),
        )
        if changed.rowcount != 1:
            raise LeaseLost(self._explain_lost(db, lease))

    def _delete(self, db: sqlite3.Cursor, lease: Lease) -> None:
        if (lost := self._delete_held(db, lease)) is not None:
            raise LeaseLost(lost)

    def _delete_held(self, db: sqlite3.Cursor, lease: Lease) -> str | None:
        """The task of a lease that is still the caller's is gone; what LeaseLost says where it is not."""
        gone = db.execute(
            "DELETE FROM task WHERE id = ? AND token = ? AND queue = ?", (number(lease.id), lease.token, self._queue)
        )
        return None if gone.rowcount == 1 else self._explain_lost(db, lease)

    def _explain_lost(self, db: sqlite3.Cursor, lease: Lease) -> str:
        row = self._row(db, lease.id)
        return explain_lost(lease, None if row is None else task_of(row, self._now()))

    def _row(self, db: sqlite3.Cursor, id: str) -> Row | None:
        statement = f"SELECT {COLUMNS} FROM task WHERE id = ? AND queue = ?"
        rows = fetch(db, statement, (number(id), self._queue))
        return rows[0] if rows else None
