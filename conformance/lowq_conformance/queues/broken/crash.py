"""Queues that lose, repeat or block something when a process is killed."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lowq import Clock, Counts, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


class Buffered(Queue):
    """What is written is only kept in memory until there is enough of it, or the client is closed."""

    enough = 8

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.late: list[Any] = []

    def waits(self, changed: list[dict[str, Any]]) -> bool:
        """Whether these changes need not be written now."""
        raise NotImplementedError

    def flush(self, fd: int) -> None:
        if self.changed and self.waits(self.changed) and len(self.late) < self.enough:
            self.late += self.changed
            self.changed = []
            return
        self.changed, self.late = self.late + self.changed, []
        super().flush(fd)

    def close(self) -> None:
        if self.fd is not None:
            with self.alone():
                self.changed, self.late = self.late + self.changed, []
        super().close()


@breaks("CRASH-1", "CRASH-7")
class BuffersPushes(Buffered):
    """Pushes are written down eight at a time."""

    def waits(self, changed: list[dict[str, Any]]) -> bool:
        return all(row["state"] == "ready" and row["attempts"] == 0 for row in changed)


@breaks("CRASH-5")
class BuffersAcks(Buffered):
    """Acks are written down eight at a time."""

    def waits(self, changed: list[dict[str, Any]]) -> bool:
        return all(row["state"] == "gone" for row in changed)


@breaks("CRASH-3")
class BatchLineByLine(Queue):
    """The tasks of a batch are written down one after the other."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        checked = [(item, self.row(item))[0] for item in items]
        push_many = super().push_many
        return [push_many([item])[0] for item in checked]


@breaks("CRASH-2")
class WorkAfterItsTask(Queue):
    """A task is written down first and its work after it, in a file of its own."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.works = place / "works"
        self.works.mkdir(exist_ok=True)

    def add(self, row: Row, now: int) -> Pushed:
        answer = super().add(row, now)
        assert self.fd is not None
        self.flush(self.fd)
        if answer.added:
            (self.works / str(row.number)).write_text(row.text)
        return answer

    def lease(self, row: Row) -> Lease:
        file = self.works / str(row.number)
        shown = Row(**{**vars(row), "text": file.read_text() if file.exists() else "null"})
        return super().lease(shown)


class Reserving(Queue):
    """A push reserves what makes its work equal in one step and writes the task in the next; a killed one leaves it
    reserved."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.reserved = place / "reserved"
        self.reserved.mkdir(exist_ok=True)

    def reserves(self, row: Row) -> bool:  # noqa: ARG002  a subclass looks at it
        """Whether a push of that is reserved."""
        return True

    def add(self, row: Row, now: int) -> Pushed:
        if not self.reserves(row):
            return super().add(row, now)
        mark = self.reserved / sha256(repr(self.identity(row)).encode()).hexdigest()
        if mark.exists():
            return Pushed(f"{self.name}/0", added=False)
        mark.touch()
        answer = super().add(row, now)
        assert self.fd is not None
        self.flush(self.fd)
        mark.unlink()
        return answer


@breaks("CRASH-2", "CRASH-6")
class ReservesAndThenPushes(Reserving):
    """A push reserves its work in one step and writes the task in the next, and a killed one leaves it reserved."""


@breaks("CRASH-6")
class FreesTheWorkAfterwards(Queue):
    """An ack removes the task in one step, and frees its work for another push in the next."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.working = place / "working"
        self.working.mkdir(exist_ok=True)

    def mark(self, row: Row) -> Path:
        """The file that says that the work is not free."""
        return self.working / sha256(repr(self.identity(row)).encode()).hexdigest()

    def add(self, row: Row, now: int) -> Pushed:
        if self.mark(row).exists():
            return Pushed(f"{self.name}/0", added=False)
        return super().add(row, now)

    def ack(self, lease: Lease) -> None:
        with self.alone():
            row = self.held(lease)
            self.mark(row).touch()
            self.remove(row)
        self.mark(row).unlink()


@breaks("CRASH-6")
class CountsInAFile(Queue):
    """How many tasks wait is kept in a file of its own, which is written before the push or the claim is."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.total = place / "total"

    def waiting(self) -> int:
        """How many there are as the file says."""
        return int(self.total.read_text()) if self.total.exists() else 0

    def flush(self, fd: int) -> None:
        before = self.waiting()
        rows = [each["number"] for each in self.changed if each["state"] == "ready" and not each["attempts"]]
        gone = [each["number"] for each in self.changed if each["attempts"] == 1 and each["state"] == "leased"]
        if rows or gone:
            new = self.total.with_suffix(".new")
            new.write_text(f"{before + len(rows) - len(gone)}")
            os.replace(new, self.total)
        super().flush(fd)

    def count(self) -> Counts:
        counts = super().count()
        with self.alone():
            again = sum(row.attempts > 0 for row in self.rows_in("ready"))
            return Counts(counts.scheduled, max(0, self.waiting() + again), counts.leased, counts.dead)


