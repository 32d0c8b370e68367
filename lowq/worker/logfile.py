"""The file that a background worker writes to, and the lines that a queue writes.

It never grows far beyond LARGEST: what is in it is set aside, once, by who opens it, and by a worker that lives long.
Whoever tidies logs up by moving them away (logrotate) is followed: the worker goes on in a new file at the old path.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path

from lowq import kernel
from lowq.backend import BackendUnavailable
from lowq.beside import open_beside
from lowq.process.forking import file_at
from lowq.process.paths import exists

LARGEST = 1 << 20
"""Bytes above which a log is set aside; the one set aside before is then gone."""

LOOK = 1.0
"""Seconds between two looks at the log of a worker that runs."""

_PART = 1 << 16


def open_log(path: Path, database: str | os.PathLike[str] | None = None) -> int:
    """A descriptor that appends to the log; a log grown too large is ``…~`` afterwards, so nobody has to tidy up."""
    try:
        if exists(path) and kernel.lstat(path).st_size > LARGEST:
            path.replace(aside(path))
        with open_beside(path, database, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError as error:
        raise BackendUnavailable(f"{path} cannot be written: {error.strerror}") from None


def aside(path: Path) -> Path:
    """Where a log is set aside: no queue's own log can be called so, as no name of a file beside a queue has a ~."""
    return path.with_name(f"{path.name}~")


class LogKeeper:
    """Keeps the log that standard output and standard error are, in this process and those that it forks, bounded."""

    def __init__(self, path: Path, database: str | os.PathLike[str]) -> None:
        self._path = path
        self._database = database
        self._file = file_at(1)

    def watch(self) -> None:
        """A thread looks at the log from now on, as a single task may write without end."""
        threading.Thread(target=self._watch, name="lowq-log", daemon=True).start()

    def look(self) -> None:
        """What is written from now on goes to the file at the path, which is not too large; a full disk is borne."""
        with suppress(OSError, BackendUnavailable):
            self.follow()
            if kernel.lstat(self._path).st_size > LARGEST:
                self._set_aside()

    def follow(self) -> None:
        """Where the log was moved away or deleted, the streams of this process write to a new one at its path."""
        with suppress(OSError, BackendUnavailable):
            with suppress(FileNotFoundError):
                status = kernel.lstat(self._path)
                if (status.st_dev, status.st_ino) == self._file:
                    return
            new = open_log(self._path, self._database)
            try:
                self._move_streams(new)
                self._file = file_at(new)
            finally:
                os.close(new)

    def _move_streams(self, new: int) -> None:
        for stream in (1, 2):
            if file_at(stream) == self._file:  # a handler may have put another file there
                os.dup2(new, stream)

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(LOOK):
            self.look()

    def _set_aside(self) -> None:
        """The end of the log is copied, and the log cut to nothing: so it is for all who have it open."""
        with (
            open_beside(self._path, self._database, os.O_RDWR) as log,
            open_beside(aside(self._path), self._database, os.O_RDWR | os.O_CREAT) as kept,
        ):
            kept.truncate(0)
            log.seek(max(0, log.seek(0, os.SEEK_END) - LARGEST))
            _copy(log, kept, 2 * LARGEST)
            log.truncate(0)


def _copy(source: FileIO, target: FileIO, most: int) -> None:
    copied = 0
    while copied < most and (part := source.read(_PART)):
        copied += target.write(part)


_kept: LogKeeper | None = None


def keep_log(path: Path, database: str | os.PathLike[str]) -> None:
    """The log that this process's standard streams are is kept bounded and at its path from now on."""
    global _kept
    _kept = LogKeeper(path, database)
    _kept.watch()


def follow_log() -> None:
    """A forked child of a worker writes to where the worker's log is now."""
    if _kept is not None:
        _kept.follow()


def line(now: datetime, level: str, message: str) -> str:
    """``2030-01-01 12:00:00 [4711] ERROR what happened``, in UTC."""
    return f"{now:%Y-%m-%d %H:%M:%S} [{kernel.getpid()}] {level} {message}\n"
