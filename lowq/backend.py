"""The contract of a queue: what every backend does, what it hands out, and how it fails.

    push, not yet due ──▶ scheduled ──due──▶ ready ──claim──▶ leased ──ack──▶ (gone)
    push, due ─────────────────────────────▶ ready ◀─lease ran out─┤
                          scheduled ◀──release, later──────────────┤
                                             ready ◀──release──────┤
                                             ready ◀─redrive─ dead ◀┘ dead_letter

Priorities: an int from -2**31 to 2**31-1, **higher first**, 0 by default; among equals, push order.

Errors::

    LowqError
    ├── LeaseLost            somebody else holds the task now, or it is gone
    ├── QueueClosed          the client was closed
    ├── InvalidWork          what was pushed is not JSON; names the path inside the work
    ├── InvalidLocation      a path or URL that is no queue, or not this kind of queue
    │   └── NotAllowed       who logs in lacks a right there
    ├── NoTransaction        a push cannot be part of a transaction on that connection
    ├── BackendUnavailable   the storage is locked, full, read-only or gone
    │   └── QueueGone        it was deleted or replaced
    └── CorruptQueue         the storage is damaged

Misuse (a naive datetime, a priority that is no int, ``lease_for`` of zero or less) is a ``TypeError`` or a
``ValueError``, raised before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias

Work: TypeAlias = Any
"""A JSON value: None, bool, int, finite float, str, list (or tuple) and dict with string keys."""

Dedupe: TypeAlias = Literal["until_done", "until_claimed", "off"]
"""When an equal work is refused: while one is scheduled, ready or leased; scheduled or ready; never."""

NOW = timedelta(0)


class LowqError(Exception):
    """Anything that a queue refuses or cannot do."""


class LowqWarning(UserWarning):
    """Something is probably not meant so."""


class LeaseLost(LowqError):
    """The lease is no longer the caller's; nothing was changed."""


class QueueClosed(LowqError):
    """The client was closed; open the queue again."""


class InvalidWork(LowqError, ValueError):
    """The work is not JSON; nothing was kept."""


class InvalidLocation(LowqError, ValueError):
    """The path or URL is no queue of this kind; nothing was written."""


class NotAllowed(InvalidLocation):
    """Who logs in lacks a right that a queue needs, and which one; waiting does not bring it."""


class NoTransaction(LowqError):
    """A push cannot be part of the caller's transaction on that connection; nothing was pushed."""


class BackendUnavailable(LowqError):
    """The storage cannot be used now: locked for too long, full, read-only or gone."""


class QueueGone(BackendUnavailable):
    """The storage was deleted or replaced; waiting does not bring it back, and opening it again is another queue."""


class CorruptQueue(LowqError):
    """The storage is damaged."""


class State(StrEnum):
    """Where a task is; a task that was done is gone."""

    SCHEDULED = "scheduled"
    READY = "ready"
    LEASED = "leased"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Damaged:
    """Stands in the place of a work that cannot be read; `text` is what the storage holds instead of its JSON.

    The storage was damaged, or the work says a number of more digits than this interpreter reads. Such a task is set
    aside at the claim that meets it, dead, with the reason; no worker gets it.
    """

    text: str


class Headers(Mapping[str, str]):
    """What goes with a work beside it, such as a trace's context: names to values, both text.

    It cannot be changed, can be hashed and pickled, and equals every mapping of the same content.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        if type(pairs) is dict:  # without a `try`, in which a signal handler may raise what is then taken for its own
            self._pairs: dict[str, str] = pairs.copy()
        else:
            self._pairs = _as_dict(pairs)
        for name, value in self._pairs.items():
            if not isinstance(name, str) or not isinstance(value, str):
                found = f"{type(name).__name__} to {type(value).__name__}"
                raise TypeError(f"headers: expected a mapping of strings to strings, got one of {found}")

    def __getitem__(self, name: str) -> str:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __hash__(self) -> int:
        return hash(frozenset(self._pairs.items()))

    def __repr__(self) -> str:
        return f"Headers({self._pairs})"


def _as_dict(pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    try:
        return dict(pairs)
    except (TypeError, ValueError) as error:
        found = type(pairs).__name__
        raise TypeError(f"headers: expected a mapping of strings to strings, got {found}: {error}") from None


NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True)
class Item:
    """A work to push, with what goes with it: the arguments of `Backend.push` as one value."""

    work: Work
    key: str | None = None
    priority: int = 0
    not_before: datetime | None = None
    headers: Mapping[str, str] = NO_HEADERS


@dataclass(frozen=True, slots=True)
class Pushed:
    """The answer to a push: the id of the task that stands now, and whether this push added it."""

    id: str
    added: bool


@dataclass(frozen=True, slots=True)
class Task:
    """A work in the queue.

    `key` is the explicit key of the push, or None; `attempts` counts the claims so far, that of a worker which
    found them used up and set the task aside included; `reason` is what the last release or dead-lettering said;
    `pushed_at` is when the push added it, by the queue's clock; `headers` came with that push, and play no part in
    which works are equal.
    """

    id: str
    work: Work
    key: str | None
    priority: int
    not_before: datetime | None
    attempts: int
    state: State
    reason: str | None
    pushed_at: datetime
    headers: Mapping[str, str] = NO_HEADERS


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's hold on one task: its token is this claim's alone, and it ends at `expires`."""

    task: Task
    token: str
    expires: datetime

    @property
    def id(self) -> str:
        """The id of the leased task."""
        return self.task.id

    @property
    def work(self) -> Work:
        """The work of the leased task."""
        return self.task.work


