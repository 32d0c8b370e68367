"""The thread beside a worker: it keeps the lease of the task in hand alive, and ends the grace of a stop."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from queue import Empty, SimpleQueue

from lowq.backend import Backend, Lease, LeaseLost, LowqError
from lowq.clock import Clock
from lowq.worker.stopping import Stop

_log = logging.getLogger("lowq.worker")


class Watch:
    """While a lease is in `hand`, it is extended each third of `lease_for`; started by the first, ended by `close`.

    A look each third, whatever the tasks do meanwhile, costs a task nothing and finds each lease before it has run
    for two thirds.
    """

    def __init__(self, backend: Backend, lease_for: timedelta, clock: Clock, stop: Stop) -> None:
        self._backend = backend
        self._lease_for = lease_for
        self._clock = clock
        self._stop = stop
        self._hand: Lease | None = None
        self._closed = False
        self._thread: threading.Thread | None = None

    def hold(self, lease: Lease) -> None:
        """The lease is kept alive from now on."""
        self._hand = lease
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="lowq-watch", daemon=True)
            self._thread.start()

    def let_go(self) -> None:
        """The lease in hand is left to itself."""
        self._hand = None

    def close(self) -> None:
        """The thread has ended."""
        self._hand, self._closed = None, True
        self._stop.asked.put(None)
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        third = self._lease_for / 3
        left = self._clock.countdown(third)
        interrupted = False  # once: a handler that cleans up is not disturbed again
        while not self._closed:
            grace_left = None if interrupted else self._stop.grace_left()
            nap = left() if grace_left is None else min(left(), grace_left)
            self._clock.wait(lambda seconds: _asked(self._stop.asked, seconds), nap)
            if not interrupted and self._hand is not None and self._stop.urgent:
                interrupted = True
                self._stop.interrupt()
            if left() <= timedelta(0):
                extend(self._backend, self._hand, self._lease_for)
                left = self._clock.countdown(third)


def extend(backend: Backend, lease: Lease | None, lease_for: timedelta) -> None:
    """The lease, if any, runs for `lease_for` from now; where that cannot be, settling it will tell the worker."""
    if lease is None:
        return
    try:
        backend.extend(lease, lease_for=lease_for)
    except LeaseLost:  # settled meanwhile, or somebody else has the task
        pass
    except LowqError as error:
        _log.warning("the lease on task %s was not renewed: %s", lease.id, error)


def _asked(asked: SimpleQueue[None], seconds: float) -> bool:
    try:
        asked.get(timeout=seconds)
    except Empty:
        return False
    return True
