"""A queue in a PostgreSQL database, for many machines.

Long: each verb of the contract is a method with its statement.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal, cast, get_args

from lowq import kernel
from lowq.backend import (
    NOW,
    Acked,
    BackendUnavailable,
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
from lowq.backends.postgres.address import PASSED_ON, address_of
from lowq.backends.postgres.alone import Alone
from lowq.backends.postgres.connection import Connection, Left
from lowq.backends.postgres.database import Database
from lowq.backends.postgres.listing import listing
from lowq.backends.postgres.rows import BIGINT, BYTES, TEXT, Array, Row, Value, columns, read_claimed, task_of, utf8
from lowq.backends.postgres.schema import check_schema
from lowq.backends.postgres.statements import claiming, going_on, pushing, turn
from lowq.backends.postgres.waiting import Listener, locks, wait_for_task
from lowq.backends.postgres.within import push_within
from lowq.clock import Clock, SystemClock, span, to_datetime, to_micros
from lowq.rules.adoption import adoptions
from lowq.rules.callers import caller_of
from lowq.rules.damage import Unreadable, reason_of
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
from lowq.rules.options import check_choice, flag_of, length_of
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import check_page
from lowq.rules.server_time import ServerTime
from lowq.rules.transaction import Joined, find_joined, joining, queue_of

_WINDOWS: Mapping[Dedupe, int] = {"until_done": 0, "until_claimed": 1, "off": 2}
_STATES = {State.SCHEDULED: 0, State.READY: 1, State.DEAD: 3}


class PostgresBackend:
    """A client of a queue in a PostgreSQL database, usable by many threads and, in both, after a fork.

    `schema` is lowq's own in that database. `patience` is how long a server that is away, or a locked queue, is
    waited for before BackendUnavailable. `create=False` refuses a database or name where no queue is. All else is
    libpq's. In a URL: ``?schema=jobs&patience=5`` (seconds).

    `order` "loose" lets claims pass over what others hold just then, and not take turns: faster with many workers,
    and in order but for them, so that neither ``fifo`` nor ``priority`` is promised.

    `pooled` says whether the server's sessions are shared out by the transaction, as PgBouncer does it; None: lowq
    finds out. Then each call brings its settings along, and who waits is not woken, but looks twice a second.

    Time is the server's, unless a `clock` is given, or this program's own time was stopped or moved by a test.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("schema", "patience", "create", "order", "pooled", *PASSED_ON)

    promises = frozenset(
        "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch bulk wait key"
        " headers names inspect json prompt close clock persistent threads processes crash transaction".split()
    )

    def __init__(
        self,
        place: str,
        *,
        name: str = "default",
        dedupe: Dedupe | None = None,
        clock: Clock | None = None,
        schema: str = "lowq",
        patience: timedelta | str = timedelta(seconds=10),
        create: bool | str = True,
        order: Literal["strict", "loose"] = "strict",
        pooled: bool | str | None = None,
        **libpq: Any,
    ) -> None:
        patience, create = length_of(patience, "patience"), flag_of(create, "create")
        check_name(name)
        check_dedupe(dedupe)
        check_schema(schema)
        check_choice(order, "order", ("strict", "loose"))
        self._is_loose = order == "loose"
        if self._is_loose:
            self.promises = self.promises - {"fifo", "priority"}
        address = address_of(place, schema, libpq)
        self.where = address.identity
        self.name = name
        self._time = ServerTime(clock)
        self._was_empty = False
        self._alone: Callable[[], Alone | None] = _nobody
        """Only the block keeps it, so that it ends with that, also where the block's own end is cut off."""
        self._s = f'"{schema}".'
        pooled = None if pooled is None else flag_of(pooled, "pooled")
        self._database = Database(address, schema=schema, create=create, patience=patience, pooled=pooled)
        try:
            self._queue, self._dedupe = self._adopt(dedupe, create)
            self._turn = turn(self._s)
            self._claiming = {one: claiming(self._s, one=one, loose=self._is_loose) for one in (True, False)}
            self._going_on = going_on(self._s)
            self._pushing = pushing(self._s, _WINDOWS[self._dedupe])
        except BaseException:
            self._database.close()
            raise

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._dedupe

    @property
    def pooled(self) -> bool:
        """Whether something between shares the server's sessions out, so that who waits looks twice a second."""
        return bool(self._database.pooled)

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
        kept = self._database.call(lambda connection, left, _: self._push(connection, left, new))
        pushed = Pushed(str(abs(kept)), kept > 0)
        if kept < 0:
            warn_of_own_work(self, [pushed])
        return pushed

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        batch = entries(items)
        if not batch:
            self._database.check_open()
            return []
        if (joined := find_joined(self)) is not None:
            return self._push_within(joined, batch)
        first: dict[bytes, int] = {}
        places: list[int] = []
        fresh: list[Entry] = []
        for new in batch:
            place = first.get(new.digest) if self._dedupe != "off" else None
            if place is None:
                place = first[new.digest] = len(fresh)
                fresh.append(new)
            places.append(place)
        rows = self._database.ask(
            f"SELECT id, added FROM {self._s}push_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ORDER BY place",
            *self._entered,
            _WINDOWS[self._dedupe],
            *_arrays(fresh),
        )
        seen: set[int] = set()
        pushed = []
        for place in places:
            id, added = rows[place]
            pushed.append(Pushed(str(id), added and place not in seen))
            seen.add(place)
        warn_of_own_work(self, pushed)
        return pushed

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks, which another queue had, are kept or none; see `lowq.backend.Adopting`."""
        batch = adoptions(tasks)
        rows = self._database.ask(
            f"SELECT id, added FROM {self._s}adopt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
            " ORDER BY place",
            *self._entered,
            _WINDOWS[self._dedupe],
            *_arrays([each.entry for each in batch]),
            Array(BIGINT, [_STATES[each.state] for each in batch]),
            Array(BIGINT, [each.attempts for each in batch]),
            Array(BYTES, [utf8(each.reason) for each in batch]),
            Array(BIGINT, [each.pushed_at for each in batch]),
        )
        return [Pushed(str(id), added) for id, added in rows]

    def within(self, connection: object) -> AbstractContextManager[None]:
        """Inside, pushes are part of the transaction on this connection to the database that the queue is in."""
        self._database.check_open()
        return joining(queue_of(self), caller_of(connection, "postgresql"))

    @contextmanager
    def once_per_cluster(self, told: Callable[[bool], object] | None = None) -> Iterator[None]:
        """Inside, this client claims only while no other one of the queue does that entered such a block, anywhere.

        The others stand by, claim nothing, and take over in the order in which they came when its block or its
        process ends, or its connection breaks. What it has in hand then is its own until the lease ends, and it may
        settle it, so that two tasks can be in hand for as long. Clients outside of such a block claim as ever.
        `told` is called from a claim: with True where it is this client's turn to claim, with False where it stands
        by. One thread at a time claims. Raises ValueError inside such a block, and at the first claim InvalidLocation
        behind a pooler that shares sessions out.
        """
        self._database.check_open()
        if self._alone() is not None:
            raise ValueError("once_per_cluster(): this client is inside such a block already")
        alone = Alone(self._database, locks(self._classes[2], self._queue), told)
        self._alone = weakref.ref(alone)
        try:
            yield
        finally:
            self._alone = _nobody
            alone.end()

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        if wait > NOW and (alone := self._alone()) is not None:
            left = SystemClock().countdown(wait)
            if not alone.wait(wait):
                return None
            wait = max(left(), NOW)
        lease = next(iter(self._claim(lease_for, 1)), None)
        if lease is not None or wait == NOW:
            return lease
        return wait_for_task(
            self._listener(),
            self._time.clock,
            self._time.clock.countdown(wait),
            lambda: next(iter(self._claim(lease_for, 1)), None),
            self._until_due,
        )

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        limit = check_number(limit, "limit", least=1)
        return self._claim(lease_for, limit)

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        length = self._time.length(lease_for)
        check_lease(lease)
        rows = self._database.ask(
            f"SELECT {columns()} FROM {self._s}extend($1, $2, $3, $4, $5)",
            self._queue,
            self._at,
            number(lease.id),
            lease.token,
            length,
            again=True,
        )
        if not rows:
            raise LeaseLost(self._told_lost(lease))
        until = rows[0][8]
        return Lease(task_of(rows[0], until - 1), lease.token, to_datetime(until))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        check_lease(lease)
        length = 0 if claim_for is None else self._time.length(claim_for, "claim_for")
        if claim_for is not None and not self._is_loose:
            acked = self._settle([lease], length, 1, whole=True)
            if acked.lost[0] is not None:
                raise LeaseLost(acked.lost[0])
            return next(iter(acked.claimed), None)
        statement = f"DELETE FROM {self._s}task WHERE id = $1 AND token = $2 AND queue = $3"

        def delete(connection: Connection, left: Left, doubt: bool) -> bool:
            ((acked,),) = connection.ask(statement, (number(lease.id), lease.token, self._queue), left)
            return bool(acked) or (doubt and self._row(connection, lease.id, left) is None)

        if not self._database.call(delete, again=True):
            raise LeaseLost(self._told_lost(lease))
        return None if claim_for is None else next(iter(self._claim_after(claim_for, 1)), None)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)
        now = self._time.now()
        length = deadline_of_next(claim, lease_for, now) - now
        if lease_for is None or not self._is_loose or not claim:
            return self._settle(settled, length, claim, whole=False)
        lost = self._settle(settled, 0, 0, whole=False).lost if settled else ()
        return Acked(lost, tuple(self._claim_after(lease_for, claim)))

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
        ((released,),) = self._database.ask(
            f"SELECT {self._s}release($1, $2, $3, $4, $5, $6, $7, $8)",
            *self._entered,
            number(lease.id),
            lease.token,
            again,
            utf8(reason),
            int(bool(uncount)),
        )
        if not released:
            raise LeaseLost(self._told_lost(lease))

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        check_lease(lease)
        if not self._set_aside(lease.id, lease.token, reason, 0):
            raise LeaseLost(self._told_lost(lease))

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        check_id(id)
        ((redriven,),) = self._database.ask(
            f"SELECT {self._s}redrive($1, $2, $3, $4, $5)", *self._entered, number(id), _WINDOWS[self._dedupe]
        )
        return bool(redriven)

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        check_id(id)
        ((cancelled,),) = self._database.ask(f"SELECT {self._s}cancel($1, $2, $3)", self._queue, self._at, number(id))
        return bool(cancelled)

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id)
        row = self._database.call(lambda connection, left, _: self._row(connection, id, left), again=True)
        return None if row is None else task_of(row, row[-1])

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
        limit = check_page(state, after, limit)
        statement, values = listing(self._s, self._queue, self._at, state, after, limit)
        rows = self._database.ask(statement, *values, again=True) if statement else []
        return [task_of(row, row[-1]) for row in rows]

    def count(self) -> Counts:
        """How many tasks are in each state."""
        (row,) = self._database.ask(
            f"SELECT scheduled, ready, leased, dead FROM {self._s}counts($1, $2)", self._queue, self._at, again=True
        )
        return Counts(*row)

    def names(self) -> list[str]:
        """The names of the queues in this database."""
        rows = self._database.ask(f"SELECT name FROM {self._s}queue", again=True)
        return sorted(name.decode(errors="replace") for (name,) in rows)

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        due, _ = self._next_due()
        return None if due is None else to_datetime(due)

    def close(self) -> None:
        """The connections are let go; twice is fine; anything else afterwards raises QueueClosed."""
        self._database.close()
        if (alone := self._alone()) is not None:
            alone.end()

    def _push(self, connection: Connection, left: Left, new: Entry) -> int:
        """The id of the task that is kept, or with its sign turned that of the one which refuses it."""
        at, what = self._at, (new.digest, utf8(new.key), new.text.encode(), utf8(new.headers), new.crc)
        if new.not_before is None and connection.setting is None:
            values = (self._queue, at, -new.priority, *what)
            for id, _ in connection.ask_behind(self._turn, self._queue, self._pushing, values, left):
                return int(id)
        ((kept,),) = connection.ask(
            f"SELECT {self._s}push_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            (
                self._queue,
                self._database.patience,
                at,
                _WINDOWS[self._dedupe],
                -new.priority,
                new.not_before,
                *what,
            ),
            left,
        )
        return int(kept)

    def _push_within(self, joined: Joined, batch: list[Entry]) -> list[Pushed]:
        self._database.check_open()
        database, window = self._database, _WINDOWS[self._dedupe]
        pushed = push_within(
            joined,
            self._s,
            database.shown,
            self._queue,
            database.identity,
            self._at,
            window,
            batch,
            database.translate,
        )
        warn_of_own_work(self, pushed)
        return pushed

    @property
    def _at(self) -> int | None:
        """The instant for the server: None where it is to ask its own clock."""
        return self._time.instant()

    @property
    def _entered(self) -> tuple[int, int, int | None]:
        """What every verb that takes the queue's lock begins with."""
        return self._queue, self._database.patience, self._at

    def _set_aside(self, id: str, token: str, reason: str, taken: int, *, again: bool = False) -> bool:
        """Whether the task, which was leased under that token, is dead now; `taken` attempts were none."""
        ((aside,),) = self._database.ask(
            f"SELECT {self._s}dead_letter($1, $2, $3, $4, $5)",
            self._queue,
            number(id),
            token,
            utf8(reason),
            taken,
            again=again,
        )
        return bool(aside)

    def _adopt(self, dedupe: Dedupe | None, create: bool) -> tuple[int, Dedupe]:
        """The number and the dedupe of the queue of this name, which is made where it is new."""
        classes = ", ".join(f"'{self._s}{table}'::regclass::oid::bigint" for table in ("queue", "task", "about"))
        find = f"SELECT id, dedupe, {classes} FROM {self._s}queue WHERE name = $1"
        rows = self._database.ask(find, self.name.encode(), again=True)
        if not rows and not create:
            raise no_queue(self._database.shown, self.name, self.names())
        if not rows:
            self._database.ask(
                f"INSERT INTO {self._s}queue (name, dedupe) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                self.name.encode(),
                dedupe or "until_done",
                again=True,
            )
            rows = self._database.ask(find, self.name.encode(), again=True)
        if not rows or rows[0][1] not in get_args(Dedupe):
            raise CorruptQueue(f"{self._database.shown} is damaged (its table of queues); restore it from a copy")
        id, found, *self._classes = rows[0]
        check_same_dedupe(self._database.shown, self.name, found, dedupe)
        return id, cast(Dedupe, found)

    def _claim(self, lease_for: timedelta, limit: int) -> list[Lease]:
        length, token = self._time.length(lease_for), _new_token()
        statement = f"SELECT {columns()} FROM {self._s}claim($1, $2, $3, $4, $5, $6, $7, $8)"
        if self._is_loose:
            statement = f"SELECT {columns()} FROM {self._s}claim_loose($1, $2, $3, $4, $5, $6, $7)"

        alone = self._alone()

        def claim(connection: Connection, left: Left, doubt: bool) -> list[Row]:
            if alone is not None and not connection.alone:
                return self._find_claimed(connection, length, token, left) if doubt else []
            if not (doubt or self._was_empty) and connection.setting is None:
                ready, quick = self._claiming[limit == 1], (self._queue, self._at, length, limit, token)
                if self._is_loose:
                    rows = connection.ask(ready, quick, left)
                else:
                    rows = connection.ask_behind(self._turn, self._queue, ready, quick, left)
                if rows:
                    return rows
            values: tuple[Value, ...] = (*self._entered, length, limit, token)
            more = (doubt,) if self._is_loose else (self._was_empty, doubt)
            return connection.ask(statement, (*values, *more), left)

        while True:
            rows = self._database.call(claim, again=True, by=alone)
            self._was_empty = not rows
            leases = self._leases(rows, token)
            if leases or not rows:
                return leases

    def _find_claimed(self, connection: Connection, length: int, token: str, left: Left) -> list[Row]:
        """What an earlier try of a claim got before its connection broke; nothing more is claimed."""
        statement = f"SELECT {columns()} FROM {self._s}claim($1, $2, $3, $4, $5, $6, true, true)"
        return connection.ask(statement, (*self._entered, length, 0, token), left)

    def _claim_after(self, lease_for: timedelta, limit: int) -> list[Lease]:
        """What is claimed after a settling, which is done whatever becomes of this: loosely, it is one by itself."""
        try:
            return self._claim(lease_for, limit)
        except BackendUnavailable:
            return []

    def _settle(self, leases: list[Lease], length: int, most: int, *, whole: bool) -> Acked:
        token = _new_token()
        statement = (
            f"SELECT place, {columns('(task).')} FROM {self._s}settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        )
        ids = Array(BIGINT, [number(lease.id) for lease in leases])
        tokens = Array(TEXT, [lease.token for lease in leases])
        alone = self._alone() if most else None

        def settle(connection: Connection, left: Left, doubt: bool) -> list[Row]:
            most_now = most if alone is None or connection.alone else 0
            if whole and most_now and not (doubt or self._was_empty) and connection.setting is None:
                held = (number(leases[0].id), leases[0].token)
                quick = (self._queue, self._at, length, most, token, *held)
                if rows := connection.ask_behind(self._turn, self._queue, self._going_on, quick, left):
                    return [(None, *row) for row in rows]
            values = (*self._entered, ids, tokens, length, most_now, token, whole, doubt)
            return connection.ask(statement, values, left)

        rows = self._database.call(settle, again=True, by=alone)
        told: list[str | None] = [None] * len(leases)
        for place, *row in rows:
            if place is not None:
                task = None if row[0] is None else task_of(tuple(row), self._time.now())
                told[place - 1] = explain_lost(leases[place - 1], task)
        taken = [row[1:] for row in rows if row[0] is None]
        if most and not (whole and any(told)):
            self._was_empty = not taken
        return Acked(tuple(told), tuple(self._leases(taken, token)))

    def _leases(self, rows: list[Row], token: str) -> list[Lease]:
        """The leases of rows that were just claimed, in claim order; what cannot be read is dead, with the reason."""
        leases = []
        for row in sorted(rows, key=lambda row: (row[3], row[0])):
            try:
                leases.append(Lease(read_claimed(row), f"{token}{row[0]}", to_datetime(row[8])))
            except Unreadable as error:
                self._set_aside(str(row[0]), f"{token}{row[0]}", reason_of(error), 1, again=True)
        return leases

    def _next_due(self) -> tuple[int | None, int]:
        """The earliest instant at which something happens by itself, and now."""
        (row,) = self._database.ask(
            f"SELECT first, now FROM {self._s}next_due($1, $2)", self._queue, self._at, again=True
        )
        return row[0], row[1]

    def _listener(self) -> Listener:
        return Listener(self._database, f"lowq_{self._classes[0]}_{self._queue}", (self._classes[1], self._queue))

    def _until_due(self) -> timedelta | None:
        """How long until something happens by itself, by the queue's clock."""
        due, now = self._next_due()
        return None if due is None else timedelta(microseconds=due - now)

    def _told_lost(self, lease: Lease) -> str:
        row = self._database.call(lambda connection, left, _: self._row(connection, lease.id, left), again=True)
        return explain_lost(lease, None if row is None else task_of(row, row[-1]))

    def _row(self, connection: Connection, id: str, left: Left) -> Row | None:
        """The row of the task, and now; None where there is none."""
        statement = f"SELECT {columns('(task).')}, now FROM {self._s}look($1, $2, $3)"
        rows = connection.ask(statement, (self._queue, self._at, number(id)), left)
        return rows[0] if rows else None


def _nobody() -> None:
    """There is no block in which this client claims once per cluster."""


def _new_token() -> str:
    """The beginning of the tokens of one claim, told apart by their ids."""
    return f"{kernel.urandom(8).hex()}-"


def _arrays(batch: list[Entry]) -> list[Array]:
    """The entries by column."""
    return [
        Array(BIGINT, [-new.priority for new in batch]),
        Array(BIGINT, [new.not_before for new in batch]),
        Array(BYTES, [new.digest for new in batch]),
        Array(BYTES, [utf8(new.key) for new in batch]),
        Array(BYTES, [new.text.encode() for new in batch]),
        Array(BYTES, [utf8(new.headers) for new in batch]),
        Array(BIGINT, [new.crc for new in batch]),
    ]
