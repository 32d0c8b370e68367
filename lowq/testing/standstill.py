"""Finds a loop that waits for a time to come while the clock stands still, and so would never end.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import CodeType, FrameType

from lowq.clock import SystemClock
from lowq.testing.clockerror import ClockError

PATIENCE = timedelta(seconds=10)
"""Real time after which a loop that reads a clock that stands still is taken for endless."""

_LEAST = 5
"""Reads in each half of that time."""

_DEPTH = 3
"""How many callers of the read are looked at: a loop may ask for the time through a function or two of its own."""

_OURS = ("freezegun", "time_machine", "lowq.testing", "lowq.clock")


@dataclass(slots=True)
class _CallSite:
    """Reads from one place in the code, at one instant."""

    left: Callable[[], timedelta]
    reads: int = 0
    frames: list[FrameType] = field(default_factory=list)
    """The calls that read in the second half: one that still goes on is a loop, another one is another call."""


class Standstill:
    """Told of each read of a clock; raises ClockError in the loop that will not end."""

    def __init__(self) -> None:
        self._instant: datetime | None = None
        self._call_sites: dict[tuple[int, CodeType, int], _CallSite] = {}

    def read(self, instant: datetime, frame: FrameType) -> None:
        """The clock, at this instant, was read by the code that called `frame`."""
        if instant != self._instant:
            self._instant = instant
            self._call_sites.clear()
        callers = _callers(frame)
        if not callers:
            return
        where = (threading.get_ident(), callers[0].f_code, callers[0].f_lasti)
        site = self._call_sites.get(where)
        if site is None or (site.frames and not _share(site.frames, callers)):
            self._call_sites[where] = _CallSite(SystemClock().countdown(PATIENCE / 2), 1)
            return
        site.reads += 1
        if site.reads < _LEAST or site.left() > timedelta(0):
            return
        if site.frames:
            raise ClockError(
                f"{callers[0].f_code.co_filename}:{callers[0].f_lineno} has read the time for {PATIENCE.seconds} s "
                f"in one call, while lowq's clock stands still at {instant}: a loop "
                "that waits for a time would never end. Move the clock in the loop (lowq_clock.advance(…)) or from "
                "another thread, measure by time.monotonic(), which goes on, or leave the application's time alone "
                "(lowq_clock_patch = none)"
            )
        self._call_sites[where] = _CallSite(SystemClock().countdown(PATIENCE / 2), 1, callers)


def _share(some: list[FrameType], others: list[FrameType]) -> bool:
    return any(one is other for one in some for other in others)


def _callers(frame: FrameType | None) -> list[FrameType]:
    """The calls of the application's that asked for the time, the innermost first."""
    while frame is not None and str(frame.f_globals.get("__name__")).startswith(_OURS):
        frame = frame.f_back
    found: list[FrameType] = []
    while frame is not None and len(found) < _DEPTH:
        found.append(frame)
        frame = frame.f_back
    return found
