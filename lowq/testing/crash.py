"""A worker that dies in the middle of a task, played in one process.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from linecache import getline
from traceback import format_exception_only
from types import CodeType, CoroutineType, FrameType
from typing import Any, Literal, TypeAlias

from lowq.backend import Backend, Lease, LowqError, Task, Work

CrashPoint: TypeAlias = Literal["before", "during", "after"]
"""Where the worker dies: the task is claimed and its handler not begun; begun; ended, and the task not acked."""


class Crashed(BaseException):
    """The worker died here. Only played: a `finally` of the handler runs, which it would not after a SIGKILL."""


class CrashBroke(AssertionError):
    """After a crash and one more delivery, what must hold of the application did not; the text says at which line."""


class CrashMissed(LowqError):
    """The handler never came to the line at which its worker was to die."""


def cut_off(
    handler: Callable[[Work], Any], work: Work, lines: int, finish: Callable[[Any], None] = lambda _: None
) -> None:
    """The handler ran `lines` lines of its own function, and no further. Raises CrashMissed where it has no more."""
    if cut_before(handler, work, lines, finish) is None:
        raise CrashMissed(f"the handler returned before its line {lines + 1}, at which its worker was to die")


def cut_before(
    handler: Callable[[Work], Any], work: Work, lines: int, finish: Callable[[Any], None] = lambda _: None
) -> str | None:
    """Where the handler was cut off, which ran `lines` lines of its own function: the next one, as file, number and
    text. None where it has returned instead. Raises CrashMissed where it caught the crash."""
    cut = _Cut(lines, _body_of(handler, work))
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # what a collection calls would be taken for the handler, and drops what is raised in it
    sys.settrace(cut.enter)
    try:
        error = next(_run(cut, handler, work, finish))
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    if isinstance(error, Crashed):
        return cut.place
    if error is not None:
        raise error
    if cut.raised:
        raise CrashMissed(
            "the handler caught the crash, as no handler could catch a SIGKILL: `except BaseException`?"
        )
    return None


def look_after_crash(check: Callable[[], object], place: str | None, lease: Lease, *, is_arranged: bool) -> None:
    """The check held after the worker died at the place and the task was delivered again. Raises CrashBroke."""
    where = "behind the handler's last line, before the ack" if place is None else f"before {place}"
    said = f"the worker was killed {where}, task {lease.task.id} was delivered again, and then the check"
    hint = "" if is_arranged else " (the world is as earlier crashes left it: arrange= makes it new each time)"
    try:
        held = check()
    except Exception as error:
        what = "".join(format_exception_only(error)).strip()
        raise CrashBroke(f"{said} failed{hint}: {what}") from error
    if held is False:
        raise CrashBroke(f"{said} answered False{hint}")


def push_again(backend: Backend, task: Task) -> None:
    """A task equal to that one, which is done or set aside, waits as it did."""
    told: dict[str, Any] = {"key": task.key, "priority": task.priority, "headers": task.headers}
    backend.push(task.work, **{word: value for word, value in told.items() if value})


def _run(
    cut: _Cut, handler: Callable[[Work], Any], work: Work, finish: Callable[[Any], None]
) -> Iterator[BaseException | None]:
    """Run the handler, and give what it raised.

    A generator, since one has a stack of handled exceptions of its own: a function that is cut off as its `except` or
    `with` ends leaves there what it handled (CPython restores it only behind that), and every exception that the
    program raised later would have that one as its context.
    """
    try:
        returned = handler(work)
        cut.follow(returned)
        finish(returned)
    except BaseException as error:
        yield error
    yield None


def _body_of(handler: Callable[[Work], Any], work: Work) -> CodeType | None:
    """The code that is meant, where the queue knows that another function than its own runs the work."""
    body = getattr(getattr(handler, "__self__", None), "__lowq_body__", None)
    return None if body is None else getattr(body(work), "__code__", None)


def _tell_place(frame: FrameType) -> str:
    """The line that a function is about to run."""
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = getline(file, number, frame.f_globals).strip()
    return f"{os.path.basename(file)}:{number}" + (f" `{text}`" if text else "")


class _Cut:
    """Raises Crashed in the first function that is not lowq's own, after so many of its lines."""

    def __init__(self, lines: int, body: CodeType | None = None) -> None:
        self.raised = False
        self.place = ""
        self._left = lines
        self._frame: FrameType | None = None
        self._code: CodeType | None = body
        self._is_told = body is not None

    def follow(self, returned: object) -> None:
        """Where the handler is a coroutine, its lines are meant, and not those that lead to it or run it."""
        if (
            isinstance(returned, CoroutineType) and not self._is_told
        ):  # no call here: its lines would be taken for the handler's
            self._frame, self._code = None, returned.cr_code

    def enter(self, frame: FrameType, _event: str, _arg: object) -> Callable[..., Any] | None:
        if frame is self._frame:
            return self.step
        if self._frame is None and (
            frame.f_code is self._code
            if self._code is not None
            else not str(frame.f_globals.get("__name__")).startswith("lowq.")
        ):
            self._frame = frame
            return self.step
        return None

    def step(self, frame: FrameType, event: str, _arg: object) -> Callable[..., Any] | None:
        if event != "line":
            return self.step
        if self._left == 0:
            self.raised = True
            self.place = _tell_place(frame)
            raise Crashed
        self._left -= 1
        return self.step
