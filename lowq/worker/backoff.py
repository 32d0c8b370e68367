"""What a worker does while the storage is locked, full or away: it waits, longer each time, and says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from lowq.backend import BackendUnavailable, QueueGone
from lowq.clock import Clock
from lowq.worker import program_log
from lowq.worker.stopping import Stop

_FIRST, _LONGEST = timedelta(seconds=0.1), timedelta(seconds=30)
_SLICE = timedelta(seconds=0.25)

Answer = TypeVar("Answer")


class Patience:
    """Tries again what raised BackendUnavailable, for as long as `longest` in a row.

    A full disk, or a lock held for a minute, must not end a worker that nobody watches; storage that stays away must,
    with the error that names it. What is deleted, damaged or misused ends it at once.
    """

    def __init__(self, clock: Clock, longest: timedelta, stop: Stop, what: str = "the queue") -> None:
        self._clock = clock
        self._longest = longest
        self._stop = stop
        self._what = what

    def __call__(self, verb: Callable[[], Answer]) -> Answer:
        """What `verb` answered. Raises its BackendUnavailable when patience is over or the worker is to stop."""
        left = self._clock.countdown(self._longest)
        delay = _FIRST
        while True:
            try:
                return verb()
            except QueueGone:
                raise
            except BackendUnavailable as error:
                if self._stop.requested or left() <= timedelta(0):
                    raise
                program_log.warn("waiting %g s for %s: %s", delay.total_seconds(), self._what, error)
            self._pause(min(delay, max(left(), timedelta(0))))
            delay = min(2 * delay, _LONGEST)

    def _pause(self, length: timedelta) -> None:
        """That long has passed, or the worker was told to stop."""
        left = self._clock.countdown(length)
        while not self._stop.requested and (nap := min(left(), _SLICE)) > timedelta(0):
            self._clock.wait(threading.Event().wait, nap)
