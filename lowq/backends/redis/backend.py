"""A queue in a Redis or Valkey server.

Every verb is one Lua script, which the server runs alone; what is kept, and under which keys, stands in `lua/`. All
keys of a queue have its name as their hash tag, so that one node of a cluster has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from lowq import kernel
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
from lowq.backends.redis.address import Kind, address_of
from lowq.backends.redis.queue import Queue, check_prefix
from lowq.backends.redis.records import holder_of, instant, lease_of, number, place_of, split, task_of
from lowq.backends.redis.settings import Durability, durability_of
from lowq.backends.redis.transport import Transport
from lowq.clock import Clock, span, to_datetime, to_micros
from lowq.rules.adoption import adoptions
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
from lowq.rules.names import check_dedupe, check_name
from lowq.rules.options import flag_of, length_of
from lowq.rules.own_work import warn_of_own_work
from lowq.rules.paging import STATES, check_page, place_in_list
from lowq.rules.server_time import ServerTime
from lowq.rules.transaction import no_transaction

_LOOK_AGAIN = timedelta(seconds=1)
"""How long a waiting claim trusts that it is woken: who took a ring may have died, and leases begin silently."""
_PAGE = 10_000
"""Tasks of one answer at most: a script holds up everybody else."""
_CLAIMED = 1_000
"""Leases of one script at most."""
_STATE = {State.READY: b"R", State.SCHEDULED: b"S", State.LEASED: b"L", State.DEAD: b"D"}

_PROMISES = frozenset(
    "fifo priority not_before lease fenced shared_lease extend release dead_letter cancel batch bulk wait key"
    " headers names inspect json prompt close clock threads processes".split()
)


class RedisBackend:
    """A client of a queue in a Redis or Valkey server, usable by many threads and, in both, after a fork.

    `prefix` begins all keys, so that one database holds queues that know nothing of each other. `patience` is how
    long a server that is away is waited for before BackendUnavailable. `password` and `db` may be given apart from
    the URL. `ca` names a file of certificates to trust instead of the system's. `create=False` refuses a name where
    no queue is. In a URL: ``?prefix=shop&patience=5`` (seconds).

    Time is the server's, unless a `clock` is passed in.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("prefix", "patience", "password", "db", "ca", "create")

    _kind: ClassVar[Kind] = "tcp"

    def __init__(
        self,
        place: str,
        *,
        name: str = "default",
        dedupe: Dedupe | None = None,
        clock: Clock | None = None,
        prefix: str = "lowq",
        patience: timedelta | str = timedelta(seconds=10),
        password: str | None = None,
        db: int | str | None = None,
        ca: str | None = None,
        create: bool | str = True,
    ) -> None:
        patience, create = length_of(patience, "patience"), flag_of(create, "create")
        check_name(name)
        check_dedupe(dedupe)
        check_prefix(prefix)
        address = address_of(self._kind, place, db, password, ca)
        self.name = name
        self.where = f"{address}#{prefix}"
        self._time = ServerTime(clock)
        self._server = Transport(address, patience=patience, patterns=f"~{prefix}:names ~{{{prefix}:*")
        try:
            self._queue = Queue(self._server, prefix, name, self._instant)
            self._queue.adopt(dedupe, create=create)
            self._durability = durability_of(self._server)
        except BaseException:
            self._server.close()
            raise
        self._server.opening = False

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused."""
        return self._queue.dedupe

    @property
    def durability(self) -> Durability:
        """What a push that returned survives, as the server is configured: see `settings.Durability`."""
        return self._durability

    @property
    def promises(self) -> frozenset[str]:
        """What this queue keeps, as the server is configured: without a log of its changes, nothing for good."""
        return _PROMISES | ({"persistent", "crash"} if self._durability in ("power", "second") else set())

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
        batch = entries(items)
        return self._push(batch)

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks, which another queue had, are kept or none; see `lowq.backend.Adopting`."""
        parts: list[bytes] = []
        for new, state, attempts, reason, pushed_at in adoptions(tasks):
            parts += (*_pack(new), _STATE[state], b"%d" % attempts, _sign(reason), instant(pushed_at))
        return _read_pushed(self._queue.change("adopt", *parts))

    def within(self, connection: object) -> AbstractContextManager[None]:  # noqa: ARG002  # whatever it is
        """Raises NoTransaction: the queue is in no database of the caller's."""
        raise no_transaction(self)

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due."""
        span(wait, "wait")
        left = self._time.clock.countdown(wait)
        woken = False
        while True:
            last = left() <= NOW
            leases, sleep = self._claim(lease_for, 1, woken=woken)
            if leases or last:
                return next(iter(leases), None)
            nap = min(left(), _LOOK_AGAIN)
            if sleep is not None:
                nap = min(nap, sleep)
            woken = self._time.clock.wait(self._heard, nap)

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order."""
        limit = check_number(limit, "limit", least=1)
        return self._claim(lease_for, limit)[0]

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token."""
        length = self._length(lease_for)
        answer = self._settle("extend", lease, *length)
        return Lease(task_of(answer[4][0], int(answer[2]) - 1), lease.token, to_datetime(int(answer[2])))

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction."""
        check_lease(lease)
        length = (b"0", b"0") if claim_for is None else self._length(claim_for, "claim_for")
        most = b"0" if claim_for is None else b"1"
        answer = self._queue.change("ack", most, *length, _token(), b"1", *_split_lease(lease))
        if answer[0] == b"lost":
            raise LeaseLost(self._explain_lost(lease, answer[2], int(answer[1])))
        taken = self._read_leases(answer)
        if claim_for is not None and answer[4] and not taken:  # what it was could not be read
            return next(iter(self._claim(claim_for, 1)[0]), None)
        return next(iter(taken), None)

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; up to `claim` next ones are claimed."""
        settled = check_leases(leases)
        claim = check_number(claim, "claim", least=0)
        deadline_of_next(claim, lease_for, 0)
        length = (b"0", b"0") if lease_for is None else self._length(lease_for)
        held = [part for lease in settled for part in _split_lease(lease)]
        answer = self._queue.change("ack", b"%d" % min(claim, _CLAIMED), *length, _token(), b"0", *held)
        now = int(answer[1])
        losses = tuple(
            None if loss is None else self._explain_lost(lease, loss[0] if loss else None, now)
            for lease, loss in zip(settled, answer[3], strict=True)
        )
        return Acked(losses, tuple(self._read_leases(answer)))

    def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        uncount: bool = False,
    ) -> None:
        """The task waits again in its old place, with `reason`; `uncount` takes the attempt back."""
        again = b"" if not_before is None else instant(to_micros(not_before, "not_before"))
        check_reason(reason)
        self._settle("release", lease, again, _sign(reason), b"1" if uncount else b"0")

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven."""
        check_reason(reason)
        self._settle("dead_letter", lease, reason.encode(), b"1")

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a duplicate."""
        check_id(id)
        return bool(self._queue.change("redrive", *_split_id(id))[2] == 1)

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        check_id(id)
        return bool(self._queue.change("cancel", *_split_id(id))[2] == 1)

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        check_id(id)
        answer = self._queue.run("task", *_split_id(id))
        return None if answer[2] is None else task_of(answer[2], int(answer[1]))

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead.

        More than 10,000 come in several answers, between which the queue may change.
        """
        limit = check_page(state, after, limit)
        found: list[Task] = []
        while limit is None or len(found) < limit:
            wanted = _PAGE if limit is None else min(_PAGE, limit - len(found))
            parts = [
                part
                for each in STATES[0 if after is None else STATES.index(after.state) :]
                if state in (None, each)
                for part in (_STATE[each], _behind(after) if after is not None and after.state is each else b"")
            ]
            answer = self._queue.change("tasks", b"%d" % wanted, *parts)
            page = [task_of(told, int(answer[1])) for told in answer[2]]
            found += page
            if len(page) < wanted:
                break
            after = page[-1]
        return found

    def count(self) -> Counts:
        """How many tasks are in each state."""
        return Counts(*self._queue.run("count")[2:6])

    def names(self) -> list[str]:
        """The names of the queues under this prefix."""
        return self._queue.names()

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends."""
        due = self._queue.run("next_due")[2]
        return None if due is None else to_datetime(int(due))

    def close(self) -> None:
        """The connections are let go; twice is fine; anything else afterwards raises QueueClosed."""
        self._server.close()

    def _push(self, batch: Sequence[Entry]) -> list[Pushed]:
        pushed = _read_pushed(self._queue.change("push", *(part for new in batch for part in _pack(new))))
        warn_of_own_work(self, pushed)
        return pushed

    def _claim(
        self, lease_for: timedelta, limit: int, *, woken: bool = False
    ) -> tuple[list[Lease], timedelta | None]:
        """The leases; where there are none, how long it is until the next task falls due, or None."""
        length = self._length(lease_for)
        leases: list[Lease] = []
        while len(leases) < limit:
            wanted = min(limit - len(leases), _CLAIMED)
            answer = self._queue.change("claim", *length, _token(), b"%d" % wanted, b"1" if woken else b"0")
            if answer[0] == b"none":
                sleep = None if answer[2] is None else timedelta(microseconds=int(answer[2]) - int(answer[1]))
                return leases, sleep
            leases += self._read_leases(answer)
            if len(answer[4]) < wanted:
                break
        return leases, None

    def _read_leases(self, answer: Sequence[Any]) -> list[Lease]:
        """The leases that a script gave; what cannot be read is set aside."""
        leases = []
        for told in answer[4]:
            try:
                leases.append(lease_of(told, int(answer[2])))
            except Unreadable as error:
                self._queue.change("dead_letter", *holder_of(told), reason_of(error).encode(), b"0")
        return leases

    def _heard(self, seconds: float) -> bool:
        """Waits up to that many seconds for a ring."""
        bell = self._queue.bell
        if seconds < 0.001:
            return self._server.command(b"LPOP", bell) is not None
        return self._server.command(b"BLPOP", bell, b"%.3f" % seconds, seconds=seconds) is not None

    def _settle(self, verb: str, lease: Lease, *arguments: bytes) -> Sequence[Any]:
        """Do that to the task of a lease that is still the caller's."""
        check_lease(lease)
        answer = self._queue.change(verb, *_split_lease(lease), *arguments)
        if answer[0] == b"lost":
            raise LeaseLost(self._explain_lost(lease, answer[2], int(answer[1])))
        return answer

    def _explain_lost(self, lease: Lease, told: Sequence[Any] | None, now: int) -> str:
        return explain_lost(lease, None if told is None else task_of(told, now))

    def _instant(self) -> bytes:
        """What is told to the server as the time; nothing where it is to look at its own clock."""
        now = self._time.instant()
        return b"" if now is None else instant(now)

    def _length(self, lease_for: timedelta, what: str = "lease_for") -> tuple[bytes, bytes]:
        """The length of a lease in seconds and microseconds. Raises TypeError or ValueError."""
        micros = self._time.length(lease_for, what)
        return b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)


