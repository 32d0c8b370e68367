"""What a backend keeps of a push: the item, checked, in the form that storage takes. The same for every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, TypeVar
from zlib import crc32

from lowq.backend import InvalidWork, Item, Work
from lowq.clock import to_micros
from lowq.excerpt import excerpt
from lowq.rules.canonical import check_key, digest_of, encode_both
from lowq.rules.headers import headers_text
from lowq.rules.origin import let_through_strange

T = TypeVar("T")
C = TypeVar("C")

MIN_PRIORITY, MAX_PRIORITY = -(2**31), 2**31 - 1


class Entry(NamedTuple):
    """A checked item: canonical text, the digest that dedupes it, its time in microseconds since 1970, and the
    canonical text of its headers, None where there are none."""

    text: str
    key: str | None
    digest: bytes
    priority: int
    not_before: int | None
    headers: str | None
    crc: int


def entry(
    work: Work,
    key: str | None,
    priority: int,
    not_before: datetime | None,
    headers: Mapping[str, str] | None,
) -> Entry:
    """The entry of a push. Raises InvalidWork, TypeError or ValueError, naming the part that is wrong."""
    # Few calls, since each of them costs a push: who waits for the disk in between finds no cache warm.
    if key is not None:
        check_key(key)
    if type(priority) is not int or not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        check_priority(priority)
    due = None if not_before is None else to_micros(not_before, "not_before")
    heads = None if headers is None else headers_text(headers)
    text, data = encode_both(work)
    sum = crc32(data) if key is None and heads is None else checksum_of(data, key, heads)
    return _new(Entry, (text, key, digest_of(data, key), priority, due, heads, sum))


_new: Callable[[type[Entry], tuple[object, ...]], Entry] = tuple.__new__
"""An Entry of a tuple of its values, at a third of what it costs to call Entry."""


def checksum(text: str, key: str | None, headers: str | None) -> int:
    """A CRC-32 of a work's text, its key and its headers' text, by which storage that was damaged shows itself."""
    return checksum_of(text.encode(), key, headers)


def checksum_of(data: bytes, key: str | None, headers: str | None) -> int:
    """As `checksum`, of the text's UTF-8."""
    sum = crc32(data)
    if key is not None:
        sum = crc32(b"\0key" + key.encode(), sum)
    return sum if headers is None else crc32(b"\0headers" + headers.encode(), sum)


def entries(items: Iterable[Item]) -> list[Entry]:
    """The entries of a batch; an error names the index of the item that is wrong."""
    return check_each(
        items, Item, lambda item: entry(item.work, item.key, item.priority, item.not_before, item.headers)
    )


def check_each(values: Iterable[T], kind: type[T], check: Callable[[T], C]) -> list[C]:
    """What `check` makes of each of the values, which are of that kind; an error names the index of the wrong one."""
    checked = []
    name = kind.__name__
    for index, value in enumerate(iterate(values, f"{name.lower()}s: expected {name}s, one after another")):
        if not isinstance(value, kind):
            raise TypeError(f"{name.lower()} {index}: expected a lowq.{name}, got {type(value).__name__}")
        try:
            checked.append(check(value))
        except (InvalidWork, TypeError, ValueError) as error:
            let_through_strange(error)
            raise type(error)(f"{name.lower()} {index}: {error}") from None
    return checked


def iterate(values: Iterable[T], expected: str) -> Iterator[T]:
    """The values one by one. Raises TypeError, which says what was expected, where nothing can be gone through."""
    try:
        return iter(values)
    except TypeError as error:
        let_through_strange(error)
        raise TypeError(f"{expected}, got {type(values).__name__}") from None


def check_priority(priority: int) -> None:
    """Raise TypeError or ValueError unless `priority` is an int of 32 bits."""
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority: expected an int, got {type(priority).__name__}")
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        raise ValueError(f"priority: expected -2**31 to 2**31-1, got {excerpt(priority)}")
