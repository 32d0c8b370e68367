"""What a server tells of tasks, as tasks; and the ids, which say which life of the queue made them.

An id is an epoch and a number. The number grows with each push; the epoch changes with each process of the server
that writes, so that a number which is given twice, since a failover or a crash lost a push, makes another id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lowq.backend import NO_HEADERS, Lease, State, Task
from lowq.clock import LAST_MICROS, to_datetime
from lowq.rules.damage import mark_damaged, read_headers, read_or, read_text, read_work
from lowq.rules.entry import MAX_PRIORITY, MIN_PRIORITY

_STATES = {b"S": State.SCHEDULED, b"R": State.READY, b"L": State.LEASED, b"D": State.DEAD}
_LAST = 2**53


def number(id: str) -> int:
    """The number in an id; 0, which none has, for a text that is no id of ours."""
    return split(id)[1]


def split(id: str) -> tuple[str, int]:
    """The epoch and the number of an id; ``("", 0)`` for a text that is none of ours."""
    epoch, dash, text = id.partition("-")
    if dash and epoch and text.isascii() and text.isdigit() and len(text) < 17 and text[0] != "0":
        found = int(text)
        if found < _LAST and epoch.isascii() and epoch.isalnum():
            return epoch, found
    return "", 0


def place_of(number: int) -> bytes:
    """A number as the server keeps it."""
    return b"%016d" % number


def instant(micros: int) -> bytes:
    """An instant as the server keeps it."""
    return b"%018d" % micros


def task_of(told: Sequence[Any], now: int) -> Task:
    """The task that the server tells of; what fell due and what was leased for too long is ready.

    Of a damaged one it says what can be said, with Damaged in place of the work where that cannot be read.
    """
    seq, state, epoch, rank, _, due, not_before, attempts, _, reason, pushed_at, crc, key, headers, text = told
    kept = _STATES.get(state, State.DEAD)
    if due is not None and kept in (State.SCHEDULED, State.LEASED) and _micros(due) <= now:
        kept = State.READY
    work, heads = read_text(text), read_text(headers)
    said, shown_key = read_text(reason), read_text(key)
    return Task(
        f"{epoch.decode(errors='replace')}-{int(seq)}",
        read_or(lambda: read_work(work, shown_key, heads, crc), mark_damaged(work)),
        shown_key if isinstance(shown_key, str) else None,
        max(MIN_PRIORITY, min(-rank, MAX_PRIORITY)),
        None if not_before is None else to_datetime(_micros(not_before)),
        max(0, attempts),
        kept,
        said if isinstance(said, str | None) else mark_damaged(said).text,
        to_datetime(_micros(pushed_at)),
        read_or(lambda: read_headers(heads), NO_HEADERS),
    )


def lease_of(told: Sequence[Any], ends: int) -> Lease:
    """The lease on a task that was just claimed. Raises Unreadable, which says what of the task is damaged."""
    seq, _, epoch, rank, _, _, not_before, attempts, token, reason, pushed_at, crc, key, headers, text = told
    heads, shown_key = read_text(headers), read_text(key)
    task = Task(
        f"{epoch.decode()}-{int(seq)}",
        read_work(read_text(text), shown_key, heads, crc),
        shown_key,  # type: ignore[arg-type]  # read_work has looked at it
        -rank,
        None if not_before is None else to_datetime(_micros(not_before)),
        attempts,
        State.LEASED,
        read_text(reason),  # type: ignore[arg-type]
        to_datetime(_micros(pushed_at)),
        read_headers(heads),
    )
    return Lease(task, token.decode(), to_datetime(ends))


def holder_of(told: Sequence[Any]) -> tuple[bytes, bytes, bytes]:
    """The number, epoch and token of a task that was just claimed."""
    return told[0], told[2], told[8]


def _micros(text: bytes) -> int:
    return min(int(text), LAST_MICROS) if isinstance(text, bytes) and text.isdigit() else 0
