"""Rows of a PostgreSQL queue: what one says of its task, and how values go to the server and come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from struct import Struct, pack
from typing import Any, NamedTuple

from lowq.backend import NO_HEADERS, State, Task
from lowq.clock import to_datetime
from lowq.rules.damage import Unreadable, mark_damaged, read_headers, read_or, read_text, read_work
from lowq.rules.origin import let_through_strange

COLUMNS = "id work key rank not_before attempts state reason due pushed_at headers crc".split()

Value = int | bool | str | bytes | None
Row = tuple[Any, ...]
"""The values of `COLUMNS`, and perhaps more."""


class Array(NamedTuple):
    """Values of one type, or NULL."""

    kind: int
    values: Sequence[Value]


_STATES = (State.SCHEDULED, State.READY, State.LEASED, State.DEAD)
BYTES, BIGINT, TEXT = 17, 20, 25
"""The numbers of PostgreSQL's types, as its catalogue has them."""


@cache
def columns(table: str = "") -> str:
    """The columns of a task for a SELECT, of that table or row."""
    return ", ".join(f"{table}{name}" for name in COLUMNS)


def to_server(value: Value | Array) -> bytes | None:
    """The value in PostgreSQL's binary form; a number is a bigint."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return _bigint(value) if not isinstance(value, bool) else b"\1" if value else b"\0"
    if isinstance(value, str):
        return value.encode()
    return _array(value)


_bigint = Struct("!q").pack


def _array(array: Array) -> bytes:
    """One dimension, counted from 1."""
    if not array.values:
        return pack("!iiI", 0, 0, array.kind)
    parts = [pack("!iiIii", 1, int(None in array.values), array.kind, len(array.values), 1)]
    for value in array.values:
        data = to_server(value)
        parts.append(pack("!i", -1) if data is None else pack("!i", len(data)) + data)
    return b"".join(parts)


def reader(kind: int) -> Callable[[bytes], Any]:
    """What reads PostgreSQL's binary form of a value of the type with that number; of any other type, the bytes."""
    return _READERS.get(kind, bytes)


_READERS: Mapping[int, Callable[[bytes], Any]] = {
    **dict.fromkeys((20, 21, 23, 26), partial(int.from_bytes, byteorder="big", signed=True)),
    16: b"\1".__eq__,
    TEXT: partial(bytes.decode, errors="replace"),
}


def utf8(text: str | None) -> bytes | None:
    """The text as it is kept."""
    return None if text is None else text.encode()


def read_claimed(row: Row) -> Task:
    """The task of a row that was just leased. Raises Unreadable, which says what of the row is damaged."""
    id, work, key, rank, not_before, attempts, _, reason, _, pushed_at, headers, crc = row[:12]
    work, key, reason, headers = (read_text(data) for data in (work, key, reason, headers))
    if not isinstance(reason, str | None):
        raise Unreadable("reason: no text")
    return Task(
        str(id),
        read_work(work, key, headers, crc),
        key,  # type: ignore[arg-type]  # read_work refused it otherwise
        -rank,
        None if not_before is None else _instant(not_before, "not_before"),
        attempts,
        State.LEASED,
        reason,
        _instant(pushed_at, "pushed_at"),
        read_headers(headers),
    )


def task_of(row: Row, now: int) -> Task:
    """The task of a row; what fell due and what was leased for too long is ready.

    Of a damaged row it says what can be said, with Damaged in place of the work where that cannot be read.
    """
    id, work, key, rank, not_before, attempts, state, reason, due, pushed_at, headers, crc = row[:12]
    text, name, why, heads = (read_text(data) for data in (work, key, reason, headers))
    late = due is not None and due <= now
    return Task(
        id=str(id),
        work=read_or(lambda: read_work(text, name, heads, crc), mark_damaged(text)),
        key=name if isinstance(name, str) else None,
        priority=-rank,
        not_before=read_or(lambda: None if not_before is None else _instant(not_before, ""), None),
        attempts=attempts,
        state=State.READY if late else _STATES[state] if 0 <= state <= 3 else State.DEAD,
        reason=why if isinstance(why, str | None) else mark_damaged(why).text,
        pushed_at=read_or(lambda: _instant(pushed_at, ""), to_datetime(0)),
        headers=read_or(lambda: read_headers(heads), NO_HEADERS),
    )


def _instant(micros: int, what: str) -> datetime:
    try:
        return to_datetime(micros)
    except OverflowError as error:
        let_through_strange(error)
        raise Unreadable(f"{what}: {micros} is no time") from None
