"""Where a handler runs: in the worker's own thread, or in a child process (`lowq.worker.child`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, Protocol

from lowq.backend import Backend, Lease, Work
from lowq.clock import Clock
from lowq.process.forking import Confined
from lowq.worker.failure import Failure, failure_of, passes
from lowq.worker.renewal import Watch
from lowq.worker.stopping import Stop

Handler = Callable[[Work], Any]


class Executor(Protocol):
    """Runs the handler for one leased task at a time, and keeps the lease alive meanwhile."""

    def run(self, lease: Lease) -> Failure | None:
        """The handler has returned (None) or failed. Raises what is no failure of the task: Stopping and its like."""
        ...

    def close(self) -> None:
        """No thread and no process is left."""
        ...


class Inline:
    """Runs the handler in the calling thread; a thread beside it keeps the lease alive."""

    def __init__(self, handler: Handler, backend: Backend, lease_for: timedelta, clock: Clock, stop: Stop) -> None:
        self._handler = handler
        self._stop = stop
        self._watch = Watch(backend, lease_for, clock, stop)

    def run(self, lease: Lease) -> Failure | None:
        """The handler has returned (None) or raised what is a failure of its task."""
        self._watch.hold(lease)
        try:
            return attempt(self._handler, lease.work, self._stop)
        finally:
            self._stop.in_handler = False  # once more: a signal may have come just where `attempt` says so
            self._watch.let_go()

    def close(self) -> None:
        """The thread has ended."""
        self._watch.close()


def check_handler(handler: object) -> None:
    """Raise TypeError unless `handler` can be called and does its work when it is."""
    if not callable(handler):
        raise TypeError(f"handler: expected a function of one work, got {type(handler).__name__}")
    if iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004 (its code, not whether it can be called)
        raise TypeError(
            "handler: a coroutine function would never run; wrap it: lambda work: asyncio.run(handler(work))"
        )


def attempt(handler: Handler, work: Work, stop: Stop) -> Failure | None:
    """How the handler failed, or None. Raises what is no failure of the task, as `passes` says."""
    try:
        try:
            stop.enter_handler()
            with Confined():
                handler(work)
        finally:
            stop.in_handler = False
    except BaseException as error:
        if passes(error):
            raise
        return failure_of(error)
    return None
