"""Rows of an SQLite queue: what one says of its task, and how many and which there are."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import chain
from typing import Any

from lowq.backend import NO_HEADERS, Counts, State, Task
from lowq.backends.numbers import number
from lowq.backends.sqlite.names import SharedCursor, in_shared_tables
from lowq.clock import LAST_MICROS, is_datetime, to_datetime, to_micros
from lowq.rules.damage import Unreadable, mark_damaged, read_headers, read_or, read_work
from lowq.rules.entry import MAX_PRIORITY, MIN_PRIORITY
from lowq.rules.paging import place_in_list

COLUMNS = "id, work, key, rank, not_before, attempts, state, reason, due, pushed_at, headers, crc"

_WAITS = f"due > :now AND due <= {LAST_MICROS}"
"""Not due yet; text and bytes, which a damaged file may hold, are greater than any number to SQLite."""

_STATES = (State.SCHEDULED, State.READY, State.LEASED, State.DEAD)
_LEAST_RANK, _GREATEST_RANK = -MAX_PRIORITY, -MIN_PRIORITY

Row = tuple[Any, ...]
"""The values of `COLUMNS`. A file may be damaged: of none of them but the id is the type certain."""


def fetch(db: sqlite3.Cursor, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[Row]:
    """The rows that the statement gives, in one call into C.

    Whatever comes in between two instructions, no cursor has more rows: it would keep its part of the file from being
    written to, and a connection from being closed.
    """
    execute = db.execute
    if isinstance(db, SharedCursor):  # whose own method is Python's
        execute, statement = partial(sqlite3.Cursor.execute, db), in_shared_tables(statement)
    rows: list[Row] = list(chain.from_iterable(map(execute, (statement,), (values,))))
    return [as_held(row) for row in rows]


def as_held(row: Row) -> Row:
    """The row that was read by `text_of`, with bytes where it holds what is no text."""
    for value in row:
        if type(value) is str and not value.isascii():
            return tuple(map(_as_held, row))
    return row


text_of = partial(str, encoding="utf-8", errors="surrogateescape")
"""The text that SQLite holds. It runs in C alone: in code of Python a signal handler might close the connection while
the module sqlite3 reads from it, which ends the process. `as_held` tells what is no text."""


def _as_held(value: object) -> object:
    """The value; the bytes where it is no text: sqlite3's own error would name no row."""
    if isinstance(value, str) and _ESCAPED.search(value):  # and no `try`, in which a signal handler may raise
        return value.encode(errors="surrogateescape")
    return value


_ESCAPED = re.compile("[\udc80-\udcff]")