class RedisTLSBackend(RedisBackend):
    """The same over TLS, with the server's certificate checked."""

    _kind = "tls"


class RedisSocketBackend(RedisBackend):
    """The same over a socket of this machine: ``redis+unix:///run/valkey.sock?db=0``."""

    _kind = "socket"


def _token() -> bytes:
    return kernel.urandom(8).hex().encode()


def _pack(new: Entry) -> tuple[bytes, ...]:
    """The entry as the scripts that keep one take it."""
    text, key, digest, priority, not_before, headers, crc = new
    at = b"" if not_before is None else instant(not_before)
    return text.encode(), digest, b"%d" % -priority, at, b"%d" % crc, _sign(key), _sign(headers)


def _read_pushed(answer: Sequence[Any]) -> list[Pushed]:
    """What such a script answers."""
    said = answer[2:]
    return [Pushed(id.decode(), added == 1) for id, added in zip(said[::2], said[1::2], strict=True)]


def _sign(text: str | None) -> bytes:
    return b"" if text is None else b"+" + text.encode()


def _split_id(id: str) -> tuple[bytes, bytes]:
    epoch, found = split(id)
    return place_of(found), epoch.encode()


def _split_lease(lease: Lease) -> tuple[bytes, bytes, bytes]:
    return *_split_id(lease.id), lease.token.encode(errors="replace")


def _behind(task: Task) -> bytes:
    """Where the list of its state goes on behind the task."""
    _, within, found = place_in_list(task, number)
    if task.state is State.READY:
        return b"%d:%s" % (cast(int, within), place_of(found))
    if task.state is State.SCHEDULED:
        return b"%s:%s" % (instant(to_micros(cast(datetime, within))), place_of(found))
    return place_of(found)
