"""A worker that dies in the middle of a task, played in one process. PYTEST_DONT_REWRITE"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal, TypeAlias

from lowq.backend import LowqError, Work

CrashPoint: TypeAlias = Literal["before", "during", "after"]
"""Where the worker dies: the task is claimed and its handler not begun; begun; ended, and the task not acked."""


class Crashed(BaseException):
    """The worker died here. Only played: a `finally` of the handler runs, which it would not after a SIGKILL."""


class CrashMissed(LowqError):
    """The handler never came to the line at which its worker was to die."""


def cut_off(handler: Callable[[Work], Any], work: Work, lines: int) -> None:
    """The handler ran `lines` lines of its own function, and no further. Raises CrashMissed where it has no more."""
    cut = _Cut(lines)
    before = sys.gettrace()
    sys.settrace(cut.enter)
    try:
        handler(work)
    except Crashed:
        return
    finally:
        sys.settrace(before)
    if cut.raised:
        raise CrashMissed(
            "the handler caught the crash, as no handler could catch a SIGKILL: `except BaseException`?"
        )
    raise CrashMissed(f"the handler returned before its line {lines + 1}, at which its worker was to die")


class _Cut:
    """Raises Crashed in the first function that is not lowq's own, after so many of its lines."""

    def __init__(self, lines: int) -> None:
        self.raised = False
        self._left = lines
        self._frame: FrameType | None = None

    def enter(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        if self._frame is None and not str(frame.f_globals.get("__name__")).startswith("lowq."):
            self._frame = frame
            return self.step
        return None

    def step(self, _frame: FrameType, event: str, _arg: object) -> Callable[..., Any] | None:
        if event != "line":
            return self.step
        if self._left == 0:
            self.raised = True
            raise Crashed
        self._left -= 1
        return self.step
