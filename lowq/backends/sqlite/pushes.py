"""How pushes are kept: one by one statement, many in a transaction that asks once which of them stand already."""

from __future__ import annotations

import sqlite3
from typing import cast

from lowq.backend import CorruptQueue, Dedupe, Pushed, State
from lowq.backends.sqlite.rows import fetch
from lowq.rules.adoption import Adoption
from lowq.rules.entry import Entry

SCHEDULED, READY, DEAD = 0, 1, 3

_EVER = 2**63 - 1

_EQUAL = "state < 3 AND (state < 2 OR due <= ?)"
"""Which tasks refuse an equal push, until `_until`."""

_ROW = (
    "INSERT INTO task (queue, state, rank, due, digest, not_before, key, work, pushed_at, headers, crc)"
    " {} ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?{}"
)
_INSERT = _ROW.format("VALUES (", ")")
INSERT_UNLESS = _ROW.format(
    "SELECT", f" WHERE NOT EXISTS (SELECT 1 FROM task WHERE queue = ? AND digest = ? AND {_EQUAL})"
)
STANDING = f"SELECT min(id) FROM task WHERE queue = ? AND digest = ? AND {_EQUAL}"

_ADOPT = (
    "INSERT INTO task (queue, state, rank, due, digest, not_before, key, work, pushed_at, headers, crc, attempts,"
    " reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_LAST = (
    "SELECT coalesce((SELECT max(CAST(seq AS INTEGER)) FROM sqlite_sequence WHERE name = 'task'), 0),"
    " coalesce((SELECT max(id) FROM task), 0)"
)

_TRIES = 1000

_ASKED = 500
"""How many digests one statement asks for."""


def keep(db: sqlite3.Cursor, queue: int, dedupe: Dedupe, new: Entry, now: int) -> Pushed:
    """The entry is kept, or an equal task stands."""
    values = row_of(queue, new, now) + same_as(queue, dedupe, new.digest, now)
    for _ in range(_TRIES):
        inserted = db.execute(INSERT_UNLESS, values)
        if inserted.rowcount == 1:
            return Pushed(str(inserted.lastrowid), True)
        found = standing_task(db, queue, dedupe, new.digest, now)
        if found is not None:
            return Pushed(str(found), False)
        # Where each statement is a transaction, somebody was done with the equal task between the two.
    raise CorruptQueue("the queue's index of works is damaged; restore the file from a copy")


def keep_all(db: sqlite3.Cursor, queue: int, dedupe: Dedupe, batch: list[Entry], now: int) -> list[Pushed]:
    """Every entry is kept, or an equal task stands or came before in the batch; the caller holds the write lock."""
    standing = {} if dedupe == "off" else _standing(db, queue, dedupe, batch, now)
    first = id = max(*fetch(db, _LAST, ())[0])
    pushed, rows = [], []
    for new in batch:
        stands = standing.get(new.digest)
        if stands is None:
            id += 1  # AUTOINCREMENT gives the next one, as long as nobody else writes
            rows.append(row_of(queue, new, now))
            if dedupe != "off":
                standing[new.digest] = id
            pushed.append(Pushed(str(id), True))
        else:
            pushed.append(Pushed(str(stands), False))
    if rows:
        db.executemany(_INSERT, rows)
        if fetch(db, "SELECT last_insert_rowid()", ()) != [(first + len(rows),)]:
            raise CorruptQueue(
                "the queue's table of tasks is damaged: its ids leave gaps; restore the file from a copy"
            )
    return pushed


def adopt_all(db: sqlite3.Cursor, queue: int, dedupe: Dedupe, batch: list[Adoption], now: int) -> list[Pushed]:
    """Every task is kept with what lies behind it, or an equal one stands; the caller holds the write lock."""
    pushed = []
    for new, state, attempts, reason, pushed_at in batch:
        stands = None if state is State.DEAD else standing_task(db, queue, dedupe, new.digest, now)
        if stands is None:
            _, kept, rank, due, digest, not_before, key, text, _, headers, crc = row_of(queue, new, now)
            if state is not State.SCHEDULED:
                kept, due = DEAD if state is State.DEAD else READY, None
            values = (
                queue,
                kept,
                rank,
                due,
                digest,
                not_before,
                key,
                text,
                pushed_at,
                headers,
                crc,
                attempts,
                reason,
            )
            id = db.execute(_ADOPT, values).lastrowid
            pushed.append(Pushed(str(id), True))
        else:
            pushed.append(Pushed(str(stands), False))
    return pushed


def standing_task(db: sqlite3.Cursor, queue: int, dedupe: Dedupe, digest: bytes, now: int) -> int | None:
    """The id of the task that refuses an equal push, or None."""
    ((standing,),) = fetch(db, STANDING, same_as(queue, dedupe, digest, now))
    return cast("int | None", standing)


def _standing(db: sqlite3.Cursor, queue: int, dedupe: Dedupe, batch: list[Entry], now: int) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    digests = [new.digest for new in batch]
    for start in range(0, len(digests), _ASKED):
        asked = digests[start : start + _ASKED]
        statement = (
            f"SELECT digest, min(id) FROM task WHERE queue = ? AND digest IN ({', '.join('?' * len(asked))})"
            f" AND {_EQUAL} GROUP BY digest"
        )
        found.update(fetch(db, statement, (queue, *asked, _until(dedupe, now))))
    return found


def row_of(queue: int, new: Entry, now: int) -> tuple[object, ...]:
    """The values of a new task."""
    text, key, digest, priority, not_before, headers, crc = new
    if not_before is None or not_before <= now:
        return queue, READY, -priority, None, digest, not_before, key, text, now, headers, crc
    return queue, SCHEDULED, -priority, not_before, digest, not_before, key, text, now, headers, crc


def same_as(queue: int, dedupe: Dedupe, digest: bytes, now: int) -> tuple[int, bytes | None, int]:
    """The queue, the digest, and until when; nothing equals NULL."""
    return queue, None if dedupe == "off" else digest, _until(dedupe, now)


def _until(dedupe: Dedupe, now: int) -> int:
    """The instant up to which a lease that ends counts as standing: every lease ends some day."""
    return now if dedupe == "until_claimed" else _EVER
