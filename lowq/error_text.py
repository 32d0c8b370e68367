"""How an exception is shown, whatever its class does: in a log, in a reason, on a terminal, in a test's report.

An exception's `__str__` may raise, answer no string, or an endless one; its class may forbid writing to it. Nothing
here raises for that, but for KeyboardInterrupt.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeGuard, TypeVar

Kind = TypeVar("Kind")

LONGEST = 20_000
"""Characters of a text that is kept; of a longer one, the beginning and the end are."""

_LINE = 1000


def show_error(error: BaseException, limit: int = _LINE) -> str:
    """``ValueError: what it says`` in one printable line of at most `limit` characters."""
    text = message(error)
    line = f"{type_name(error)}: {text[:limit]}" if text else type_name(error)
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return line if len(line) <= limit and len(text) <= limit else f"{line[: limit - 1]}…"


def message(value: object) -> str:
    """``str(value)``, or that it cannot be had and why."""
    try:
        return str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"<its text cannot be had: {type_name(value)}.__str__ raised {type_name(error)}>"


def in_full(error: BaseException, trace: TracebackType | None = None) -> str:
    """The exception with its traceback, or with `trace`, and its causes; without a line break at the end."""
    trace = trace or traceback_of(error)
    try:
        text = "".join(traceback.format_exception(type(error), error, trace))
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"{''.join(_frames(trace))}{show_error(error)}"
    return fitting(text.rstrip("\n"))


def is_printable(error: BaseException) -> bool:
    """Whether Python itself can print the exception, at a fair length, so that it can be written and sent."""
    try:
        text = "".join(traceback.format_exception(type(error), error, traceback_of(error)))
        return len(text.encode()) < LONGEST  # which a lone surrogate refuses
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False


def fitting(text: str) -> str:
    """The text as a reason can keep it: without lone surrogates, and not endless."""
    half = LONGEST // 2
    if len(text) > LONGEST:
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text.encode("utf-8", "backslashreplace").decode()


def annotate(error: BaseException, note: str) -> None:
    """The note stands below the exception where it is shown, also on one whose class forbids writing to it."""
    try:
        notes = list(getattr(error, "__notes__", ()))
        object.__setattr__(error, "__notes__", [*notes, note])
    except KeyboardInterrupt:
        raise
    except BaseException:  # a class with a property of that name, say: it is raised without the note
        return


def give_cause(error: BaseException, cause: BaseException) -> None:
    """`cause` is shown above the exception, also above one whose class forbids writing to it."""
    _slot("__cause__").__set__(error, cause)


def members(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions of a group, also of one that hides them; none of what is no group."""
    found: tuple[BaseException, ...] = ()
    if is_a(error, BaseExceptionGroup):
        found = BaseExceptionGroup.__dict__["exceptions"].__get__(error)
    return found


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The exception, or, of a group, all in it that are no groups, however deep they lie."""
    rest = [error]
    while rest:
        error = rest.pop()
        rest.extend(members(error))
        if not is_a(error, BaseExceptionGroup):
            yield error


def is_a(error: object, kind: type[Kind]) -> TypeGuard[Kind]:
    """Whether it is of that class, also where its own `__class__` says otherwise, or raises."""
    return issubclass(type(error), kind)


def type_name(value: object) -> str:
    """The name of its class, also where a metaclass has another idea of it."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def traceback_of(error: BaseException) -> TracebackType | None:
    """Its traceback, also of one whose class hides it."""
    found: TracebackType | None = _slot("__traceback__").__get__(error)
    return found


def _slot(name: str) -> Any:
    """What Python itself keeps there, which no subclass can hide."""
    return BaseException.__dict__[name]


def _frames(trace: TracebackType | None) -> list[str]:
    try:
        return ["Traceback (most recent call last):\n", *traceback.format_tb(trace)]
    except Exception:  # a source file that changed meanwhile, say
        return []
