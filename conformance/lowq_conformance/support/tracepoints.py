"""Fault injection: kills or pauses this process at a chosen line or audit event of the queue's own Python.

A pause is what the operating system may do to anybody at any time; chosen, it lets others in between two steps that
nobody should come between, on a busy machine as on an idle one.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial, wraps
from inspect import isawaitable
from types import FrameType, coroutine
from typing import Any

hooks: list[object] = []
"""What listens to Python's auditing in this process; it can never be taken away."""


def die() -> None:
    """This process is killed by SIGKILL."""
    os.kill(os.getpid(), signal.SIGKILL)


class TracedClient:
    """A client of which one call after another can be doomed, or paused, at a line from 0 to 1 of those it runs.

    A call is expected to run as many lines as the last one of its kind that was watched. Only lines of Python count:
    what a call does in C is one instant here, and is killed at random elsewhere. With `steps`, what counts instead is
    what Python tells its auditors of and may change something: opening files to write to them, locking, renaming and
    removing them, and the like.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._known: dict[str, tuple[int, int]] = {}
        self._fate: tuple[float, bool, Callable[[], None]] | None = None
        self._doomed = False
        self.counts = False
        listen()

    def doom(self, where: float, steps: bool = False) -> None:
        """The next call ends in death: there, or right after it where it ends before."""
        self._fate, self._doomed = (where, steps, die), True

    def pause(self, where: float, seconds: float) -> None:
        """The next call pauses there."""
        self._fate = (where, False, partial(time.sleep, seconds))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if not callable(method) or (self._fate is None and not self.counts):
            return method

        @wraps(method)
        def watch(*arguments: Any, **keywords: Any) -> Any:
            fate, self._fate = self._fate, None  # now, since who asks whether there is such a method calls none
            where, steps, happens = (0.0, False, None) if fate is None else fate
            at = 1 + int(where * self._known.get(name, (0, 0))[steps])
            watched = Watched(Counter(at, None if steps else happens), Counter(at, happens if steps else None))
            over = partial(self._over, name, watched)
            try:
                with watched:
                    answer = method(*arguments, **keywords)
            except BaseException:
                over()
                raise
            if isawaitable(answer):
                return awaiting(step_by_step(answer, watched, over))
            over()
            return answer

        return watch

    def _over(self, name: str, watched: Watched) -> None:
        """A call of this name is over."""
        if self._doomed:
            die()
        self._known[name] = watched.lines.count, watched.steps.count


@dataclass(frozen=True, slots=True)
class Watched:
    """What a thread does in the block is counted: its lines, and the steps of the process."""

    lines: Counter
    steps: Counter

    def __enter__(self) -> None:
        audited.append(self.steps)
        trace(self.lines.frame)

    def __exit__(self, *_: object) -> None:
        trace(None)
        audited.remove(self.steps)


async def awaiting(steps: Any) -> Any:
    """A coroutine, as the method's was: since Python 3.12 asyncio takes no generator for one."""
    return await steps


@coroutine
def step_by_step(answer: Any, watched: Watched, over: Callable[[], None]) -> Generator[Any, Any, Any]:
    """What is awaited, from one await to the next one: on the thread of its loop, which does other things between."""
    steps, value, error = answer.__await__(), None, None
    while True:
        try:
            with watched:
                asked = steps.send(value) if error is None else steps.throw(error)
        except StopIteration as end:
            over()
            return end.value
        except BaseException:
            over()
            raise
        try:
            value, error = (yield asked), None
        except BaseException as raised:
            value, error = None, raised


def listen() -> None:
    """This process hears what Python tells its auditors."""
    if audit not in hooks:
        hooks.append(audit)
        sys.addaudithook(audit)


tracing = threading.Lock()


def trace(function: Callable[..., Any] | None) -> None:
    """This thread is traced by the function; two threads at once are refused that by the interpreter."""
    with tracing:
        sys.settrace(function)


class Counter:
    """Counts what happens in one call; before number `at`, `happens` happens."""

    def __init__(self, at: int, happens: Callable[[], None] | None) -> None:
        self.count, self._at, self._happens = 0, at, happens

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what the call calls."""
        return self.line

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  likewise
        """A trace function, called for each line."""
        if event == "line":
            self.one_more()
        return self.line

    def one_more(self) -> None:
        """Something is about to happen."""
        self.count += 1
        if self.count == self._at and self._happens is not None:
            self._happens()


audited: list[Counter] = []
"""The counters of calls that are being made, where only a process with one client has doomed ones, or of a worker."""


SORTS = ("open", "os.", "fcntl.", "shutil.", "sqlite3.", "socket.", "subprocess.")
LOOKS = frozenset(("os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"))
"""These change nothing: between two of them, or before one, all is as it was after the step before."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def audit(event: str, arguments: Any) -> None:
    """A hook for what Python tells its auditors: a step of whoever is watched."""
    if audited and event.startswith(SORTS) and not (event in LOOKS or (event == "open" and only_reads(arguments))):
        for counter in audited:
            counter.one_more()


def only_reads(arguments: Any) -> bool:
    """Whether a file is opened that nobody can write to thereby."""
    *_, flags = arguments
    return isinstance(flags, int) and not flags & WRITES