@breaks("CRASH-4", "CRASH-7")
class OnlyTheHolderKnows(Queue):
    """When a lease ends is kept in the memory of the client that has it, which alone gives the task back."""

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until)
        self.changed[-1]["due"] = None

    def promote(self, now: int) -> None:
        for row in self.rows_in("leased"):
            if row.due is None and row.number in self.deadlines:
                row.due = self.deadlines[row.number]
        super().promote(now)

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.deadlines: dict[int, int] = {}

    def lease(self, row: Row) -> Lease:
        assert row.due is not None
        self.deadlines[row.number] = row.due
        return super().lease(row)


@breaks("CRASH-6")
class LockFile(Queue):
    """Who has made the lock file has the lock, and a killed one leaves it behind."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.lock = place / f"{name.encode().hex()}.lock"

    @contextmanager
    def alone(self) -> Iterator[int]:
        while True:
            with suppress(FileExistsError):
                os.close(os.open(self.lock, os.O_CREAT | os.O_EXCL))
                break
            time.sleep(0.0002)
        try:
            with super().alone() as now:
                yield now
        finally:
            self.lock.unlink()


@breaks("CRASH-6")
class MarkedActive(Queue):
    """The file says that somebody is at it, and who finds that gives up after a second."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.mark = os.open(place / f"{name.encode().hex()}.active", os.O_RDWR | os.O_CREAT)

    @contextmanager
    def alone(self) -> Iterator[int]:
        end = time.monotonic() + 1
        while not self.marked():
            if time.monotonic() > end:
                raise TimeoutError("somebody else is at the queue")
            time.sleep(0.0002)
        try:
            with super().alone() as now:
                yield now
        finally:
            os.pwrite(self.mark, b"\0", 0)

    def marked(self) -> bool:
        """Whether the mark was not there, and is now."""
        fcntl.lockf(self.mark, fcntl.LOCK_EX, 1, 1)
        try:
            if os.pread(self.mark, 1, 0) == b"\1":
                return False
            os.pwrite(self.mark, b"\1", 0)
            return True
        finally:
            fcntl.lockf(self.mark, fcntl.LOCK_UN, 1, 1)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.mark)
        super().close()


@breaks("CRASH-6")
class CutLineStays(Queue):
    """A change is written in two steps, and one that was cut off is never cleared away."""

    def flush(self, fd: int) -> None:
        changed = self.changed
        if changed:
            os.write(fd, b"[")
            self.replayed += 1
        super().flush(fd)

    def replay(self, fd: int) -> None:
        data = os.pread(fd, 1 << 24, self.replayed)
        import json

        for line in data.split(b"\n")[:-1]:
            for fields in json.loads(line[1:]):
                self.keep(Row(**fields))
            self.replayed += len(line) + 1


@breaks("CRASH-1", "CRASH-5")
class RecoversTooMuch(Queue):
    """Who opens a file that was not closed takes its last line for a broken one."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.dirty = place / f"{name.encode().hex()}.dirty"
        self.users = os.open(place / f"{name.encode().hex()}.users", os.O_RDWR | os.O_CREAT)
        fd = self.fd
        assert fd is not None
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            alone = self.nobody_else()
            if alone and self.dirty.exists():
                data = os.pread(fd, 1 << 24, 0)
                os.ftruncate(fd, data[:-1].rfind(b"\n") + 1)
            self.dirty.touch()
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def nobody_else(self) -> bool:
        """Whether no other client has the queue open."""
        try:
            fcntl.flock(self.users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(self.users, fcntl.LOCK_SH)
            return False
        fcntl.flock(self.users, fcntl.LOCK_SH)
        return True

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.users)
            self.dirty.unlink(missing_ok=True)
        super().close()


@breaks("CRASH-1")
class TakesOverInTwoSteps(Queue):
    """What has fallen due is taken out of the schedule in one step, and put to the ready in the next."""

    def promote(self, now: int) -> None:
        assert self.fd is not None
        due = [replace(row) for row in self.rows_in("scheduled") if row.due is not None and row.due <= now]
        for row in due:
            self.remove(self.rows[row.number])
        self.flush(self.fd)
        for row in due:
            row.state, row.due = "ready", None
            self.write(row)
        super().promote(now)


@breaks("CRASH-4")
class SetsAsideInTwoSteps(Queue):
    """Who sets a task aside takes it out in one step, and puts it to the dead in the next."""

    def dead_letter(self, lease: Lease, *, reason: str) -> None:
        with self.alone():
            row = self.held(lease)
            self.remove(row)
        with self.alone():
            row.state, row.due, row.token, row.reason = "dead", None, None, reason
            self.write(row)


@breaks("CRASH-1")
class RedrivesInTwoSteps(Queue):
    """Who redrives a task takes it from the dead in one step, and lets it wait again in the next."""

    def redrive(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.state != "dead" or self.standing(row) is not None:
                return False
            self.remove(row)
        with self.alone() as now:
            row.attempts = 0
            self.wait(row, None, now)
            return True


@breaks("CRASH-4")
class ReleasesInTwoSteps(Queue):
    """Who gives a task back takes it out in one step, and lets it wait again in the next."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            self.remove(row)
        with self.alone() as now:
            row.token = None
            self.wait(row, None if not_before is None else self.micros(not_before), now)
