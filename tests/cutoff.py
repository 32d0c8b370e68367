"""Cuts a call off at a chosen instruction, as a signal handler may: by an exception, or by code that runs in between.

A tracer counts the instructions of Python that run in the files of one package. At the chosen one it acts: an
exception that it raises is raised in the traced call right before that instruction, and what it runs, runs there on
top of the call. A test tries 0, 1, 2, … until the call ends before the chosen instruction comes::

    def test_a_push_that_is_cut_off_is_whole_or_absent(queue):
        for index in cut_offs(lambda: queue.push(1)):
            assert queue.count() in (Counts(), Counts(ready=1)), index

Signals of the operating system hit fewer places than this: only calls and jumps backwards.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import lowq

PACKAGE = f"{Path(lowq.__file__).parent}/"


class CutOff(BaseException):
    """What a signal handler raised."""


def cut_off() -> None:
    """Raise CutOff, as a signal handler would."""
    raise CutOff


def at_instruction(
    index: int,
    call: Callable[[], object],
    act: Callable[[], object] = cut_off,
    package: str | tuple[str, ...] = PACKAGE,
) -> bool:
    """Run `call`, and `act` before its instruction of that number; False: it ran fewer. Its exceptions are raised."""
    left = index

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "opcode":
            left -= 1
            if left == -1:
                act()
        return count

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        if left < 0 or not frame.f_code.co_filename.startswith(package):
            return None
        frame.f_trace = count  # else CPython 3.13 leaves out the first call of each function
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return count

    sys._getframe().f_trace_opcodes = True  # else CPython 3.12 leaves out the first call of the process
    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # its finalizers run inside calls of sqlite3, and would be counted
    sys.settrace(enter)
    try:
        next(alone(call), None)
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return left < 0


def alone(call: Callable[[], object]) -> Iterator[object]:
    """A generator's call: an exception that the interpreter takes for handled there is so no longer outside it.

    Cut off as an `except` is entered or left, where no guard is yet, CPython forgets to put back what was handled
    before: from then on each exception of the thread would have that one as its context.
    """
    yield call()


def cut_offs(call: Callable[[], object], *, step: int = 1, first: int = 0) -> Iterator[int]:
    """Cut `call` off at every `step`-th of its instructions, and give the number of each after it was done."""
    index = first
    while True:
        reached = True
        with suppress(CutOff):
            reached = at_instruction(index, call)
        if not reached:
            return
        yield index
        index += step


def interjected(
    call: Callable[[], object], act: Callable[[], object], *, step: int = 1
) -> Iterator[tuple[int, object]]:
    """Run `act` at every `step`-th instruction of `call`, and give its number and what `call` answered."""
    index = 0
    while True:
        answers: list[object] = []
        if not at_instruction(index, lambda: answers.append(call()), act):  # noqa: B023  called at once
            return
        yield index, answers[0]
        index += step
