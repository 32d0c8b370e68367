"""Rows of an SQLite queue: what one says of its task, and how many and which there are."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from heapq import merge

from lowq.backend import Counts, State, Task
from lowq.backends.numbers import number
from lowq.clock import to_datetime, to_micros
from lowq.rules.canonical import decode
from lowq.rules.headers import headers_of
from lowq.rules.paging import place_in_list

COLUMNS = "id, work, key, rank, not_before, attempts, state, reason, due, pushed_at, headers"

_STATES = (State.SCHEDULED, State.READY, State.LEASED, State.DEAD)

Row = tuple[int, str, str | None, int, int | None, int, int, str | None, int | None, int, str | None]


def task_of(row: Row, now: int) -> Task:
    """The task of a row of `COLUMNS`; what fell due and what was leased for too long is ready."""
    id, work, key, rank, not_before, attempts, state, reason, due, pushed_at, headers = row
    return Task(
        id=str(id),
        work=decode(work),
        key=key,
        priority=-rank,
        not_before=None if not_before is None else to_datetime(not_before),
        attempts=attempts,
        state=State.READY if due is not None and due <= now else _STATES[state],
        reason=reason,
        pushed_at=to_datetime(pushed_at),
        headers=headers_of(headers),
    )


def listed(
    db: sqlite3.Connection, queue: int, now: int, state: State, after: Task | None, limit: int | None
) -> list[Task]:
    """The tasks of one state behind `after`, in order."""
    parts: tuple[str, ...]
    if state is State.READY:
        # Those whose time has come since the last claim are few, and not yet in the index of the ready.
        parts, behind = ("state = 1", "due <= :now"), "(rank, id) > (:within, :id)"
        order = "rank, id"
    elif state is State.SCHEDULED:
        parts, behind, order = ("state = 0 AND due > :now",), "(due, id) > (:within, :id)", "due, id"
    elif state is State.LEASED:
        parts, behind, order = ("state = 2 AND due > :now",), "id > :id", "id"
    else:
        parts, behind, order = ("state = 3",), "id > :id", "id"
    values: dict[str, object] = {"queue": queue, "now": now, "limit": -1 if limit is None else limit}
    if after is not None:
        _, within, values["id"] = place_in_list(after, number)
        values["within"] = to_micros(within) if isinstance(within, datetime) else within
    pages = []
    for part in parts:
        where = f"queue = :queue AND {part}" + ("" if after is None else f" AND {behind}")
        statement = f"SELECT {COLUMNS} FROM task WHERE {where} ORDER BY {order} LIMIT :limit"
        rows = db.execute(statement, values).fetchall()  # a cursor that is kept would keep the log from being reused
        pages.append([task_of(row, now) for row in rows])
    return list(merge(*pages, key=lambda task: place_in_list(task, number)))[:limit]


def counts(db: sqlite3.Connection, queue: int, now: int) -> Counts:
    """How many tasks are in each state; a lease that ran out counts as ready."""
    row = db.execute(
        "SELECT (SELECT count(*) FROM task WHERE queue = :queue AND due > :now AND state = 0),"
        " (SELECT count(*) FROM task WHERE queue = :queue AND state = 1)"
        " + (SELECT count(*) FROM task WHERE queue = :queue AND due <= :now),"
        " (SELECT count(*) FROM task WHERE queue = :queue AND due > :now AND state = 2),"
        " (SELECT count(*) FROM task WHERE queue = :queue AND state = 3)",
        {"queue": queue, "now": now},
    ).fetchone()
    return Counts(*row)
