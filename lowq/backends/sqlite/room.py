"""What an SQLite file and its log do not use goes back to the system, in steps that hold nobody up for long.

A file that was made since has `auto_vacuum = INCREMENTAL`: what is acked leaves free pages, which pushes use again.
Where they are many, and nothing is due, whoever waits for a task moves them to the end of the file and cuts them off.
An older file has no map of its pages, and keeps its size until it is written anew (`compact`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from lowq import kernel
from lowq.backend import InvalidLocation, LowqError
from lowq.backends.sqlite.database import LOG_KEPT, Database
from lowq.backends.sqlite.errors import translate
from lowq.backends.sqlite.rows import fetch
from lowq.backends.sqlite.schema import version_of
from lowq.clock import SystemClock
from lowq.process.handlers import Suppressed, let_through
from lowq.process.paths import is_file

T = TypeVar("T")

INCREMENTAL = 2
LEAST = 1000
"""Free pages, of 4 kB, that a file keeps at least, for what is pushed next; and as many as are in use."""
STEP = 100
"""Pages of one transaction: others wait for some milliseconds."""
_LOG = 1 << 20
"""Bytes of a log that stays as it is while its client sleeps; who does not sleep leaves it LOG_KEPT, since a log that
has to grow again costs each write a third more."""
_LONG_LOG = 16 << 20
"""Bytes of a log for whose new beginning the writers wait until all readers are new ones."""
_LOOK_EVERY = 32
"""Calls between two looks at its length."""
_READERS, _LONGEST_READERS = timedelta(milliseconds=250), timedelta(seconds=5)
"""How long they wait: at that length, more at a greater one, and at most; for a third of the time, all in all.

Where the readers are gone at once, the next wait may come as soon: fast writers fill a log within a second."""
_AT_ONCE = timedelta(milliseconds=20)
_BETWEEN = timedelta(milliseconds=2)
"""How long others have for their turn."""
_PATIENCE = timedelta(seconds=30)


class BoundedDatabase(Database):
    """A database whose file and log keep little room that they do not use."""

    _calls = 0
    _wait_left: Callable[[], timedelta] | None = None

    def alone(self, body: Callable[[sqlite3.Cursor], T]) -> T:
        """As Database.alone."""
        answer = self._run("", body)
        self._bound_log()
        return answer

    def writing(self, body: Callable[[sqlite3.Cursor], T]) -> T:
        """As Database.writing."""
        answer = self._run("BEGIN IMMEDIATE", body)
        self._bound_log()
        return answer

    def give_room_back(self, longest: timedelta, is_wanted: Callable[[], bool]) -> None:
        """Some of the room that is not used is given back, for `longest` at most, or until `is_wanted`."""
        clock = SystemClock()
        left = clock.countdown(max(_AT_ONCE, longest))
        log = _LOG if longest > timedelta(0) else LOG_KEPT
        with Suppressed(LowqError):  # the next call meets it too, and it matters there
            while self._give_back(log) and left() > timedelta(0) and not is_wanted():
                clock.sleep(_BETWEEN)

    def _give_back(self, log: int) -> bool:
        """Whether there is more to give back; a log of more than so many bytes is emptied."""
        free, pages, mode = super().alone(_measure)
        if mode == INCREMENTAL and free > LEAST and 2 * free > pages:
            super().writing(_shorten)
            return True
        if _size(f"{self.path}-wal") > log:
            super().alone(partial(_checkpoint, how="TRUNCATE", wait=timedelta(0)))
        return False

    def _bound_log(self) -> None:
        """A log that became long begins anew, though readers overlap: SQLite's own checkpoints wait for a gap."""
        self._calls += 1
        if self._calls % _LOOK_EVERY or (size := _size(f"{self.path}-wal")) < _LONG_LOG:
            return
        if self._wait_left is None or self._wait_left() <= timedelta(0):
            wait = min(_READERS * (size / _LONG_LOG), _LONGEST_READERS)
            left = SystemClock().countdown(wait)
            with Suppressed(LowqError):  # a reader that does not end
                super().alone(partial(_checkpoint, how="RESTART", wait=wait))
            self._wait_left = SystemClock().countdown(2 * (wait - left()))


def _measure(db: sqlite3.Cursor) -> tuple[int, int, int]:
    """The free pages, all pages, and whether the free ones can be given back."""
    asked = ("freelist_count", "page_count", "auto_vacuum")
    free, pages, mode = (fetch(db, f"PRAGMA {each}")[0][0] for each in asked)
    return free, pages, mode


def _shorten(db: sqlite3.Cursor) -> None:
    """The file has that many pages less. A statement frees one page only: the module sqlite3 runs it one step."""
    for _ in range(STEP):
        fetch(db, "PRAGMA incremental_vacuum(1)")


def _checkpoint(db: sqlite3.Cursor, *, how: str, wait: timedelta) -> None:
    """The log is in the file, and begins anew or is empty, unless a reader that needs it is not gone by then."""
    ((timeout,),) = fetch(db, "PRAGMA busy_timeout")
    fetch(db, f"PRAGMA busy_timeout = {wait // timedelta(milliseconds=1):d}")
    try:
        fetch(db, f"PRAGMA wal_checkpoint({how})")
    finally:
        fetch(db, f"PRAGMA busy_timeout = {timeout:d}")


def _size(path: str) -> int:
    try:
        return kernel.stat(path).st_size
    except OSError as error:
        let_through(error)
        return 0


def compact(path: str, *, rewrite: bool) -> tuple[int, int]:
    """The file has no room that it does not use; its bytes before and after.

    With `rewrite` a file of an older lowq is written anew, which takes as much room again, and others wait meanwhile;
    from then on it is as a new one. Raises InvalidLocation where that is needed and was not said, and where there is
    no queue.
    """
    if not is_file(path):
        raise InvalidLocation(f"{path}: there is no queue here")
    before = _size(path)
    try:
        connect = f"file:{quote(path)}?mode=rw"
        with closing(
            sqlite3.Connection(connect, uri=True, isolation_level=None, timeout=_PATIENCE.total_seconds())
        ) as connection:
            db = connection.cursor()
            if version_of(db, path) == 0:
                raise InvalidLocation(f"{path}: there is no queue here; the file is empty")
            _, _, mode = _measure(db)
            if mode == INCREMENTAL:
                _shorten_all(db)
            elif rewrite:
                fetch(db, f"PRAGMA auto_vacuum = {INCREMENTAL}")
                fetch(db, "VACUUM")
            else:
                raise InvalidLocation(
                    f"{path} was made by an older lowq, and must be written anew to become smaller, while others"
                    " wait: say --rewrite"
                )
            _checkpoint(db, how="TRUNCATE", wait=_READERS)
    except sqlite3.Error as error:
        raise translate(error, path, _PATIENCE) from error
    return before, _size(path)


def _shorten_all(db: sqlite3.Cursor) -> None:
    """No page is free; others have their turn in between."""
    clock = SystemClock()
    while _measure(db)[0] > 0:
        fetch(db, "BEGIN IMMEDIATE")
        _shorten(db)
        fetch(db, "COMMIT")
        clock.sleep(_BETWEEN)
