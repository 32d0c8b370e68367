"""Which tasks a claim takes: what fell due is ready, the most urgent are leased, what cannot be read is set aside.

The caller's transaction holds the write lock.
"""

from __future__ import annotations

import sqlite3

from lowq import kernel
from lowq.backend import Lease
from lowq.backends.numbers import number
from lowq.backends.sqlite.rows import COLUMNS, fetch, read_claimed
from lowq.clock import LAST_MICROS, to_datetime
from lowq.rules.damage import Unreadable, reason_of

PROMOTED = 10_000
"""How many tasks fall due in one transaction at most: others can write between two."""


def claim(db: sqlite3.Cursor, queue: int, now: int, until: int, limit: int) -> list[Lease] | None:
    """The most urgent due tasks are leased, `limit` at most; None: more fell due than is promoted at once."""
    leases = _take_unless_due(db, queue, now, until, limit)
    if leases is None and _promote(db, queue, now):
        return _take(db, queue, until, limit)
    return leases


def claim_all(db: sqlite3.Cursor, queue: int, now: int, until: int, limit: int) -> list[Lease]:
    """As `claim`, however much fell due: an ack and the next claim are one transaction."""
    while (leases := claim(db, queue, now, until, limit)) is None:
        pass
    return leases


def _promote(db: sqlite3.Cursor, queue: int, now: int) -> bool:
    """What fell due is ready, and so is what was leased for too long; False: there may be more of it."""
    promoted = db.execute(
        "UPDATE task SET state = 1, due = NULL WHERE id IN"
        " (SELECT id FROM task WHERE queue = ? AND due <= ? ORDER BY due LIMIT ?) AND due <= ?",
        (queue, now, PROMOTED, now),
    )
    return promoted.rowcount < PROMOTED


_TAKE = (
    "UPDATE task SET state = 2, token = ? || id, due = ?, attempts = attempts + 1 WHERE id {}"
    " (SELECT id FROM task WHERE queue = ? AND state = 1 ORDER BY rank, id LIMIT ?) AND state = 1{}"
    f" RETURNING {COLUMNS}"
)
_UNLESS_DUE = " AND NOT EXISTS (SELECT 1 FROM task WHERE queue = ? AND due <= ?)"
_TAKE_ONE, _TAKE_MANY = _TAKE.format("=", ""), _TAKE.format("IN", "")  # IN costs a table for the ids
_TAKE_ONE_UNLESS_DUE, _TAKE_MANY_UNLESS_DUE = _TAKE.format("=", _UNLESS_DUE), _TAKE.format("IN", _UNLESS_DUE)


def _take_unless_due(db: sqlite3.Cursor, queue: int, now: int, until: int, limit: int) -> list[Lease] | None:
    """As `_take`, in few statements; None where something must be promoted or mended first."""
    leases = _lease(db, queue, until, limit, now)
    return leases if leases or not fetch(db, _ANY_LEFT, (queue, queue, now, queue, LAST_MICROS))[0][0] else None


_ANY_LEFT = (
    "SELECT EXISTS (SELECT 1 FROM task WHERE queue = ? AND state = 1)"
    " OR EXISTS (SELECT 1 FROM task WHERE queue = ? AND due <= ?)"
    " OR EXISTS (SELECT 1 FROM task WHERE queue = ? AND due > ?)"
)


def _take(db: sqlite3.Cursor, queue: int, until: int, limit: int, *, mended: bool = False) -> list[Lease]:
    """The most urgent ready tasks are leased, `limit` at most; what cannot be read is dead, with the reason."""
    leases = _lease(db, queue, until, limit, None)
    if not leases:
        _set_aside_untimed(db, queue)
        if not mended and _any_ready(db, queue):
            db.execute("REINDEX task")  # an index names tasks that are not ready, or not there
            return _take(db, queue, until, limit, mended=True)
    return leases


def _lease(db: sqlite3.Cursor, queue: int, until: int, limit: int, unless_due: int | None) -> list[Lease]:
    """One token for all of them, told apart by their ids."""
    token = f"{kernel.urandom(8).hex()}-"
    expires = to_datetime(until)
    leases: list[Lease] = []
    while (wanted := limit - len(leases)) > 0:
        if unless_due is None:
            rows = fetch(db, _TAKE_ONE if wanted == 1 else _TAKE_MANY, (token, until, queue, wanted))
        else:
            statement = _TAKE_ONE_UNLESS_DUE if wanted == 1 else _TAKE_MANY_UNLESS_DUE
            rows = fetch(db, statement, (token, until, queue, wanted, queue, unless_due))
        taken = []
        for row in rows:
            try:
                taken.append(Lease(read_claimed(row), f"{token}{row[0]}", expires))
            except Unreadable as error:
                _set_aside(db, row[0], error)
        if len(taken) > 1:
            taken.sort(key=lambda lease: (-lease.task.priority, number(lease.id)))  # SQLite leaves their order open
        leases += taken
        if len(rows) < wanted:
            break
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
