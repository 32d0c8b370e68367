"""What SQLite's errors mean to who uses a queue."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from lowq.backend import BackendUnavailable, CorruptQueue, InvalidLocation, InvalidWork, LowqError

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)
"""What SQLite says of a file whose tables are not as we made them."""


class DescriptorsLost(sqlite3.Error):
    """The program has closed what SQLite had open, so that a call must not begin on this connection."""


def explain_loss(path: str) -> BackendUnavailable:
    """The error of a call under which SQLite's files were closed."""
    return BackendUnavailable(
        f"{path}: the program closed the descriptors of SQLite in the middle of this call (os.closerange?), which may"
        " have been kept or not; the next call opens the file again"
    )


def translate(error: sqlite3.Error, path: str, patience: timedelta) -> LowqError:
    """The error of ours that tells what an SQLite error means to the caller, who had that patience."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    if is_busy(error):
        seconds = patience.total_seconds()
        return BackendUnavailable(f"{path}: another process kept the database locked for {seconds:g} s")
    if code == sqlite3.SQLITE_FULL:
        return BackendUnavailable(f"{path}: the disk is full; nothing was written")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return BackendUnavailable(f"{path} cannot be written; check the permissions of the file and its folder")
    if code == sqlite3.SQLITE_NOTADB:
        return InvalidLocation(f"{path} is no SQLite database; name another file")
    if code in _DAMAGE:
        return CorruptQueue(f"{path} is damaged ({error}); restore it from a copy")
    if code == sqlite3.SQLITE_PROTOCOL:
        return BackendUnavailable(
            f"{path}: {error}; if the program has closed descriptors that are not its own (os.closerange), close each"
            " of its own connections to this file, and the next call opens it again"
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return InvalidWork(f"work: larger than SQLite keeps ({error})")
    return BackendUnavailable(f"{path}: {error}")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection holds a lock."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
