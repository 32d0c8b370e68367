"""Where a handler runs: in the worker's own thread, or in a child process (`lowq.worker.child`)."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from lowq.backend import Backend
from lowq.clock import Clock
from lowq.current_task import CurrentTask
from lowq.hooks import run_within
from lowq.process.forking import Confined
from lowq.worker.connections import LookedAfter
from lowq.worker.coroutines import Canceller, Coroutines
from lowq.worker.failure import Failure, failure_of, passes
from lowq.worker.handler import Handler
from lowq.worker.renewal import Renewal
from lowq.worker.stopping import Stop


class Executor(Protocol):
    """Runs the handler for one leased task at a time, and keeps the lease alive meanwhile."""

    def run(self, current: CurrentTask) -> Failure | None:
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
        self._coroutines = Coroutines()
        self._renewal = Renewal(backend, lease_for, clock, stop)

    def run(self, current: CurrentTask) -> Failure | None:
        """The handler has returned (None) or raised what is a failure of its task."""
        self._renewal.hold(current)
        try:
            with LookedAfter():
                return attempt(self._handler, current, self._stop, self._coroutines)
        finally:
            self._stop.in_handler = False  # once more: a signal may have come just where `attempt` says so
            self._renewal.let_go()

    def close(self) -> None:
        """The thread has ended, and the handlers' event loop."""
        try:
            self._coroutines.close()
        finally:
            self._renewal.close()


def attempt(handler: Handler, current: CurrentTask, stop: Stop, coroutines: Coroutines) -> Failure | None:
    """How the handler failed, or None. Raises what is no failure of the task, as `passes` says."""
    try:
        try:
            stop.enter_handler()
            with Confined():
                call(handler, current, coroutines, stop)
        finally:
            stop.in_handler = False
    except BaseException as error:
        if passes(error):
            raise
        return failure_of(error)
    return None


def call(handler: Handler, current: CurrentTask, coroutines: Coroutines, stop: Canceller | None = None) -> None:
    """The handler has run to its end, and what it returned, with `current` as the current task."""
    current.run(lambda: run_within(current, lambda: coroutines.finish(handler(current.work), current, stop)))
