"""What befalls a client at a chosen line of the queue's own Python: death by `kill -9`, or a pause.

A pause is what the operating system may do to anybody at any time; chosen, it lets others in between two steps that
nobody should come between, on a busy machine as on an idle one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial, wraps
from types import FrameType
from typing import Any


def die() -> None:
    """This process is killed by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A client of which one call after another can be doomed, or paused, at a line from 0 to 1 of those it runs.

    A call is expected to run as many lines as the last one of its kind that was watched. Only lines of Python count:
    what a call does in C is one instant here, and is killed at random elsewhere.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._known: dict[str, int] = {}
        self._fate: tuple[float, Callable[[], None]] | None = None
        self._doomed = False
        self.counts = False

    def doom(self, where: float) -> None:
        """The next call ends in death: there, or right after it where it ends before."""
        self._fate, self._doomed = (where, die), True

    def pause(self, where: float, seconds: float) -> None:
        """The next call pauses there."""
        self._fate = (where, partial(time.sleep, seconds))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        fate, self._fate = self._fate, None
        if not callable(method) or (fate is None and not self.counts):
            return method

        @wraps(method)
        def watched(*arguments: Any, **keywords: Any) -> Any:
            at, happens = (0.0, None) if fate is None else fate
            lines = Lines(1 + int(at * self._known.get(name, 0)), happens)
            sys.settrace(lines.frame)
            try:
                return method(*arguments, **keywords)
            finally:
                sys.settrace(None)
                if self._doomed:
                    die()
                self._known[name] = lines.count

        return watched


class Lines:
    """Counts the lines that run in one call; before number `at`, `happens` happens."""

    def __init__(self, at: int, happens: Callable[[], None] | None) -> None:
        self.count, self._at, self._happens = 0, at, happens

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what the call calls."""
        return self.line

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  likewise
        """A trace function, called for each line."""
        if event == "line":
            self.count += 1
            if self.count == self._at and self._happens is not None:
                self._happens()
        return self.line
