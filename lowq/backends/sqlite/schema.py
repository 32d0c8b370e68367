"""The tables of a queue file: made, recognised, and brought from an older version to this one.

A file says by `PRAGMA application_id` that it is ours, and by `PRAGMA user_version` which version of the tables it
has. Making and upgrading are one transaction each: a process that is killed half-way leaves the file as it was. A
worker of the older version that has the file open goes on: the columns it does not know have a default.
"""

from __future__ import annotations

import sqlite3

from lowq.backend import CorruptQueue, InvalidLocation

APPLICATION_ID = int.from_bytes(b"lowq")
SCHEMA_VERSION = 2
SCHEMA = (
    "CREATE TABLE queue (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dedupe TEXT NOT NULL)",
    # rank: the priority with its sign turned, so that one ascending index is the claim order.
    # due: when something scheduled falls due, or a lease ends. token: of the latest claim, until it is settled.
    # crc: `rules.entry.checksum` of what the push said; NULL where an older version pushed it.
    # AUTOINCREMENT: ids are the push order and are never used again.
    """CREATE TABLE task (
        id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, state INTEGER NOT NULL,
        rank INTEGER NOT NULL, due INTEGER, attempts INTEGER NOT NULL DEFAULT 0, token TEXT,
        digest BLOB NOT NULL, not_before INTEGER, key TEXT, reason TEXT, work TEXT NOT NULL,
        pushed_at INTEGER NOT NULL, headers TEXT, crc INTEGER)""",
    "CREATE INDEX ready ON task (queue, rank, id) WHERE state = 1",
    "CREATE INDEX timed ON task (queue, due, id, state) WHERE due IS NOT NULL",
    "CREATE INDEX standing ON task (queue, digest) WHERE state < 3",
    "CREATE INDEX dead ON task (queue, id) WHERE state = 3",
)
UPGRADES = {
    # Nobody knows when the tasks of a version 1 were pushed: not after this instant. A default for the column, so
    # that it costs the same for one task and for a million, and so that an old worker's pushes have one.
    1: (
        "ALTER TABLE task ADD COLUMN pushed_at INTEGER NOT NULL DEFAULT {now:d}",
        "ALTER TABLE task ADD COLUMN headers TEXT",
        "ALTER TABLE task ADD COLUMN crc INTEGER",
    ),
}
"""The statements that lead from each version to the next."""


def version_of(db: sqlite3.Connection | sqlite3.Cursor, path: str) -> int:
    """The version of the queue in this file; 0: the file is empty.

    Raises InvalidLocation where it is another program's or a newer lowq's.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise InvalidLocation(
                f"{path} was made by a newer lowq (schema {version}, this lowq knows {SCHEMA_VERSION}); upgrade lowq"
            )
        if version < 1:
            raise CorruptQueue(f"{path} is damaged (no lowq wrote schema {version}); restore it from a copy")
        return version
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application or version or tables:
        raise InvalidLocation(
            f"{path} is an SQLite database of another program; name another file, or keep the queue"
            " beside its tables: sqlite:///…?shared=1"
        )
    return 0


def bring_up_to_date(cursor: sqlite3.Cursor, path: str, now: int) -> None:
    """The file has the tables of this version; `now` is what tasks say whose push nobody timed.

    The caller's transaction holds the write lock, so that of several processes one does it.
    """
    version = version_of(cursor, path)
    if version == 0:
        statements = [*SCHEMA, f"PRAGMA application_id = {APPLICATION_ID}"]
    else:
        steps = [UPGRADES[step] for step in range(version, SCHEMA_VERSION)]
        statements = [statement.format(now=now) for step in steps for statement in step]
    for statement in statements:
        cursor.execute(statement)
    if version != SCHEMA_VERSION:
        cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
