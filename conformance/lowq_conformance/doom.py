"""Death by `kill -9` at a chosen line of the queue's own Python, while it carries out a call."""

from __future__ import annotations

import os
import signal
import sys
from functools import wraps
from types import FrameType
from typing import Any


def die() -> None:
    """This process is killed by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


class Doomed:
    """A client whose calls run line by line; at `where`, from 0 to 1, of the lines of its next call it dies.

    A call is expected to run as many lines as the last one of its kind; one that ends before is followed by death.
    Only lines of Python count: what a call does in C is one instant here, and killed at random elsewhere.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._known: dict[str, int] = {}
        self.where: float | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if not callable(method):
            return method

        @wraps(method)
        def watched(*arguments: Any, **keywords: Any) -> Any:
            lines = Lines(None if self.where is None else 1 + int(self.where * self._known.get(name, 0)))
            sys.settrace(lines.frame)
            try:
                return method(*arguments, **keywords)
            finally:
                sys.settrace(None)
                if lines.last is not None:
                    die()
                self._known[name] = lines.count

        return watched


class Lines:
    """Counts the lines that run in one call, and dies before number `last`."""

    def __init__(self, last: int | None) -> None:
        self.count, self.last = 0, last

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what the call calls."""
        return self.line

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  likewise
        """A trace function, called for each line."""
        if event == "line":
            self.count += 1
            if self.count == self.last:
                die()
        return self.line
