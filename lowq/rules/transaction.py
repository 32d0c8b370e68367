"""Which of the caller's transactions pushes are part of: what `within` says, of each thread and each asyncio task.

It goes with the context (`contextvars`), and only for as long as its block runs, in the process that began it: a task
or a child that outlives the block pushes by itself again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from lowq import kernel
from lowq.backend import Backend, NoTransaction
from lowq.rules.callers import Caller, caller_of

_joined: ContextVar[tuple[Joined, ...]] = ContextVar("lowq_joined", default=())

_opening: ContextVar[Callable[[], opening_for | None]] = ContextVar("lowq_opening", default=lambda: None)

Queue = tuple[object, ...]


class Joined:
    """A block in which the pushes to one queue are part of the transaction on the caller's connection."""

    def __init__(self, queue: Queue, caller: Caller, block: Callable[[], object]) -> None:
        self.queue = queue
        self.caller = caller
        self.known = False
        """Whether the connection was found to be one to the queue's own database."""
        self.over = False
        self._block = block
        self._pid = kernel.getpid()
        self._rings: list[Callable[[], object]] = []
        self._at_end: list[Callable[[bool], object]] = []

    @property
    def stands(self) -> bool:
        """Whether its block runs, in this process."""
        return not self.over and self._pid == kernel.getpid() and self._block() is not None

    def call_after_commit(self, call: Callable[[], object], otherwise: Callable[[], object]) -> None:
        """`call` is called when the transaction was committed.

        Where the connection does not tell, it is at the end of the block, if the transaction is over by then;
        `otherwise` is called where it is not.
        """
        if not self.caller.call_after_commit(call):
            self._at_end.append(lambda over: call() if over else otherwise())

    def ring_after_commit(self, ring: Callable[[], object]) -> None:
        """`ring` is called as `call_after_commit` says, once for many pushes."""
        if ring not in self._rings and not self.caller.call_after_commit(ring):
            self._rings.append(ring)

    def end(self) -> None:
        """The block ended without an exception."""
        rings, self._rings = self._rings, []
        at_end, self._at_end = self._at_end, []
        if rings or at_end:
            over = not self.caller.in_transaction()
            for ring in rings if over else ():
                ring()
            for call in at_end:
                call(over)


class joining:  # noqa: N801  # it is used as a function is
    """A block in which `find_joined` of this queue, as `queue_of` names it, is this caller's connection.

    The `with` statement alone holds it. So a block whose beginning or end an exception cuts off stands no more,
    at whichever instruction it came: what is pushed afterwards is in nobody's transaction.
    """

    def __init__(self, queue: Queue, caller: Caller) -> None:
        self._joined = Joined(queue, caller, weakref.ref(self))
        self._token: Token[tuple[Joined, ...]] | None = None

    def __enter__(self) -> None:
        self._token = _joined.set((self._joined, *(each for each in _joined.get() if each.stands)))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._joined.over = True
        if self._token is not None:
            _joined.reset(self._token)
        if kind is None:
            self._joined.end()


def find_joined(backend: Backend | Any) -> Joined | None:
    """The innermost block of this context for the queue of that client, or None."""
    standing = _joined.get()
    if not standing:
        return None
    queue = queue_of(backend)
    return next((each for each in standing if each.queue == queue and each.stands), None)


class opening_for:  # noqa: N801  # it is used as a function is
    """A block in which a queue is opened to push in the transaction on the connection: see `callers_here`."""

    def __init__(self, connection: object) -> None:
        self.connection = connection
        self._token: Token[Callable[[], opening_for | None]] | None = None

    def __enter__(self) -> None:
        self._token = _opening.set(weakref.ref(self))

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _opening.reset(self._token)


def callers_here(dialect: str) -> list[Caller]:
    """The connections of this context's blocks, and the one that a queue is opened for."""
    callers = [each.caller for each in _joined.get() if each.stands and each.caller.dialect == dialect]
    if (opening := _opening.get()()) is not None:
        callers.append(caller_of(opening.connection, dialect))
    return callers


def is_joined() -> bool:
    """Whether this context is inside a block of any queue's."""
    return any(each.stands for each in _joined.get())


def queue_of(backend: Backend | Any) -> Queue:
    """What all clients of one queue have in common."""
    backend = getattr(backend, "backend", backend)
    where = getattr(backend, "where", None)
    return type(backend), id(backend) if where is None else where, backend.name


def no_transaction(backend: Backend | Any) -> NoTransaction:
    """The error of a queue that is in no database of the caller's."""
    kind = type(backend).__name__.removesuffix("Backend")
    return NoTransaction(
        f"within: a {kind} queue is in no database of the application's, so that a push is part of no transaction of"
        " its; postgresql:// and sqlite:////app.db?shared=1 keep it in one"
    )
