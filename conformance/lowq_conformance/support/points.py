"""The points of a call: where one client can stand still while others go on.

A point is a line of the queue's own Python that is about to run, one of the first times that the call comes to it, or
a further step within that line that Python tells its auditors of (opening, locking, renaming, connecting). Of a
coroutine it is an await. What happens in C is one instant.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from types import FrameType, ModuleType
from typing import Any, Literal

from lowq_conformance.support.own_code import OwnCode
from lowq_conformance.support.tracepoints import hooks, trace

TIMES = 3
"""How many of the times that a call comes to one line are points; a loop goes round more often."""
STEPS = ("open", "os.", "fcntl.", "shutil.", "sqlite3.", "socket.", "subprocess.", "mmap.")
"""How the names of audited events begin that are steps."""


Gate = Future[None]
"""What a coroutine that stands still waits for."""


@dataclass(frozen=True, slots=True)
class Point:
    """A line of a file; `time` is which of the times that the call comes there, `step` which further step of it."""

    file: str
    line: int
    time: int = 1
    step: int = 0


Reach = Literal["process", "thread", "object"]
"""What the other client is not part of: it may be in another process or thread, or it may have all in common."""

Arrive = Callable[[Point], Gate | None]
"""What is done at each point, before what stands there happens.

It may keep the call waiting; a coroutine, which must not keep its loop waiting, at the gate that it answers with.
"""


class Walk:
    """Tells of each point of the call that is made in it."""

    def __init__(self, own: OwnCode, arrive: Arrive, *, awaits: bool = False, reaches: Reach | None = None) -> None:
        """With `awaits` the points of a coroutine are its awaits, between which others on its loop run, and no lines.
        With `reaches` it is found out which lines reach out of that, which takes longer.
        """
        self.awaits, self._reaches = awaits, reaches
        self._own, self._arrive = own, arrive
        self._times: Counter[tuple[str, int]] = Counter()
        self._at: Point | None = None
        self._last = ("", 0)
        self._steps = 0
        self._arriving = self._entered = False
        self._visited: list[Point] = []
        self._reached: set[tuple[str, int]] = set()
        self._around: set[tuple[str, int]] = set()

    def points(self) -> dict[Point, int]:
        """Where the call came, each point with the number of its stretch: points between which nothing was done
        that another client could have waited for, or learn of.

        Where it was found out which lines reach out, a stretch has one point, in the file of the client's class where
        it has one there; and those more that look at what another thread may change. Else all are told.
        """
        if self._reaches is None or self.awaits:
            return {point: number for number, point in enumerate(dict.fromkeys(self._visited))}
        stretches, reached = list[list[Point]](), True
        for point in self._visited:
            if reached or point.step:
                stretches.append([])
            stretches[-1].append(point)
            reached = (point.file, point.line) in self._reached
        found: dict[Point, int] = {}
        for number, stretch in enumerate(stretches):
            for point in self._telling(stretch):
                found.setdefault(point, number)
        return found

    def _telling(self, stretch: list[Point]) -> list[Point]:
        """The points of a stretch that may differ for the other client."""
        if self._reaches == "object":
            return stretch
        home = [point for point in stretch if point.file == self._own.home] or stretch
        return [home[0], *(point for point in stretch if (point.file, point.line) in self._around)]

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what the call calls."""
        if not self._own.lines(frame.f_code):
            return None
        caller = frame.f_back
        if caller is not None and self._last == (caller.f_code.co_filename, caller.f_lineno):
            # Who stands before the first line of a function stands where the line stands that calls it.
            self._entered = self._own.calls_first(caller.f_code, caller.f_lasti)
        return self.line

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  likewise
        """A trace function, called for each line of the queue's."""
        if event == "line" and frame.f_lineno in self._own.lines(frame.f_code):
            if self._reaches == "thread" and self._own.looks_around(frame):
                self._around.add((frame.f_code.co_filename, frame.f_lineno))
            entered, self._entered = self._entered, False
            if entered:
                self._last = frame.f_code.co_filename, frame.f_lineno
            else:
                self.come(frame.f_code.co_filename, frame.f_lineno)
        return self.line

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:  # noqa: ARG002  what a profiler gets
        """A profile function, which sees what is called in C."""
        if event == "c_call" and not is_pure(argument, self._reaches):
            self._reached.add(self._last)

    def come(self, file: str, line: int) -> Gate | None:
        """The call has come to the line; where it is to wait, at this gate."""
        self._last = file, line
        self._times[file, line] += 1
        self._steps = 0
        self._at = None
        if self._times[file, line] > TIMES:
            return None
        self._at = Point(file, line, self._times[file, line])
        return self._tell(self._at)

    def step(self) -> None:
        """Something that is audited is about to happen; the first in a line happens where the line stands."""
        if self._arriving:
            return
        self._reached.add(self._last)
        if self._at is None:
            return
        self._steps += 1
        if 1 < self._steps <= 1 + TIMES:
            self._tell(Point(self._at.file, self._at.line, self._at.time, self._steps - 1))

    def _tell(self, point: Point) -> Gate | None:
        self._visited.append(point)
        self._arriving = True
        try:
            return self._arrive(point)
        finally:
            self._arriving = False

    def call(self, method: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """What the method answers, watched; of a coroutine, one that is watched wherever it runs."""
        with self:
            answer = method(*arguments, **keywords)
        return Walked(self, answer) if inspect.isawaitable(answer) else answer

    def __enter__(self) -> None:
        walking[threading.get_ident()] = self
        if self._reaches:
            sys.setprofile(self.profile)
        trace(self.frame)

    def __exit__(self, *_: object) -> None:
        trace(None)
        if self._reaches:
            sys.setprofile(None)
        walking.pop(threading.get_ident(), None)


class Walked:
    """A coroutine on a walk."""

    def __init__(self, walk: Walk, coroutine: Any) -> None:
        self._walk, self._coroutine = walk, coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._coroutine.__await__()
        resume: Callable[[], Any] = lambda: steps.send(None)  # noqa: E731  what is done next
        while True:
            if self._walk.awaits:
                waited = self._next(resume)
            else:
                with self._walk:
                    waited = self._next(resume)
            if isinstance(waited, StopIteration):
                return waited.value
            gate = self._walk.come(*self._where()) if self._walk.awaits else None
            try:
                sent = yield waited
                if gate is not None:
                    yield from asyncio.wrap_future(gate).__await__()
            except BaseException as error:
                resume = lambda error=error: steps.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                resume = lambda sent=sent: steps.send(sent)  # type: ignore[misc]  # noqa: E731

    def _next(self, resume: Callable[[], Any]) -> Any:
        try:
            return resume()
        except StopIteration as over:
            return over

    def _where(self) -> tuple[str, int]:
        """The line of the queue's at which the coroutine waits."""
        found, inner = ("", 0), self._coroutine
        while inner is not None:
            frame = getattr(inner, "cr_frame", None) or getattr(inner, "gi_frame", None)
            if frame is not None and self._walk._own.has(frame.f_code.co_filename):
                found = frame.f_code.co_filename, frame.f_lineno
            inner = getattr(inner, "cr_await", None) or getattr(inner, "gi_yieldfrom", None)
        return found


class WalkedClient:
    """A client whose next call is made on a walk, where one is given."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.walk: Walk | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if self.walk is None or not callable(method):
            return method

        @wraps(method)
        def walk_call(*arguments: Any, **keywords: Any) -> Any:
            walk, self.walk = self.walk, None
            return method(*arguments, **keywords) if walk is None else walk.call(method, *arguments, **keywords)

        return walk_call


PURE_MODULES = frozenset(
    "_json _datetime _struct _hashlib _blake2 _sha1 _sha2 _sha256 _sha512 _sha3 _md5 _sre _re itertools _functools"
    " functools _operator _collections _collections_abc collections time _random _weakref"
    " _contextvars _warnings _abc math _decimal _bisect _heapq _pickle _stat _string _typing _uuid zlib binascii"
    " _codecs unicodedata sys gc atexit _locale _opcode marshal _asyncio".split()
)
"""Modules in C that reach nothing but what they are given."""
OF_THREADS = frozenset("_thread _queue _threading_local".split())
"""Modules in C that reach other threads and no other process."""
REACHING_BUILTINS = frozenset("open input exec eval compile __import__ breakpoint next iter".split())


def is_pure(function: Any, reach: Reach | None) -> bool:
    """Whether a function in C reaches nothing out of its process, or its thread."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, ModuleType):
        module = getattr(function, "__module__", None)
    else:
        module = owner.__module__ if isinstance(owner, type) else type(owner).__module__
    if module == "builtins":
        return function.__name__ not in REACHING_BUILTINS
    return module in PURE_MODULES or module is None or (module in OF_THREADS and reach == "process")


walking: dict[int, Walk] = {}
"""The walk of each thread that is on one."""


def listen() -> None:
    """This process hears of audited steps."""
    if audit not in hooks:
        hooks.append(audit)
        sys.addaudithook(audit)


def audit(event: str, arguments: Any) -> None:  # noqa: ARG001  what an audit hook gets
    """A hook for what Python tells its auditors."""
    if walking and event.startswith(STEPS):
        with suppress(KeyError):
            walking[threading.get_ident()].step()
