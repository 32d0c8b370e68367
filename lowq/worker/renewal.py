"""The thread beside a worker: it keeps the lease of the task in hand alive, and ends the grace of a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue

from lowq.backend import Backend, Lease, LeaseLost, LowqError
from lowq.clock import Clock
from lowq.current_task import CurrentTask
from lowq.process.forking import ForkUnavailable
from lowq.worker import program_log
from lowq.worker.coroutines import lose
from lowq.worker.stopping import Stop

_AGAIN = timedelta(seconds=1.1)
"""How long after it was cancelled a coroutine that does not await is interrupted."""


def renewal_pause(lease_for: timedelta) -> timedelta:
    """How long it is from one renewal of a lease to the next: a third of the lease.

    A look each third, whatever the tasks do meanwhile, costs a task nothing and finds each lease before it has run
    for two thirds.
    """
    return lease_for / 3


class Renewal:
    """Extends the lease in `hand` after each `renewal_pause`; started by the first lease, ended by `close`."""

    def __init__(self, backend: Backend, lease_for: timedelta, clock: Clock, stop: Stop) -> None:
        self._backend = backend
        self._lease_for = lease_for
        self._clock = clock
        self._stop = stop
        self._hand: CurrentTask | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._asked: SimpleQueue[None] = SimpleQueue()  # its own, since several queues' workers share a stop

    def hold(self, current: CurrentTask) -> None:
        """The task's lease is kept alive from now on."""
        self._hand = current
        if self._thread is None:
            self._stop.listeners.append(self._asked)
            self._thread = start_thread(self._look, "lowq-renewal")

    def let_go(self) -> None:
        """The lease in hand is left to itself."""
        self._hand = None

    def close(self) -> None:
        """The thread has ended."""
        self._hand, self._closed = None, True
        self._asked.put(None)
        if self._thread is not None:
            self._thread.join()
        with suppress(ValueError):
            self._stop.listeners.remove(self._asked)

    def _look(self) -> None:
        pause = renewal_pause(self._lease_for)
        left = self._clock.countdown(pause)
        interrupted = False  # once: a handler that cleans up is not disturbed again
        again: Callable[[], timedelta] | None = None  # but a coroutine that does not await has heard of nothing yet
        while not self._closed:
            grace_left = None if interrupted else self._stop.grace_left()
            nap = min(each for each in (left(), grace_left, again and again()) if each is not None)
            self._clock.wait(lambda seconds: _asked(self._asked, seconds), nap)
            if not interrupted and self._hand is not None and self._stop.urgent:
                interrupted, again = True, self._clock.countdown(_AGAIN)
                self._stop.interrupt()
            elif again is not None and again() <= timedelta(0):
                again = None
                if self._hand is not None:
                    self._stop.interrupt()
            if left() <= timedelta(0):
                self._renew(self._hand)
                left = self._clock.countdown(pause)

    def _renew(self, hand: CurrentTask | None) -> None:
        if hand is None:
            return
        lease = extend(self._backend, hand.lease, self._lease_for)
        if self._hand is hand:  # otherwise it was settled meanwhile
            apply_renewal(hand, lease)


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """The thread that keeps leases alive has started. Raises ForkUnavailable; then there is none to wait for."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise ForkUnavailable(
            f"the system refused the thread that keeps leases alive ({error}), so no task was begun"
        ) from None
    return thread


def apply_renewal(current: CurrentTask, lease: Lease | None) -> None:
    """The handler's task has this lease now, or, where there is none, it is lost."""
    if lease is None:
        lose(current)
    else:
        current.deadline = lease.expires


def extend(backend: Backend, lease: Lease, lease_for: timedelta) -> Lease | None:
    """The lease, which runs for `lease_for` from now; None: it is not the worker's any more."""
    try:
        return backend.extend(lease, lease_for=lease_for)
    except LeaseLost:  # settled meanwhile, or somebody else has the task
        return None
    except LowqError as error:
        program_log.warn("the lease on task %s was not renewed: %s", lease.id, error)
        return lease


def _asked(asked: SimpleQueue[None], seconds: float) -> bool:
    try:
        asked.get(timeout=seconds)
    except Empty:
        return False
    return True
