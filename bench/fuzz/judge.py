"""What a refusal must be like: one of lowq's errors, or a TypeError or ValueError that names what was wrong."""

from __future__ import annotations

import re
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from bench.fuzz.values import Theirs
from lowq import LowqError

LONGEST = 30
"""Seconds after which a call counts as one that hangs."""


class RawError(AssertionError):
    """A call ended otherwise than it may."""


class _HangsError(BaseException):
    """The call took too long."""


def judge(
    what: str, names: Collection[str], call: Callable[[], Any], *, kept: Callable[[], Any] | None = None
) -> bool:
    """Whether the call was refused. Raises RawError where that was not by name, or where something was written.

    `names` are those by which a message may call what was odd. What `kept` answers is the same before and after a
    refusal. An error of the caller's own object may go through.
    """
    before = None if kept is None else kept()
    try:
        with _in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
        return False
    except (LowqError, Theirs) as error:
        if not isinstance(error, Theirs) and not str(error):
            raise RawError(f"{what}: {type(error).__name__} without a word") from error
    except (TypeError, ValueError) as error:
        _check(what, names, error)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise RawError(f"{what}: {type(error).__name__} is no error of ours: {_told(error)}") from error
    if kept is not None and kept() != before:
        raise RawError(f"{what}: it was refused, and yet something was written")
    return True


def _check(what: str, names: Collection[str], error: Exception) -> None:
    text = str(error)
    if type(error) not in (TypeError, ValueError):
        raise RawError(f"{what}: {type(error).__name__} is no error of ours: {_told(error)}") from error
    if not any(re.search(rf"\b{re.escape(name)}\b", text) for name in names):
        raise RawError(f"{what}: the message names none of {', '.join(names)}: {_told(error)}") from error
    if "expected" not in text and "say " not in text and "give one" not in text and "missing" not in text:
        raise RawError(f"{what}: the message does not say what was expected: {_told(error)}") from error


def _told(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:
        text = "(no text)"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text[:300]!a} ({frame.filename.rpartition('/')[2]}:{frame.lineno})"


@contextmanager
def _in_time() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> None:
        raise _HangsError(f"no end after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
