"""Queues that forget something when they are opened again, or leave something when they are closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from lowq import Clock, Counts, Item, Lease, Pushed, Task
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.rows import Row


class Forgetful(Queue):
    """What the rows of the file have lost when the queue is opened again."""

    def forget(self, row: Row) -> None:
        """What is lost of one row."""

    def replay(self, fd: int) -> None:
        first_time = self.replayed == 0
        super().replay(fd)
        for row in list(self.rows.values()) if first_time else ():
            self.equals[self.identity(row)].discard(row.number)
            self.forget(row)
            self.keep(row)


@breaks("KEEP-1")
class ForgetsAttempts(Forgetful):
    """Opened again, the queue has forgotten how often each task was tried."""

    def forget(self, row: Row) -> None:
        row.attempts = 0


@breaks("KEEP-1")
class ForgetsTheDead(Forgetful):
    """Opened again, the queue has no dead tasks."""

    def forget(self, row: Row) -> None:
        row.state = "gone" if row.state == "dead" else row.state


@breaks("KEEP-1")
class ForgetsReasons(Forgetful):
    """Opened again, the queue does not know why its dead tasks died."""

    def forget(self, row: Row) -> None:
        row.reason = None


@breaks("KEEP-1")
class ForgetsPriorities(Forgetful):
    """Opened again, the queue gives every task the default priority."""

    def forget(self, row: Row) -> None:
        row.priority = 0


@breaks("KEEP-1")
class ForgetsKeys(Forgetful):
    """Opened again, the queue knows works but not their keys."""

    def forget(self, row: Row) -> None:
        row.key = None


@breaks("KEEP-1")
class ForgetsTheLeased(Forgetful):
    """Opened again, the queue has lost the tasks that were being worked on."""

    def forget(self, row: Row) -> None:
        row.state = "gone" if row.state == "leased" else row.state


@breaks("KEEP-1")
class ForgetsAll(Forgetful):
    """It says persistent, and begins empty each time it is opened."""

    def forget(self, row: Row) -> None:
        row.state = "gone"


@breaks("CLOSE-1")
class ClosesOnce(Queue):
    """Closing twice raises OSError."""

    def close(self) -> None:
        if self.fd is None:
            os.close(-1)
        super().close()


@breaks("CLOSE-2")
class WorksWhenClosed(Queue):
    """A closed client opens itself again and goes on."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.path = self.file(place)

    def close(self) -> None:
        super().close()
        self.fd = os.open(self.path, os.O_RDWR | os.O_APPEND)


@breaks("CLOSE-2")
class ClosedSaysNothing(Queue):
    """A closed client takes what is pushed and answers empty, as if there were nothing to do."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        return None if self.fd is None else super().claim(lease_for=lease_for)

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        return super().push_many(items) if self.fd is not None else [Pushed("", added=True) for _ in items]

    def count(self) -> Counts:
        return Counts() if self.fd is None else super().count()

    def tasks(self, *, state: str | None = None) -> list[Task]:
        return [] if self.fd is None else super().tasks(state=state)


@breaks("CLOSE-2")
class ClosedIsNone(Queue):
    """A closed client fails on its own remains with an AttributeError."""

    def close(self) -> None:
        super().close()
        self.mutex = None  # type: ignore[assignment]  # this is what is wrong


@breaks("CLOSE-3")
class LeavesAThread(Queue):
    """The thread that sweeps the queue goes on when the client is closed."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        threading.Thread(target=threading.Event().wait, daemon=True).start()


@breaks("CLOSE-3")
class LeavesAFile(Queue):
    """The lock file beside the queue stays open when the client is closed."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        os.open(place / "lock", os.O_RDWR | os.O_CREAT)


@breaks("CLOSE-3")
class LeavesAFileOfARefusal(Queue):
    """Whoever is refused leaves the lock file open that was opened for the call."""

    def held(self, lease: Lease) -> Row:
        lock = os.open(self.beside, os.O_RDWR | os.O_CREAT)
        row = super().held(lease)
        os.close(lock)
        return row

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.beside = place / "lock"
