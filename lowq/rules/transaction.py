"""Which of the caller's transactions pushes are part of: what `within` says, of each thread and each asyncio task.

It goes with the context (`contextvars`), and only for as long as its block runs, in the process that began it: a task
or a child that outlives the block pushes by itself again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lowq import kernel
from lowq.backend import Backend, NoTransaction
from lowq.rules.callers import Caller

_joined: ContextVar[tuple[Joined, ...]] = ContextVar("lowq_joined", default=())

Queue = tuple[object, ...]


class Joined:
    """A block in which the pushes to one queue are part of the transaction on the caller's connection."""

    def __init__(self, queue: Queue, caller: Caller) -> None:
        self.queue = queue
        self.caller = caller
        self.known = False
        """Whether the connection was found to be one to the queue's own database."""
        self.over = False
        self._pid = kernel.getpid()
        self._rings: list[Callable[[], object]] = []
        self._at_end: list[Callable[[bool], object]] = []

    @property
    def stands(self) -> bool:
        """Whether its block runs, in this process."""
        return not self.over and self._pid == kernel.getpid()

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


@contextmanager
def joining(queue: Queue, caller: Caller) -> Iterator[None]:
    """Inside, `find_joined` of this queue, as `queue_of` names it, is this caller's connection."""
    joined = Joined(queue, caller)
    token = _joined.set((joined, *_joined.get()))
    try:
        yield
    finally:
        joined.over = True
        _joined.reset(token)
    joined.end()


def find_joined(backend: Backend | Any) -> Joined | None:
    """The innermost block of this context for the queue of that client, or None."""
    standing = _joined.get()
    if not standing:
        return None
    queue = queue_of(backend)
    return next((each for each in standing if each.queue == queue and each.stands), None)


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
