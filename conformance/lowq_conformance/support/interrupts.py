"""Raises an exception inside a call, where a signal handler could.

A handler of Python runs between two instructions, and not between any two: the interpreter looks for signals after a
call has returned, as a function begins, and where a loop goes round. An exception is raised there and nowhere else:
one before the first instruction with which a `with` block ends, which no signal can bring about, would accuse the
soundest lock. Nor is one raised where another handler guards the instruction that follows than guarded the call, nor
in what cleans up (`finally`, `except`, `__exit__`), which no Python can do wholly safe.

A coroutine is cancelled at one of its awaits instead, also while other calls of its client are under way.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ast
import asyncio
import dis
import inspect
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator
from functools import cache, partial, wraps
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from lowq_conformance.support.own_code import roots_of
from lowq_conformance.support.tracepoints import trace


class Interrupted(KeyboardInterrupt):
    """What the signal's handler raised."""


class Point(NamedTuple):
    """A line of the queue's own in which the interpreter looks for signals, and which of the times it comes there."""

    file: str
    line: int
    function: str
    time: int
    ahead: int | None = None
    """So many steps another call of the same client is ahead, where one is under way."""

    def __str__(self) -> str:
        if not self.file:
            return f"its await {self.time}"
        times = f", time {self.time}," if self.time > 1 else ""
        return f"{name_file(self.file)}:{self.line}{times} in {self.function}()"


def name_file(file: str) -> str:
    """The file's name, and that of its package before it, which tells it from others of that name."""
    folder, name = os.path.split(file)
    inside = os.path.exists(os.path.join(folder, "__init__.py"))
    return f"{os.path.basename(folder)}/{name}" if inside else name


Own = Callable[[str], bool]
"""Whether a file is the queue's own."""


def own_files(*objects: Any) -> Own:
    """The files of the packages of which these objects, and what they hold, are made."""
    held = [value for each in objects for value in getattr(each, "__dict__", {}).values()]
    roots = [str(root) for root in roots_of(*objects, *held)]

    @cache
    def own(file: str) -> bool:
        return any(file == root or file.startswith(root + os.sep) for root in roots)

    return own


class Cut:
    """One call, told of its points, or interrupted at one of them."""

    def __init__(self, own: Own, at: Point | None = None) -> None:
        self.points: list[Point] = []
        self.done = False
        """Whether it was interrupted."""
        self.beside: Beside | None = None
        self._own, self._at = own, at
        self._times: Counter[tuple[str, int]] = Counter()

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what the call calls."""
        code = frame.f_code
        if not self._own(code.co_filename):
            return None
        points, before = _points(code), -1

        def instruction(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001  likewise
            nonlocal before
            if event == "opcode":
                last, before = before, frame.f_lasti
                if (last, before) in points:
                    self._come(frame, points[last, before])
            return instruction

        frame.f_trace = instruction  # else CPython 3.13 leaves out the first call of each function
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return instruction

    def _come(self, frame: FrameType, line: int) -> None:
        """The call is behind that line, which is a point unless it cleans up, or is called by what does."""
        file, outer = frame.f_code.co_filename, frame.f_back
        self._times[file, line] += 1
        if line in _cleaning(file):
            return
        while outer is not None and outer.f_code.co_filename != __file__:
            if self._own(outer.f_code.co_filename) and outer.f_lineno in _cleaning(outer.f_code.co_filename):
                return
            outer = outer.f_back
        self.reach(Point(file, line, frame.f_code.co_name, self._times[file, line]))

    def reach(self, point: Point) -> None:
        """The call is there."""
        if self.done:
            return
        self.points.append(point)
        if self._at is not None and self._at[:4] == point[:4]:
            self.done = True
            raise Interrupted(f"at {point}")


_known: dict[int, tuple[CodeType, dict[tuple[int, int], int]]] = {}
"""What was found out about each code, by its id: its hash costs more than all else."""


def _points(code: CodeType) -> dict[tuple[int, int], int]:
    """The line of each pair of instructions between which signals are looked for, and which one handler guards."""
    if id(code) in _known:
        return _known[id(code)][1]
    table = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # the only one who tells
    guards = [(entry.start, entry.end, entry.target) for entry in table]

    def guard(offset: int) -> int | None:
        return next((target for start, end, target in guards if start <= offset < end), None)

    found: dict[tuple[int, int], int] = {}
    for each, then in pairwise(dis.get_instructions(code)):
        line = None if each.positions is None else each.positions.lineno
        if line is None or not each.opname.startswith(LOOKS) or each.opname.startswith(LOOKS_NOT):
            continue
        following = int(each.argval) if each.opname.startswith("JUMP") else then.offset
        if guard(following) == guard(each.offset):
            found[each.offset, following] = line
            if each.opname == "RESUME" and not any(before < 0 for before, _ in found):
                found[-1, following] = line  # Python 3.11 tells of what follows first
    _known[id(code)] = code, found
    return found


@cache
def _cleaning(file: str) -> frozenset[int]:
    """The lines of the file that clean up: in `finally` and `except`, and in what leaves a `with` block."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return frozenset()
    cleaning: list[ast.stmt] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Try | ast.TryStar):
            cleaning += [*node.finalbody, *(each for handler in node.handlers for each in handler.body)]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in LEAVING:
            cleaning.append(node)
    return frozenset(line for each in cleaning for line in range(each.lineno, (each.end_lineno or each.lineno) + 1))


