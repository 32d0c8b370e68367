"""What is read back of a push, and whether it is still what was pushed. The same for every backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lowq.backend import NO_HEADERS, Damaged, Headers, InvalidWork, Work
from lowq.rules.canonical import decode, encode
from lowq.rules.entry import checksum
from lowq.rules.headers import headers_of
from lowq.rules.origin import let_through_strange

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a queue's storage: in the whole of it, or in the task of this id."""

    fault: str
    queue: str | None = None
    id: str | None = None


class Unreadable(ValueError):
    """What storage holds of a task is not what was pushed, or not what this interpreter can read; says what."""


def read_work(text: object, key: object, headers: object, crc: object) -> Work:
    """The work of a stored text. Raises Unreadable where it is no JSON any more, or was changed since it was pushed.

    `crc` is the checksum of the push, or None where none was kept; then the text must at least be a work's.
    """
    if not isinstance(text, str):
        raise Unreadable(f"work: expected text, found {type(text).__name__}")
    if key is not None and not isinstance(key, str):
        raise Unreadable(f"key: expected text, found {type(key).__name__}")
    if headers is not None and not isinstance(headers, str):
        raise Unreadable(f"headers: expected text, found {type(headers).__name__}")
    whole = crc is not None and crc == checksum(text, key, headers)
    try:
        work = decode(text)
        if crc is None:
            encode(work)
    except RecursionError as error:
        let_through_strange(error)
        if whole:  # the caller is deep in calls, and the work is as it was pushed
            raise
        raise Unreadable("work: nested too deeply") from None
    except InvalidWork as error:  # says where in the work
        let_through_strange(error)
        raise Unreadable(str(error)) from None
    except ValueError as error:
        let_through_strange(error)
        raise Unreadable(f"work: {error}") from None
    if not whole and crc is not None:
        raise Unreadable("work, key or headers: not what was pushed (their checksum differs)")
    return work


def read_headers(text: object) -> Headers:
    """The headers of a stored text. Raises Unreadable where they are none."""
    if text is None:
        return NO_HEADERS
    try:
        return headers_of(text)  # type: ignore[arg-type]  # what is no text is a TypeError
    except (TypeError, ValueError, RecursionError) as error:
        let_through_strange(error)
        raise Unreadable(f"headers: {error}") from None


def read_or(read: Callable[[], T], otherwise: T) -> T:
    """What is read, or `otherwise` where it is Unreadable."""
    try:
        return read()
    except Unreadable:
        return otherwise


def read_text(data: bytes | None) -> str | bytes | None:
    """The text that is kept, or the bytes where they are none."""
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError as error:
        let_through_strange(error)
        return data


def reason_of(fault: object) -> str:
    """Why a task is set aside that cannot be read."""
    return f"damaged: {fault}; no worker got it"


def mark_damaged(text: object) -> Damaged:
    """The marker for a work that cannot be read: its text, with the bytes that are no text escaped."""
    if isinstance(text, bytes):
        return Damaged(text.decode(errors="backslashreplace"))
    return Damaged("" if text is None else str(text))
