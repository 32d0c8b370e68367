"""What an implementer writes, as types: a harness, the client that it opens, and the server that it tells of.

Whoever subclasses `Harness`, `Client` and `Server` is told by a type checker what does not fit: a trait of another
type, a method of another form. Nobody has to; the suite looks at names only. A method of these classes that a
subclass does not have is one that the queue does not have, however much is promised of it here.
"""

# ruff: noqa: ARG002  # methods that say what an implementer's take, and do nothing
from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from lowq import Dedupe
from lowq_conformance.contract.promises import DedupeBy, DueOrder, Outlasts, Redriven, Requeue, Traits

_DEFAULT = Traits()
_NONE: Mapping[str, str] = MappingProxyType({})


class Client(Protocol):
    """One opened client of a queue.

    `push`, `claim` and `ack` are the least; each other method is there where a promise takes it. A keyword is passed
    only where its promise is made, so that a method takes no more than that. Any method may be `async`. A settle
    (`ack`, `release`, `extend`, `dead_letter`) is refused by raising, or by answering False.
    """

    def push(self, *args: Any, **kwargs: Any) -> Any:
        """`push(work)`, and as promised `key=`, `priority=`, `not_before=`, `headers=`.

        The answer is something with `id` and `added`, a bool that says whether it was added, or None.
        """

    def claim(self, *args: Any, **kwargs: Any) -> Any:
        """`claim()`, with `lease_for=` [lease, unless the trait `fixed_lease` says how long], and `wait=` [wait], for
        how long it waits until there is a task.

        The answer is None, or something with `work`; `id`, `attempts` and `headers` are looked at where it has them,
        also on its `task`.
        """

    def ack(self, *args: Any, **kwargs: Any) -> Any:
        """`ack(claimed)`: the task is done."""

    def release(self, *args: Any, **kwargs: Any) -> Any:
        """`release(claimed)` [release]: it waits again, until `not_before=` where that is taken and promised."""
        return None

    def extend(self, *args: Any, **kwargs: Any) -> Any:
        """`extend(claimed)` [extend]: it is held for `lease_for=` from now, where that is taken, or else for as long
        as the claim asked for. What is answered, if it is not None or True, is what was claimed from then on."""
        return None

    def dead_letter(self, *args: Any, **kwargs: Any) -> Any:
        """`dead_letter(claimed)` [dead_letter]: it is set aside, with its `reason=` where that is taken."""
        return None

    def redrive(self, *args: Any, **kwargs: Any) -> Any:
        """`redrive(id)` [dead_letter; may be missing]: the dead task waits again; True, False, or None: not told."""
        return None

    def cancel(self, *args: Any, **kwargs: Any) -> Any:
        """`cancel(id)` [cancel]: the waiting task is gone; True, False or by raising, or None: not told."""
        return None

    def push_many(self, *args: Any, **kwargs: Any) -> Any:
        """`push_many(items)` [batch]: a list of `lowq.Item`, all or none; a list of answers as of push, or None."""
        return None

    def claim_many(self, *args: Any, **kwargs: Any) -> Any:
        """`claim_many(limit, lease_for=)` [bulk]: up to so many tasks, each as a claim would have had it."""
        return None

    def ack_many(self, *args: Any, **kwargs: Any) -> Any:
        """`ack_many(claimed)` [bulk]: each of them is done, as an ack would have it."""
        return None

    def tasks(self, *args: Any, **kwargs: Any) -> Any:
        """`tasks()` [inspect]: everything in the queue, each with `work`, and what else is promised of it; what is in
        a state that `count` does not tell may be missing, and what is `done` or `cancelled` may be there, too."""
        return None

    def count(self, *args: Any, **kwargs: Any) -> Any:
        """`count()` [inspect]: how many are `scheduled`, `ready`, `leased`, `dead`; attributes, or a mapping."""
        return None

    def peek(self, *args: Any, **kwargs: Any) -> Any:
        """`peek()` [peek]: what a claim would hand out, with `work`, or None; nobody has claimed it."""
        return None

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """`close()` [close]: what the client held is let go."""
        return None


