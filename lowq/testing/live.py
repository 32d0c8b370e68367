"""A real worker in a process of its own, for a test that needs one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from lowq import kernel
from lowq.backend import LowqError
from lowq.clock import SystemClock
from lowq.override import Overridden
from lowq.process.forking import close_private, open_private
from lowq.process.lifeline import end_with_parent
from lowq.testing.queues import QueueRef, Store, TempQueue, running_queue
from lowq.worker.forks import spawn_worker
from lowq.worker.worker import Worker

BOUND = timedelta(seconds=30)
"""Real time in which a worker must have begun, ended, or run what was due."""

_SLICE = 0.005
"""Real seconds between two looks."""


class LiveWorkerError(LowqError):
    """A live worker cannot run here, or did not do in time what it should."""


class LiveWorker:
    """A forked process that runs the tasks of one queue until it is stopped or killed; `pid` is its process.

    What its handler does to variables stays in its own process: look at files, at the queue, or at its pushes.
    """

    def __init__(self, store: TempQueue, kept: Store) -> None:
        handler, retry = store.handler_of(kept.backend)
        if "processes" not in kept.backend.promises:
            raise LiveWorkerError(f"{kept.backend.title} stays in this process; a live worker is another one")
        self._kept = kept
        self._ended = False
        worker = Worker(
            kept.backend, handler, lease_for=kept.lease_for, retry=retry, clock=store.clock, on_dead=kept.on_dead
        )
        parent = kernel.getpid()
        reading, writing, lifeline, self._lifeline = open_private(lambda: (*os.pipe(), *os.pipe()))

        def main() -> None:
            end_with_parent(lifeline, parent)
            os.write(writing, b"!")
            worker.run_under(parent)

        try:
            self.pid = spawn_worker(main, keep=(writing, lifeline))
            poll = kernel.poll()
            poll.register(reading, select.POLLIN)
            if not poll.poll(BOUND.total_seconds() * 1000):
                self.kill()
                raise LiveWorkerError(f"no live worker began within {BOUND}")
        finally:
            close_private(reading, writing, lifeline)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        if not self._ended:
            try:
                self._ended = kernel.waitpid(self.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:  # the program reaps all children, or has the kernel do so
                self._ended = True
            if self._ended:
                close_private(self._lifeline)
        return not self._ended

    def wait_until(self, happened: Callable[[], object], within: timedelta = BOUND) -> None:
        """It happened. Raises LiveWorkerError where it did not within that (real) time."""
        left = SystemClock().countdown(within)
        while not happened():
            if left() <= timedelta(0):
                raise LiveWorkerError(f"it did not happen within {within}; the worker is {self._state()}")
            threading.Event().wait(_SLICE)

    def wait_until_idle(self, within: timedelta = BOUND) -> None:
        """Nothing of the queue is due or leased any more. Raises LiveWorkerError where that took longer."""
        backend = self._kept.backend

        def idle() -> bool:
            counts = backend.count()
            return not counts.ready and not counts.leased

        try:
            self.wait_until(idle, within)
        except LiveWorkerError:
            counts = backend.count()
            raise LiveWorkerError(
                f"after {within} {backend.title} still has {counts.ready} tasks due and {counts.leased} leased; the "
                f"worker is {self._state()}"
            ) from None

    def kill(self) -> None:
        """The process was killed with SIGKILL, as it was: no `finally` of its handler ran, and its lease stays."""
        if self.alive:
            with suppress(ProcessLookupError):
                kernel.kill(self.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                kernel.waitpid(self.pid, 0)
            self._ended = True
            close_private(self._lifeline)

    def stop(self, within: timedelta = BOUND) -> None:
        """The process was told to stop, finished or gave back its task, and ended.

        Raises LiveWorkerError, after killing it, where that took longer.
        """
        if not self.alive:
            return
        kernel.kill(self.pid, signal.SIGTERM)
        left = SystemClock().countdown(within)
        while self.alive:
            if left() <= timedelta(0):
                self.kill()
                raise LiveWorkerError(f"the live worker did not stop within {within} and was killed")
            threading.Event().wait(_SLICE)

    def _state(self) -> str:
        return "alive" if self.alive else "gone"


@contextmanager
def live(store: TempQueue | None = None) -> Iterator[None]:
    """`TaskQueue.start()` starts a live worker for its queue where none lives; afterwards none is left."""
    with live_workers(store) as start_worker:
        found = _store(store)
        workers: dict[int, LiveWorker] = {}

        def start(queue: Overridden) -> bool:
            kept = found.of(queue)
            if id(kept) in workers and workers[id(kept)].alive:
                return False
            workers[id(kept)] = start_worker(queue)
            return True

        before, found.on_start = found.on_start, start
        try:
            yield
        finally:
            found.on_start = before


@contextmanager
def live_workers(store: TempQueue | None = None) -> Iterator[Callable[..., LiveWorker]]:
    """A function that starts a live worker for a queue; afterwards none is left."""
    found = _store(store)
    workers: list[LiveWorker] = []

    def start(queue: QueueRef = None) -> LiveWorker:
        """A worker of this queue (None: the only one) runs when this returns."""
        workers.append(LiveWorker(found, found.find(queue)))
        return workers[-1]

    try:
        yield start
    except BaseException:
        for worker in workers:
            worker.kill()
        raise
    for worker in workers:
        worker.stop()


def _store(store: TempQueue | None) -> TempQueue:
    if (found := store or running_queue()) is None:
        raise LiveWorkerError("there is no temporary queue to work on; use it inside temp_queue()")
    return found