def read_claimed(row: Row) -> Task:
    """The task of a row that was just leased. Raises Unreadable, which says what of the row is damaged."""
    id, work, key, rank, not_before, attempts, _, reason, _, pushed_at, headers, crc = row
    if type(rank) is not int or not _LEAST_RANK <= rank <= _GREATEST_RANK:
        raise Unreadable(f"rank: {_describe(rank)} is no priority")
    if type(attempts) is not int or attempts < 1:
        raise Unreadable(f"attempts: {_describe(attempts)} is no number of claims")
    if reason is not None and not isinstance(reason, str):
        raise Unreadable(f"reason: expected text, found {type(reason).__name__}")
    return Task(
        str(id),
        read_work(work, key, headers, crc),
        key,
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
    id, work, key, rank, not_before, attempts, state, reason, due, pushed_at, headers, crc = row
    known = type(state) is int and 0 <= state <= 3
    late = known and type(due) is int and due <= now
    return Task(
        id=str(id),
        work=read_or(lambda: read_work(work, key, headers, crc), mark_damaged(work)),
        key=key if isinstance(key, str) else None,
        priority=_priority(rank),
        not_before=read_or(lambda: None if not_before is None else _instant(not_before, ""), None),
        attempts=attempts if type(attempts) is int and attempts >= 0 else 0,
        state=State.READY if late else _STATES[state] if known else State.DEAD,
        reason=reason if isinstance(reason, str | None) else mark_damaged(reason).text,
        pushed_at=read_or(lambda: _instant(pushed_at, ""), to_datetime(0)),
        headers=read_or(lambda: read_headers(headers), NO_HEADERS),
    )


def _instant(micros: object, what: str) -> datetime:
    if type(micros) is not int or not 0 <= micros <= LAST_MICROS:
        raise Unreadable(f"{what}: {_describe(micros)} is no time")
    return to_datetime(micros)


def _priority(rank: object) -> int:
    """The priority of a rank; of a damaged one, that of the end of the claim order at which SQLite sorts it."""
    if isinstance(rank, int | float):
        return -int(min(max(rank, _LEAST_RANK), _GREATEST_RANK))
    return MAX_PRIORITY if rank is None else MIN_PRIORITY


def _describe(value: object) -> str:
    return ascii(value) if value is None or isinstance(value, int | float) else type(value).__name__


def list_tasks(
    db: sqlite3.Cursor, queue: int, now: int, state: State, after: Task | None, limit: int | None
) -> list[Task]:
    """The tasks of one state behind `after`, in order."""
    values: dict[str, object] = {"queue": queue, "now": now, "limit": -1 if limit is None else limit}
    if after is not None:
        _, within, values["id"] = place_in_list(after, number)
        values["within"] = to_micros(within) if is_datetime(within) else within
    parts: list[tuple[str, str, str]]
    if state is State.READY:
        # Those whose time has come since the last claim are few, and not yet in the index of the ready.
        both = ("state = 1", "due <= :now")
        parts = [(f"{each} AND rank <= {_GREATEST_RANK}", "(rank, id) > (:within, :id)", "rank, id") for each in both]
        # A damaged rank is listed at the end, where its task has the least priority.
        last = "id > :id" if after is not None and after.priority == MIN_PRIORITY else "TRUE"
        parts += [(f"{each} AND rank > {_GREATEST_RANK}", last, "id") for each in both]
    elif state is State.SCHEDULED:
        parts = [(f"state = 0 AND {_WAITS}", "(due, id) > (:within, :id)", "due, id")]
    elif state is State.LEASED:
        parts = [(f"state = 2 AND {_WAITS}", "id > :id", "id")]
    else:
        parts = [("state = 3", "id > :id", "id")]
    pages = []
    for part, behind, order in parts:
        where = f"queue = :queue AND {part}" + ("" if after is None else f" AND {behind}")
        statement = f"SELECT {COLUMNS} FROM task WHERE {where} ORDER BY {order} LIMIT :limit"
        pages.append([task_of(row, now) for row in fetch(db, statement, values)])
    return list(merge(*pages, key=lambda task: place_in_list(task, number)))[:limit]


def counts(db: sqlite3.Cursor, queue: int, now: int) -> Counts:
    """How many tasks are in each state; a lease that ran out counts as ready."""
    (row,) = fetch(
        db,
        f"SELECT (SELECT count(*) FROM task WHERE queue = :queue AND {_WAITS} AND state = 0),"
        " (SELECT count(*) FROM task WHERE queue = :queue AND state = 1)"
        " + (SELECT count(*) FROM task WHERE queue = :queue AND due <= :now),"
        f" (SELECT count(*) FROM task WHERE queue = :queue AND {_WAITS} AND state = 2),"
        " (SELECT count(*) FROM task WHERE queue = :queue AND state = 3)",
        {"queue": queue, "now": now},
    )
    return Counts(*row)


def is_anything_due(db: sqlite3.Cursor, queue: int, now: int) -> bool:
    """Whether a claim would find a task."""
    statement = (
        "SELECT EXISTS (SELECT 1 FROM task WHERE queue = :queue AND state = 1)"
        " OR EXISTS (SELECT 1 FROM task WHERE queue = :queue AND due <= :now)"
    )
    return bool(fetch(db, statement, {"queue": queue, "now": now})[0][0])