class Server(Protocol):
    """What `server` of a harness gives: what keeps the queue of one place, and may be stopped.

    It has an `address`, or methods to stop it and start it again, or both.
    """

    address: str | None = None
    """Where it is reached, ``host:port`` or the path of a Unix socket: the suite's proxy passes on to it. `open`
    takes `address` then."""

    def restart(self) -> object:
        """It was told to end, unless it had ended, and answers again under the same address, over what it kept."""
        return None

    def kill(self) -> object:
        """It was killed by SIGKILL, with every process of it; `restart` follows."""
        return None

    def freeze(self) -> object:
        """It stands still, with every process of it (SIGSTOP): it closes nothing and answers nothing."""
        return None

    def thaw(self) -> object:
        """It goes on."""
        return None


class Harness(Protocol):
    """A queue as the suite opens it. Made without arguments, once for each test and once in each process.

    The traits have their defaults. Of the methods only `open` is needed; whatever else a subclass brings, it brings.
    """

    promises: Collection[str] = frozenset()
    """What the queue promises, in words of PROMISES."""
    dedupe: Dedupe = _DEFAULT.dedupe
    dedupe_by: DedupeBy = _DEFAULT.dedupe_by
    due_order: DueOrder | None = _DEFAULT.due_order
    requeue: Requeue = _DEFAULT.requeue
    redriven: Redriven = _DEFAULT.redriven
    resolution: timedelta = _DEFAULT.resolution
    shortest_lease: timedelta = _DEFAULT.shortest_lease
    zero_lease: bool = _DEFAULT.zero_lease
    fixed_lease: timedelta | None = _DEFAULT.fixed_lease
    grace: timedelta = _DEFAULT.grace
    priorities: tuple[int, int] | None = _DEFAULT.priorities
    patience: timedelta = _DEFAULT.patience
    wake: timedelta = _DEFAULT.wake
    max_delay: timedelta | None = _DEFAULT.max_delay
    remembers: Collection[str] = _DEFAULT.remembers
    room: int | None = _DEFAULT.room
    one_at_a_time: bool = _DEFAULT.one_at_a_time
    main_thread: bool = _DEFAULT.main_thread
    max_deliveries: int | None = _DEFAULT.max_deliveries
    counts_release: bool = _DEFAULT.counts_release
    refuses: Collection[str] = _DEFAULT.refuses
    whole_floats: bool = _DEFAULT.whole_floats
    workers: int | None = _DEFAULT.workers
    attempts: int | None = _DEFAULT.attempts
    retry_after: timedelta | None = _DEFAULT.retry_after
    outlasts: Outlasts | None = _DEFAULT.outlasts
    known: Mapping[str, str] = _NONE
    """Clauses that it is known to break, each with where that is written down."""
    sometimes: Mapping[str, str] = _NONE
    """The same of those that not every run sees broken."""

    def open(self, place: Path) -> Any:
        """A new client of the queue that is kept at `place`, an existing folder, which is empty at first.

        Where `names` is promised it takes `name`, too, a text with a default. Where `capacity` is, it takes
        `capacity`, how many tasks there is room for, which has a default as well: the suite asks for 10,000, but for
        the clause about it. Where `server` tells an address it takes `address`, where the client connects to instead,
        or None, which is the default.
        """
        ...

    def pass_time(self, place: Path, how_long: timedelta) -> object:
        """The clock of every client of the place stands so much later, in every process."""
        return None

    def now(self, place: Path) -> Any:
        """The instant of that clock, an aware datetime."""
        return None

    def start(self, place: Path, handler: Callable[[Any], object]) -> Any:
        """The queue's own workers run, and call the handler with each work: the process ids of those that were made,
        or None where no process id is known."""
        return None

    def transaction(self, place: Path) -> AbstractContextManager[Any]:
        """A client inside a transaction of the application's, of which only `push` is used: committed where the block
        ends well, rolled back where an exception ends it."""
        return nullcontext()

    def server(self, place: Path) -> Server | str:
        """The server that keeps the queue of the place, or only its address. Asked for before the place is opened: no
        place is on it that `server` was not called for."""
        return ""

    def close_place(self, place: Path) -> object:
        """Nobody comes to the place any more; what it has outside of its folder is removed."""
        return None

    def event_loop(self, place: Path) -> AbstractEventLoop | None:
        """The loop, run in a thread of the harness's own, on which what async methods return is awaited."""
        return None


def brings(made: object, method: str) -> bool:
    """Whether a harness, client or server has the method: of its own, not of `Harness`, `Client` or `Server`."""
    if not callable(getattr(made, method, None)):
        return False
    inherited = getattr(type(made), method, None)
    return inherited is None or inherited not in [getattr(kind, method, None) for kind in (Harness, Client, Server)]
