"""The file that a background worker writes to, and the lines that a queue writes."""

from __future__ import annotations

import fcntl
import os
from datetime import datetime
from pathlib import Path

from lowq.backend import BackendUnavailable
from lowq.beside import open_beside

LARGEST = 1 << 20
"""Bytes above which a log is set aside when the next worker starts; the one set aside before is then gone."""


def open_log(path: Path, database: str | os.PathLike[str] | None = None) -> int:
    """A descriptor that appends to the log; a log grown too large is ``….1`` afterwards, so nobody has to tidy up."""
    try:
        if path.exists() and path.lstat().st_size > LARGEST:
            path.replace(f"{path}.1")
        with open_beside(path, database, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            return fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 0)
    except OSError as error:
        raise BackendUnavailable(f"{path} cannot be written: {error.strerror}") from None


def line(now: datetime, level: str, message: str) -> str:
    """``2030-01-01 12:00:00 [4711] ERROR what happened``, in UTC."""
    return f"{now:%Y-%m-%d %H:%M:%S} [{os.getpid()}] {level} {message}\n"
