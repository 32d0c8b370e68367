"""Sound queues that are made otherwise than lowq's: each does something that its promises allow and ours never do."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lowq import Pushed
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row


class EndsLeases(Journal):
    """Whoever opens the queue takes all that was in hand back, so that no lease is shared."""

    promises = Journal.promises - {"shared_lease"}

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue; what others had in hand waits again."""
        opened: Queue = super().open(place, name)
        with opened.alone() as now:
            for row in opened.within("leased"):
                row.token = None
                opened.wait(row, None, now)
        return opened


class IdsAreKeys(Journal):
    """A task's id is what makes its work equal to others, as job ids are that an application chooses."""

    class _Queue(Queue):
        def id(self, row: Row) -> str:
            return f"{self.name}/{row.text if row.key is None else f'key {row.key}'}"

        def find(self, id: str) -> Row | None:
            mine = [row for row in self.rows.values() if self.id(row) == id]
            return max(mine, key=lambda row: (row.state != "dead", row.number), default=None)

    _queue = _Queue


class IdsOfRows(Journal):
    """An id is the number of a row that is free, as SQLite gives it where nobody forbids that."""

    class _Queue(Queue):
        def add(self, row: Row, now: int) -> Pushed:
            self.last = max(self.rows, default=0)
            return super().add(row, now)

    _queue = _Queue


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
        with open(self._numbers, "ab") as numbers:
            fcntl.flock(numbers, fcntl.LOCK_EX)
            numbers.write(b".")
            numbers.flush()
            os.rename(new, self._tasks / f"{numbers.tell():09}")

    def claim(self) -> Locked | None:
        """The first file that nobody has locked, which is locked now."""
        for name in sorted(os.listdir(self._tasks)):
            path = self._tasks / name
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            if os.fstat(fd).st_nlink:
                return Locked(json.loads(os.pread(fd, os.fstat(fd).st_size, 0)), path, fd)
            os.close(fd)
        return None

    def ack(self, locked: Locked) -> None:
        """The file is gone, and its lock."""
        os.unlink(locked.path)
        os.close(locked.fd)

    def release(self, locked: Locked) -> None:
        """Nobody has the file locked."""
        os.close(locked.fd)
