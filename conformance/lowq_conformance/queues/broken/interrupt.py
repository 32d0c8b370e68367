"""Queues that an exception in the middle of a call leaves torn, locked, deaf or wrong about what they keep."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import BackendUnavailable, Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks, enter
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.plain import Client


@breaks("INTERRUPT-3")
class UndoesErrorsOnly(Queue):
    """What was begun is undone where an error comes, and an interrupt is no error: the file stays locked."""

    @contextmanager
    def alone(self) -> Iterator[int]:
        assert self.fd is not None
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        try:
            self.replay(self.fd)
            now = self.micros(self.clock.now())
            self.promote(now)
            yield now
        except Exception:
            self.start_over()
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            raise
        except BaseException:
            self.start_over()
            raise
        self.flush(self.fd)
        fcntl.flock(self.fd, fcntl.LOCK_UN)


@breaks("INTERRUPT-2")
class KeepsItsOwnLock(Queue):
    """The lock between the threads of a client is let go of behind the call, however it ended or did not."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.gate = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[int]:
        self.gate.acquire()
        try:
            with super().alone() as now:
                yield now
        except Exception:
            self.gate.release()
            raise
        self.gate.release()


@breaks("INTERRUPT-2", "INTERRUPT-3")
class LeavesItsFileLocked(Queue):
    """Each call opens a lock file and closes it, but for one that was interrupted: nobody gets the lock again."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.lock = place / f"{name.encode().hex()}.lock"

    @contextmanager
    def alone(self) -> Iterator[int]:
        fd = os.open(self.lock, os.O_RDWR | os.O_CREAT)
        with suppress(Exception):
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            with super().alone() as now:
                yield now
        except Exception:
            os.close(fd)
            raise
        os.close(fd)


@breaks("INTERRUPT-1")
class BatchInParts(Queue):
    """A batch is checked as a whole, and written item by item."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        batch = list(items)
        for item in batch:
            self.row(item)
        keep = super().push_many
        return [keep([item])[0] for item in batch]


@breaks("INTERRUPT-2")
class KnowsBetterThanItsFile(Queue):
    """What an interrupted call would have written is known to its client, and stands in no file."""

    def start_over(self) -> None:
        if hasattr(self, "rows"):
            self.changed = []
        else:
            super().start_over()


@breaks("INTERRUPT-2")
class WritesNoMore(Queue):
    """After an interruption all that is written belongs to a transaction that nobody ends."""

    opened = deaf = False

    def start_over(self) -> None:
        self.deaf, self.opened = self.opened, True
        super().start_over()

    def flush(self, fd: int) -> None:
        if self.deaf:
            self.changed = []
        super().flush(fd)


@breaks("INTERRUPT-1")
class SaysItWasKept(Queue):
    """A push that is interrupted answers as though it had been kept."""

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        try:
            return super().push(work, key=key, priority=priority, not_before=not_before, headers=headers)
        except KeyboardInterrupt:
            return Pushed(f"{self.name}/{self.last + 1}", added=True)


ONE_PROCESS = Queue.promises - {"processes", "shared_lease"}


class LeavesItsTransactionOpen(Journal):
    """Who was interrupted pushes into a transaction that nobody ends, and is refused when it claims, as litequeue's
    0.9 is; when it is opened again, what it pushed is gone."""

    promises = ONE_PROCESS

    class _Queue(Queue):
        promises = ONE_PROCESS
        begun = left_open = False

        def start_over(self) -> None:
            self.left_open, self.begun = self.begun, True
            super().start_over()

        def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
            if self.left_open:
                raise BackendUnavailable("cannot start a transaction within a transaction")
            return super().claim(lease_for=lease_for)

        def flush(self, fd: int) -> None:
            if self.left_open:
                self.changed = []
            super().flush(fd)

    _queue = _Queue


@breaks("INTERRUPT-2")
class StaysBusy(Queue):
    """Who was interrupted believes to be in the middle of a call for ever, and fails an assertion of its own."""

    busy = False

    @contextmanager
    def alone(self) -> Iterator[int]:
        assert not self.busy
        self.busy = True
        try:
            with super().alone() as now:
                yield now
        except Exception:
            self.busy = False
            raise
        self.busy = False


@breaks("INTERRUPT-1")
class UndoesTheCallBefore(Queue):
    """An interruption takes the last line of the file away, whosever it is."""

    opened = False

    def start_over(self) -> None:
        if self.opened and self.fd is not None:
            data = os.pread(self.fd, 1 << 24, 0)[:-1]
            os.ftruncate(self.fd, data.rfind(b"\n") + 1)
        self.opened = True
        super().start_over()


class GatedClient(Client):
    """A queue.Queue behind a lock of one's own."""

    def __init__(self, works: queue.Queue[Any]) -> None:
        super().__init__(works)
        self._gate = threading.Lock()

    def push(self, work: Any) -> None:
        """The work waits."""
        self._gate.acquire()
        super().push(work)
        self._gate.release()


class LocksThreadsOut:
    """A queue of one process whose lock an interrupted push keeps: the other threads wait for ever."""

    promises: ClassVar[set[str]] = {"fifo", "prompt", "threads"}

    def __init__(self) -> None:
        self._clients: dict[Path, GatedClient] = {}

    def open(self, place: Path) -> GatedClient:
        """The client of the queue at `place`."""
        return self._clients.setdefault(place, GatedClient(queue.Queue()))


enter(LocksThreadsOut, ("INTERRUPT-3",))
enter(LeavesItsTransactionOpen, ("INTERRUPT-2",))
