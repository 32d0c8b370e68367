"""How a handler failed: the exception, and the text that stays on the task."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from datetime import timedelta

from lowq.backend import LowqError

LONGEST_REASON = 20_000
"""Characters of a reason; of a longer one, the beginning and the end are kept."""


class HandlerFailed(LowqError):
    """A handler in a child process raised what cannot be sent to its parent; the text is its traceback there."""


class TimeLimitExceeded(LowqError):
    """The handler ran for longer than `time_limit`, and its process was killed."""


class HandlerDied(LowqError):
    """The process that ran the handler ended before the handler did: it was killed, crashed, or called os._exit."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What a handler raised, and its traceback as text."""

    error: BaseException
    reason: str


def failure_of(error: BaseException) -> Failure:
    """The failure of a handler that raised `error`, told from the handler's own frame on."""
    trace = error.__traceback__
    handlers_own = trace.tb_next if trace is not None else None
    return Failure(error, fitting("".join(traceback.format_exception(type(error), error, handlers_own or trace))))


def pack(failure: Failure) -> tuple[str, bytes | None]:
    """The failure as it can be sent to another process: its reason, and the exception pickled, where that works."""
    try:
        pickled = pickle.dumps(failure.error)
        pickle.loads(pickled)
    except Exception:  # whatever an exception's own __reduce__ or __init__ raises
        return failure.reason, None
    return failure.reason, pickled


def unpack(packed: tuple[str, bytes | None]) -> Failure:
    """The failure that was packed; HandlerFailed stands for an exception that cannot be made here."""
    reason, pickled = packed
    try:
        error = None if pickled is None else pickle.loads(pickled)
    except Exception:  # its class, say, was made in the child only
        error = None
    if not isinstance(error, BaseException):
        return Failure(HandlerFailed(reason), reason)
    error.__cause__ = HandlerFailed(reason)  # a traceback does not travel; its text does
    return Failure(error, reason)


def time_is_up(time_limit: timedelta) -> Failure:
    """The failure of a handler that was killed at its limit."""
    text = f"killed at its time limit of {time_limit.total_seconds():g} s"
    return Failure(TimeLimitExceeded(text), text)


def fitting(text: str) -> str:
    """The text as a reason can keep it: without lone surrogates, and not endless."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= LONGEST_REASON:
        return text
    half = LONGEST_REASON // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
