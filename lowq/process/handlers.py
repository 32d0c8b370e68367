"""Tells whether an exception came from a signal handler.

`raise TimeoutError` in an alarm's handler is an OSError, and as such must not be taken for one of the system's.
"""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType
from typing import Any


def is_of_a_handler(error: BaseException) -> bool:
    """Whether one of the handlers that this process has now raised it, or something that it called."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is None:
        return False  # the one frame is of who caught it
    codes = {id(code) for each in signal.valid_signals() if (code := _code_of(signal.getsignal(each))) is not None}
    while trace is not None:
        if id(trace.tb_frame.f_code) in codes:
            return True
        trace = trace.tb_next
    return False


def let_through(error: BaseException) -> None:
    """Raise the error where a handler raised it: who caught it takes it for another's no longer."""
    if is_of_a_handler(error):
        raise error


def let_through_hidden(error: BaseException) -> None:
    """Raise what a handler raised, where a library caught that and raised this error of its own instead.

    What somebody handled already when the call began stands behind the error too; that one was caught elsewhere.
    """
    frames, trace = set[int](), error.__traceback__
    while trace is not None:
        frames.add(id(trace.tb_frame))
        trace = trace.tb_next
    hidden = error.__context__
    while hidden is not None:
        if hidden.__traceback__ is not None and id(hidden.__traceback__.tb_frame) in frames:
            let_through(hidden)
        hidden = hidden.__context__


class Suppressed:
    """A block whose errors of these kinds are dropped, but not those that a handler raised."""

    def __init__(self, *kinds: type[Exception]) -> None:
        self._kinds = kinds

    def __enter__(self) -> None:
        """Nothing is dropped yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, self._kinds) and not is_of_a_handler(error)


def _code_of(handler: Any) -> CodeType | None:
    """The code of a handler that is written in Python."""
    while isinstance(handler, partial):
        handler = handler.func
    function = getattr(handler, "__func__", handler)
    code = getattr(function, "__code__", None)
    if code is None and callable(handler):
        code = getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
