"""A sound queue in a folder: a task is in hand for as long as its file is locked."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar


@dataclass(frozen=True, slots=True)
class Locked:
    """A task in hand: its work, and the lock that holds it."""

    work: Any
    path: Path
    fd: int


class LockedFiles:
    """One file for each task, which is in hand for as long as its file is locked: until its client ends, or dies."""

    promises: ClassVar[set[str]] = {"fifo", "persistent", "processes", "threads", "crash", "release"}

    def open(self, place: Path) -> LockedFilesClient:
        """A client of the queue at `place`."""
        return LockedFilesClient(place)


class LockedFilesClient:
    """A client of one folder."""

    def __init__(self, place: Path) -> None:
        self._tasks, self._new, self._numbers = place / "tasks", place / "new", place / "numbers"
        for folder in (self._tasks, self._new):
            folder.mkdir(exist_ok=True)

    def push(self, work: Any) -> None:
        """The work is kept under the next number."""
        new = self._new / secrets.token_hex(8)
        new.write_text(json.dumps(work))
        with self._alone() as numbers:
            numbers.write(b".")
            numbers.flush()
            os.rename(new, self._tasks / f"{numbers.tell():09}")

    def claim(self) -> Locked | None:
        """The first file that nobody has locked, which is locked now."""
        with self._alone():
            return next(filter(None, map(self._lock, sorted(self._tasks.iterdir()))), None)

    def _lock(self, path: Path) -> Locked | None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink:
                return Locked(json.loads(os.pread(fd, os.fstat(fd).st_size, 0)), path, fd)
        except BlockingIOError:
            pass
        os.close(fd)
        return None

    def ack(self, locked: Locked) -> None:
        """The file is gone, and its lock."""
        os.unlink(locked.path)
        os.close(locked.fd)

    def release(self, locked: Locked) -> None:
        """Nobody has the file locked, nor has a process that was forked while it was."""
        with self._alone():
            fcntl.flock(locked.fd, fcntl.LOCK_UN)
            os.close(locked.fd)

    @contextmanager
    def _alone(self) -> Iterator[IO[bytes]]:
        """Nobody pushes, claims or releases meanwhile: who looks at one file after the other would take the second
        one, which came back, though the first had come back before."""
        with open(self._numbers, "ab") as numbers:
            fcntl.flock(numbers, fcntl.LOCK_EX)
            yield numbers