@dataclass(frozen=True, slots=True)
class Acked:
    """The answer to `ack_many`.

    `lost` has an entry for each lease, in their order: None where the task is done and gone, and what LeaseLost says
    where the lease was no longer the caller's. `claimed` are the next leases, in claim order.
    """

    lost: tuple[str | None, ...] = ()
    claimed: tuple[Lease, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tasks are in each state; a lease that ran out counts as ready."""

    scheduled: int = 0
    ready: int = 0
    leased: int = 0
    dead: int = 0


class Backend(Protocol):
    """A client of one queue. Every method is atomic and safe from many threads and processes."""

    @property
    def promises(self) -> frozenset[str]:
        """What this queue keeps, in the words of the conformance suite (``"fifo"``, ``"processes"``, …)."""
        ...

    @property
    def dedupe(self) -> Dedupe:
        """While what an equal work is refused; stored with the queue when it is made."""
        ...

    @property
    def name(self) -> str:
        """Which of the queues of this location this is."""
        ...

    def push(
        self,
        work: Work,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        """The work is kept, or an equal one already stood and nothing changed, its headers neither.

        Raises InvalidWork where the work is not JSON.
        """
        ...

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """All of the items are kept or none, each answered as `push` would; an invalid one names its index."""
        ...

    def within(self, connection: object) -> AbstractContextManager[None]:
        """Inside, pushes to this queue are part of the transaction that is open on the connection at the push.

        They are there once it is committed, and never were where it is rolled back. This thread's (and task's) pushes
        only, through whichever client of the queue. Promise ``transaction``. Raises NoTransaction, here or at the
        push; what the database says of the transaction, such as a deadlock, is raised as its driver says it.
        """
        ...

    def claim(self, *, lease_for: timedelta, wait: timedelta = NOW) -> Lease | None:
        """The most urgent due task is leased to the caller alone; None: at some instant of the call none was due.

        Waits up to `wait` for a task to be pushed or to fall due.
        """
        ...

    def claim_many(self, limit: int, *, lease_for: timedelta) -> list[Lease]:
        """The most urgent due tasks, `limit` at most, are leased to the caller, in claim order; promise ``bulk``.

        One transaction or round trip; none: at some instant of the call none was due.
        """
        ...

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        """The task is held for `lease_for` from now, under the same token. Raises LeaseLost."""
        ...

    def ack(self, lease: Lease, *, claim_for: timedelta | None = None) -> Lease | None:
        """The task is done and gone; with `claim_for` the next one is claimed in the same transaction.

        Raises LeaseLost, and then claims nothing.
        """
        ...

    def ack_many(self, leases: Iterable[Lease], *, claim: int = 0, lease_for: timedelta | None = None) -> Acked:
        """Each task whose lease is still the caller's is done and gone; a lost lease keeps no other from that.

        Up to `claim` next ones are claimed for `lease_for` in the same transaction or round trip, also where leases
        were lost. Promise ``bulk``.
        """
        ...

    def release(
        self,
        lease: Lease,
        *,
        not_before: datetime | None = None,
        reason: str | None = None,
        uncount: bool = False,
    ) -> None:
        """The task waits again in its old place, with `reason`; `uncount` takes the attempt back.

        Raises LeaseLost.
        """
        ...

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        """The task is set aside for a person with `reason`, and never claimed until redriven. Raises LeaseLost."""
        ...

    def redrive(self, id: str) -> bool:
        """The dead task waits again in its old place with attempts 0; False: no such dead task, or a push of its
        work would be refused as a duplicate."""
        ...

    def cancel(self, id: str) -> bool:
        """The task is gone; False: no such task, or it is leased."""
        ...

    def task(self, id: str) -> Task | None:
        """The task as it is now, or None."""
        ...

    def tasks(self, *, state: State | None = None, after: Task | None = None, limit: int | None = None) -> list[Task]:
        """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead.

        `after` is the last task of the page before, as it was then.
        """
        ...

    def count(self) -> Counts:
        """How many tasks are in each state."""
        ...

    def next_due(self) -> datetime | None:
        """The earliest instant at which something scheduled falls due or a lease ends, or None."""
        ...

    def close(self) -> None:
        """Connections and files are let go; twice is fine; anything else afterwards raises QueueClosed."""
        ...


class Adopting(Backend, Protocol):
    """A backend that can take over what another queue had, as every backend of lowq can; `lowq move` needs it."""

    def adopt(self, tasks: Iterable[Task]) -> list[Pushed]:
        """All of the tasks are kept or none, each behind what was pushed before and under an id of this queue.

        Work, key, priority, not_before, headers, attempts, reason and pushed_at are theirs; what is dead stays dead.
        One that is not dead is answered as a push of its work would be: where an equal one stands, nothing changes.
        Raises ValueError, with the index, for a task that is leased, and InvalidWork for one that is damaged.
        """
        ...