LEAVING = ("__exit__", "__aexit__", "__del__")
"""Functions that clean up."""
LOOKS = ("CALL", "RESUME", "JUMP_BACKWARD")
LOOKS_NOT = ("CALL_INTRINSIC", "JUMP_BACKWARD_NO_INTERRUPT")
"""How the names of instructions begin after which signals are looked for, and of some that only seem so."""


class Interruptible:
    """A client whose next call is told of its points or interrupted, where there is a `cut`."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.cut: Cut | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if self.cut is None or not callable(method):
            return method

        @wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            cut, self.cut = self.cut, None
            if cut is None:
                return method(*arguments, **keywords)
            sys._getframe().f_trace_opcodes = True  # else CPython 3.12 leaves out the first call of the process
            trace(cut.frame)
            try:
                answer = method(*arguments, **keywords)
            finally:
                trace(None)
            return Cancellable(cut, answer) if inspect.isawaitable(answer) else answer

        return call


class Beside:
    """Pushes of the same client, made on its loop while a call is under way that is cancelled.

    The first is `ahead` so many steps when the call begins, and the second begins in the instant of the cancellation.
    Where the call waits for a task, there is the second alone, and so many steps after it has returned the call is
    cancelled.
    """

    def __init__(self, push: Callable[[str], Any], ahead: int, *, waits: bool) -> None:
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.ahead, self.waits = ahead, waits
        self._push = push

    def begin(self, name: str) -> None:
        """The push of that name is under way."""

        async def push() -> Any:
            return await self._push(name)

        self.tasks[name] = asyncio.ensure_future(push())

    def meet(self, cut: Cut, waiting: asyncio.Task[Any] | None) -> None:
        """As soon as a push has returned, the call that waits is cancelled."""

        async def push() -> Any:
            await asyncio.sleep(WAITING)
            answer = await self._push("late")
            for _ in range(self.ahead):
                await asyncio.sleep(0)
            if waiting is not None and not waiting.done():
                cut.done = waiting.cancel()
            return answer

        self.tasks["late"] = asyncio.ensure_future(push())


WAITING = 0.02
"""Seconds after which a call that waits for a task is taken to wait."""


class Cancellable:
    """A coroutine whose awaits are its points."""

    def __init__(self, cut: Cut, awaited: Any) -> None:
        self._cut, self._awaited = cut, awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaited.__await__()
        resume: Callable[[], Any] = partial(steps.send, None)
        number, beside = 0, self._cut.beside
        if beside is not None and beside.waits:
            beside.meet(self._cut, asyncio.current_task())
        elif beside is not None:
            beside.begin("early")
            for _ in range(beside.ahead):
                yield  # the loop goes on with what is ahead
        while True:
            try:
                waited = resume()
            except StopIteration as over:
                return over.value
            number += 1
            try:
                self._cut.reach(Point("", 0, "await", number))
            except Interrupted:
                if beside is not None:
                    beside.begin("late")
                task = asyncio.current_task()
                if task is not None:
                    task.cancel()  # and so what it is about to wait for is cancelled
            try:
                sent = yield waited
            except BaseException as error:
                resume = partial(steps.throw, error)
            else:
                resume = partial(steps.send, sent)
