"""A mutex that belongs to a frame: whatever ends the frame, the lock is free again.

A signal handler, another thread or a tracer may raise an exception between any two instructions of Python: also right
after a lock was acquired, and at the first instruction of the `finally` that would release it. No `with` is safe from
that. Therefore a holder is not a flag that somebody has to clear, but the frame of the call itself: as soon as that
frame runs no more, however it ended, whoever comes next takes over, and is told that a call was cut off.

The holds are a chain. Each is a dict with the frame that holds, as long as it does, and the hold that came next.
`dict.setdefault` decides who comes next, in one step that nothing can interrupt, and writes down who it is in the
same step. `frame.clear()` refuses a frame that is running, in whichever thread, and so tells whether it is.

Who takes it says ``lock.take(sys._getframe())``, and keeps the frame in no variable: a frame that knows itself is a
cycle, and all it knows stays until the garbage is collected.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import Enum
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any


class Taken(Enum):
    """What whoever takes the lock finds."""

    CLEAN = 1
    """The holder before let go of it."""
    CUT_OFF = 2
    """The holder before was cut off: what the lock protects may be in any state."""
    NESTED = 3
    """The call that holds it goes on when this one has ended: this one runs in a signal handler, or a finalizer, of
    the same thread. It does not hold the lock, and nobody else can get it meanwhile."""


CLEAN, CUT_OFF, NESTED = Taken

_LOOK_AGAIN = 0.05
"""Seconds after which a waiter looks by itself whether the holder's frame has ended without letting go."""


class FrameLock:
    """One frame at a time holds it."""

    __slots__ = ("_last", "_waited_for", "_wakes")

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        """The latest hold that is known here; later ones follow from it."""
        self._waited_for = False
        self._wakes: SimpleQueue[None] = SimpleQueue()

    def take(self, frame: FrameType) -> Taken:
        """The lock is held by `frame`, which is running, until it leaves or ends; unless the answer is NESTED."""
        mine = {"frame": frame}
        last = self._last
        if not last and last.setdefault("next", mine) is mine:
            self._last = mine
            return CLEAN
        waited = False
        while True:
            last = self._latest()
            holder = last.get("frame")
            if holder is not None and holder is not frame and _is_running(holder):
                if not waited and _is_below(holder):
                    return NESTED
                if waited:
                    self._wait()
                waited = self._waited_for = True  # and then looks once more: it may have been let go before this
            elif last.setdefault("next", mine) is mine:
                self._last = mine
                if waited:
                    self._waited_for = True  # perhaps by others too
                return CLEAN if holder is None else CUT_OFF

    def take_if_free(self, frame: FrameType) -> bool:
        """Whether the lock is held by `frame` now, until it leaves or ends; False: a call under way has it."""
        mine = {"frame": frame}
        while True:
            last = self._latest()
            holder = last.get("frame")
            if holder is not None and _is_running(holder):
                return False
            if last.setdefault("next", mine) is mine:
                self._last = mine
                return True

    def leave(self, frame: FrameType) -> None:
        """`frame` does not hold the lock; where another does, that one still holds it."""
        last = self._last
        if last.get("frame") is not frame:  # taken in a call that was cut off before it was written here
            last = self._latest()
        if last.get("frame") is frame:
            last.clear()
            if self._waited_for:
                self._waited_for = False
                self._wakes.put(None)

    def is_below(self) -> bool:
        """Whether a call holds it that waits for this one to end."""
        holder = self._latest().get("frame")
        return holder is not None and _is_below(holder)

    def is_held_by(self, frame: FrameType) -> bool:
        """Whether `frame` holds the lock."""
        return self._latest().get("frame") is frame

    def _latest(self) -> dict[str, Any]:
        last = self._last
        while (following := last.get("next")) is not None:
            last = following
        return last

    def _wait(self) -> None:
        with suppress(Empty):
            self._wakes.get(timeout=_LOOK_AGAIN)


def _is_running(frame: FrameType) -> bool:
    """Whether the call is still under way, in whichever thread; one that has ended forgets its variables."""
    try:
        frame.clear()
    except RuntimeError:
        return True
    return False


def _is_below(frame: FrameType) -> bool:
    """Whether that call is one of those that wait for this one to end."""
    below = sys._getframe(1).f_back
    while below is not None and below is not frame:
        below = below.f_back
    return below is frame
