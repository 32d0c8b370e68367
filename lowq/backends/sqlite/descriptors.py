"""Which descriptors SQLite has opened for a connection, as far as the system lists them.

A call by descriptors that the program has closed would write into whatever has their numbers, say that a work is kept
which is not, and, closing, delete the log that other processes use.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from lowq import kernel
from lowq.framelock import NESTED, FrameLock
from lowq.process.descriptors import Descriptors, File
from lowq.process.forking import file_at
from lowq.process.handlers import Suppressed

T = TypeVar("T")


def noting_descriptors(path: str, connect: Callable[[], T]) -> tuple[T, Descriptors]:
    """What `connect` answered, which opened the database, its log and its shared memory; and their descriptors.

    One thread at a time, since what is open afterwards and was not before is this connection's. One that a signal
    handler makes in the middle of another is not known, nor is that other one: SQLite's errors are all there is then.
    """
    global _nested
    nested = _nested = _nested + (_opening.take(sys._getframe()) is NESTED)
    before = _find_open()
    try:
        answer = connect()
        if _opening.is_held_by(sys._getframe()) and nested == _nested:
            return answer, Descriptors(_find_opened(path, before))
        return answer, Descriptors()
    finally:
        _opening.leave(sys._getframe())


_opening = FrameLock()
_nested = 0
"""How many connections were opened in the middle of the opening of another."""


def _renew_lock() -> None:
    global _opening
    _opening = FrameLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _find_opened(path: str, before: dict[int, File]) -> dict[int, File]:
    database, log, memory = (_file_of(path + kind) for kind in ("", "-wal", "-shm"))
    return {
        number: file
        for number, file in _find_open().items()
        # The shared memory is opened once for all connections of a process.
        if file == memory or (file in (database, log) and before.get(number) != file)
    }


def list_open_files() -> dict[int, File]:
    """The descriptors that this process has open, and their files. Raises OSError where the system lists none."""
    numbers = map(int, os.listdir("/dev/fd"))  # this very listing too, which is closed by now
    return {number: file for number in numbers if (file := file_at(number)) is not None}


def _find_open() -> dict[int, File]:
    with Suppressed(OSError, ValueError):
        return list_open_files()
    return {}


def _file_of(path: str) -> File | None:
    with Suppressed(OSError):
        status = kernel.stat(path)
        return status.st_dev, status.st_ino
    return None
