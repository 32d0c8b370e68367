"""How a handler failed: the exception, and the text that stays on the task; and what is no failure of a task.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from lowq.backend import LowqError
from lowq.endings import Discard, Ending, ending_of
from lowq.error_text import fitting, give_cause, in_full, is_a, leaves, message, type_name
from lowq.worker.stopping import Stopping


class HandlerFailed(LowqError):
    """A handler in a child process raised what cannot be sent to its parent; the text is its traceback there."""


class TimeLimitExceeded(LowqError):
    """The handler ran for longer than `time_limit`, and its process was killed."""


class HandlerDied(LowqError):
    """The process that ran the handler ended before the handler did: it was killed, crashed, or called os._exit."""


class NotRun(LowqError):
    """The handler returned something whose body nobody ran, so that its task is not done."""


class TaskFailed(LowqError):
    """The task failed, and the text says why: it stays on the task as it is, without a traceback."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler raised, and its traceback as text.

    `passes`: it is meant for the program, not for the task. `ending`: no failure, but how the handler ends its task.
    """

    error: BaseException
    reason: str
    passes: bool = False
    ending: Ending | None = None


_OUTCOMES = {"_pytest.outcomes": "OutcomeException", "hypothesis.errors": "StopTest"}
"""What test frameworks raise to end a test: module and class, looked up where the module is loaded anyway."""


def passes(error: BaseException) -> bool:
    """Whether what a handler raised is meant for the program: Stopping, KeyboardInterrupt, a test's own outcome.

    All else is a failure of its task: SystemExit, since a program's `main` that a handler calls must not end the
    queue; a CancelledError, GeneratorExit or a library's own BaseException, since it would end one worker after the
    other. A group passes where one of its exceptions does.
    """
    kinds = [type(each) for each in leaves(error)]
    meant = (Stopping, KeyboardInterrupt, *_test_outcomes())
    return any(issubclass(kind, meant) and not issubclass(kind, Exception) for kind in kinds)


def is_stopping(error: BaseException) -> bool:
    """Whether it is Stopping, or a group with it among its exceptions, as a task group makes one."""
    return any(is_a(each, Stopping) for each in leaves(error))


def failure_of(error: BaseException) -> Failure:
    """The failure of a handler that raised `error`, told from the handler's own frame on."""
    ending = ending_of(error)
    if isinstance(ending, Discard):
        return Failure(error, ending.reason, ending=ending)
    if is_a(error, TaskFailed):
        return Failure(error, fitting(message(error)))
    return Failure(error, f"{in_full(error, _handlers_own(error))}\n", passes(error), ending)


Packed = tuple[str, bytes | None, bool, Ending | None]


def pack(failure: Failure) -> Packed:
    """The failure as it can be sent to another process: with the exception pickled, where that works."""
    pickled: bytes | None = None
    try:
        pickled = pickle.dumps(_sendable(failure.error))
        pickle.loads(pickled)
    except KeyboardInterrupt:
        raise
    except BaseException:  # whatever an exception's own __reduce__ or __init__ raises
        pickled = None
    return failure.reason, pickled, failure.passes, failure.ending


def unpack(packed: Packed) -> Failure:
    """The failure that was packed; HandlerFailed stands for an exception that cannot be made here."""
    reason, pickled, passing, ending = packed
    error: object = None
    try:
        error = None if pickled is None else pickle.loads(pickled)
    except KeyboardInterrupt:
        raise
    except BaseException:  # its class, say, was made in the child only
        error = None
    if not is_a(error, BaseException):
        return Failure(ending or HandlerFailed(reason), reason, passing, ending)
    give_cause(error, HandlerFailed(reason))  # a traceback does not travel; its text does
    return Failure(error, reason, passing, ending)


def time_is_up(time_limit: timedelta) -> Failure:
    """The failure of a handler that was killed at its limit."""
    text = f"killed at its time limit of {time_limit.total_seconds():g} s"
    return Failure(TimeLimitExceeded(text), text)


_BETWEEN = ("lowq.worker.", "lowq.current_task", "lowq.hooks", "asyncio.", "uvloop", "concurrent.futures.")
"""Whose frames stand between a worker and its handler."""


def _handlers_own(error: BaseException) -> TracebackType | None:
    """The traceback from the handler's own frame on; the whole, where it has none."""
    whole: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    trace = whole
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_BETWEEN):
        trace = trace.tb_next
    return trace or whole


def _sendable(error: BaseException) -> object:
    """The exception, or what makes another one like it: pytest's say that they are of the module builtins."""
    name = type_name(error)
    outcome = getattr(sys.modules.get("_pytest.outcomes"), name, None)
    return error if type(error) is not outcome else _OutcomeOfTest(name, message(error))


class _OutcomeOfTest:
    def __init__(self, name: str, text: str) -> None:
        self._made = name, text

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return _outcome_of_test, self._made


def _outcome_of_test(name: str, text: str) -> object:
    return getattr(sys.modules["_pytest.outcomes"], name)(text)


def _test_outcomes() -> list[type]:
    found = (getattr(sys.modules.get(module), name, None) for module, name in _OUTCOMES.items())
    return [each for each in found if isinstance(each, type)]
