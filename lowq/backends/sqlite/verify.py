"""Whether a queue file is whole: SQLite's own check, and of each task whether it is what was pushed.

SQLite keeps no checksums: a flipped bit in a text is a text to it. Each task has two of ours, of which the digest of
its key or work decides what is equal, and the other covers work, key and headers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, get_args
from urllib.parse import quote

from lowq.backend import BackendUnavailable, Dedupe, InvalidLocation
from lowq.backends.sqlite.names import SharedCursor
from lowq.backends.sqlite.rows import as_held, read_claimed, text_of
from lowq.backends.sqlite.schema import version_of
from lowq.backends.sqlite.shared import version_in_shared
from lowq.clock import LAST_MICROS
from lowq.process.paths import is_file
from lowq.rules.canonical import digest
from lowq.rules.damage import Finding, Unreadable
from lowq.rules.origin import let_through_strange

_COLUMNS = "id work key rank not_before attempts state reason due pushed_at headers crc queue token digest".split()
_NEW = {"pushed_at": "0", "headers": "NULL", "crc": "NULL"}
"""What stands for the columns that version 1 has not."""

_MOST = 100
"""SQLite's own findings at most."""


def verify(path: str, *, shared: bool = False) -> list[Finding]:
    """What is wrong in the file, which is only read; `shared`: our tables are beside an application's.

    Raises InvalidLocation, BackendUnavailable.
    """
    if not is_file(path):
        raise InvalidLocation(f"{path}: there is no queue here")
    try:
        with closing(sqlite3.Connection(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)) as db:
            db.text_factory = text_of
            cursor = db.cursor(SharedCursor if shared else sqlite3.Cursor)
            if shared and version_in_shared(cursor, path) == 0:
                raise InvalidLocation(f"{path}: there is no queue in this database")
            if not shared and version_of(db, path) == 0:
                raise InvalidLocation(f"{path}: there is no queue here; the file is empty")
            return list(_findings(cursor))
    except UnicodeDecodeError as error:
        let_through_strange(error)
        return [Finding(f"SQLite cannot read the file, and its message cannot be read: {error}")]
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_NOTADB:
            return [Finding(f"the file is no SQLite database, or its first page is damaged ({error})")]
        if code == sqlite3.SQLITE_CORRUPT:
            return [Finding(f"SQLite cannot read the file: {error}")]
        raise BackendUnavailable(f"{path} cannot be read: {error}") from None


def _findings(db: sqlite3.Cursor) -> Iterator[Finding]:
    db.execute("BEGIN")
    found: list[Finding] = []
    for (message,) in _rows(db, f"PRAGMA integrity_check({_MOST})", found):
        if message != "ok":
            yield Finding(f"SQLite: {message}")
    names: dict[object, str] = {}
    for id, name, dedupe in _rows(db, "SELECT id, name, dedupe FROM queue", found):
        names[id] = name if isinstance(name, str) else ascii(name)
        if not isinstance(name, str) or dedupe not in get_args(Dedupe):
            yield Finding("what is said of this queue is no name and no dedupe window", names[id])
    there = {row[1] for row in _rows(db, "SELECT * FROM pragma_table_info('task')", found)}
    columns = [name if name in there else f"{_NEW.get(name, 'NULL')} AS {name}" for name in _COLUMNS]
    for row in _rows(db, f"SELECT {', '.join(columns)} FROM task NOT INDEXED ORDER BY id", found):
        values = dict(zip(_COLUMNS, row, strict=True))
        for fault in _faults(row, values, names):
            yield Finding(fault, names.get(values["queue"]), str(values["id"]))
    yield from found


def _rows(db: sqlite3.Cursor, statement: str, found: list[Finding]) -> Iterator[Any]:
    """The rows as far as SQLite can read them; where it cannot, that is found."""
    try:
        yield from map(as_held, db.execute(statement))
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: of SQLite's message, which quotes the file
        let_through_strange(error)
        found.append(Finding(f"SQLite cannot read on: {error}"))


def _faults(row: tuple[Any, ...], values: dict[str, Any], names: dict[object, str]) -> Iterator[str]:
    state, due, token = values["state"], values["due"], values["token"]
    if values["queue"] not in names:
        yield f"queue: {_describe(values['queue'])} is none of this file's, so that nobody gets the task"
    if type(state) is not int or not 0 <= state <= 3:
        yield f"state: {_describe(state)} is none, so that nobody gets the task"
    elif (due is not None) != (state in (0, 2)):
        yield f"due: {_describe(due)} does not go with the state"
    if due is not None and (type(due) is not int or not 0 <= due <= LAST_MICROS):
        yield f"due: {_describe(due)} is no time"
    if not isinstance(token, str | None) or (state == 2 and token is None):
        yield f"token: {_describe(token)} is none"
    attempts = values["attempts"]
    if type(attempts) is not int or attempts < 0:
        yield f"attempts: {_describe(attempts)} is no number of claims"
    try:
        read_claimed((*row[:5], 1, *row[6:12]))
    except Unreadable as error:
        yield str(error)
    else:
        if values["digest"] != digest(values["work"], values["key"]):
            yield "digest: not that of its key or work, so that an equal push may not be refused"


def _describe(value: object) -> str:
    return ascii(value) if value is None or isinstance(value, int | float) else type(value).__name__
