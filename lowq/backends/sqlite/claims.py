"""Which tasks a claim takes: what fell due is ready, the most urgent are leased, what cannot be read is set aside.

The caller's transaction holds the write lock.
"""

from __future__ import annotations

import os
import sqlite3

from lowq.backend import Lease
from lowq.backends.numbers import number
from lowq.backends.sqlite.rows import COLUMNS, fetch, read_claimed
from lowq.clock import LAST_MICROS, to_datetime
from lowq.rules.damage import Unreadable, reason_of

PROMOTED = 10_000
"""How many tasks fall due in one transaction at most: others can write between two."""


def promote(db: sqlite3.Cursor, queue: int, now: int) -> bool:
    """What fell due is ready, and so is what was leased for too long; False: there may be more of it."""
    promoted = db.execute(
        "UPDATE task SET state = 1, due = NULL WHERE id IN"
        " (SELECT id FROM task WHERE queue = ? AND due <= ? ORDER BY due LIMIT ?) AND due <= ?",
        (queue, now, PROMOTED, now),
    )
    return promoted.rowcount < PROMOTED


def promote_all(db: sqlite3.Cursor, queue: int, now: int) -> None:
    """Nothing due is left to promote, however much it is: an ack and the next claim are one transaction."""
    while not promote(db, queue, now):
        pass


def take(db: sqlite3.Cursor, queue: int, until: int, limit: int, *, mended: bool = False) -> list[Lease]:
    """The most urgent ready tasks are leased, `limit` at most; what cannot be read is dead, with the reason.

    One token for all of them, told apart by their ids.
    """
    token = f"{os.urandom(8).hex()}-"
    expires = to_datetime(until)
    leases: list[Lease] = []
    while len(leases) < limit:
        wanted = limit - len(leases)
        which = "=" if wanted == 1 else "IN"  # which costs a table for the ids
        rows = fetch(
            db,
            f"UPDATE task SET state = 2, token = ? || id, due = ?, attempts = attempts + 1 WHERE id {which}"
            " (SELECT id FROM task WHERE queue = ? AND state = 1 ORDER BY rank, id LIMIT ?) AND state = 1"
            f" RETURNING {COLUMNS}",
            (token, until, queue, wanted),
        )
        taken = []
        for row in rows:
            try:
                taken.append(Lease(read_claimed(row), f"{token}{row[0]}", expires))
            except Unreadable as error:
                _set_aside(db, row[0], error)
        if len(rows) > 1:
            taken.sort(key=lambda lease: (-lease.task.priority, number(lease.id)))  # SQLite leaves their order open
        leases += taken
        if len(rows) < wanted:
            break
    if not leases:
        _set_aside_untimed(db, queue)
        if not mended and _any_ready(db, queue):
            db.execute("REINDEX task")  # an index names tasks that are not ready, or not there
            return take(db, queue, until, limit, mended=True)
    return leases


def _set_aside(db: sqlite3.Cursor, id: int, why: Unreadable) -> None:
    """The task is dead, with the reason, its attempts as they were."""
    db.execute(
        "UPDATE task SET state = 3, token = NULL, due = NULL, attempts = attempts - 1, reason = ? WHERE id = ?",
        (reason_of(why), id),
    )


def _set_aside_untimed(db: sqlite3.Cursor, queue: int) -> None:
    """What waits for a time that is none is dead, with the reason: it would never fall due."""
    db.execute(
        "UPDATE task SET state = 3, token = NULL, due = NULL, reason = ? WHERE queue = ? AND due > ?",
        (reason_of("due: no time"), queue, LAST_MICROS),
    )


def _any_ready(db: sqlite3.Cursor, queue: int) -> bool:
    ((there,),) = fetch(db, "SELECT EXISTS (SELECT 1 FROM task WHERE queue = ? AND state = 1)", (queue,))
    return bool(there)
