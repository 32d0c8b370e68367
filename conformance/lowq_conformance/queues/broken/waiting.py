"""Queues that wake the wrong waiters, or too few, or none in time: a few lines each on the one whose claims wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from lowq import Lease, Pushed
from lowq_conformance.queues.broken.register import breaks as of_a_journal
from lowq_conformance.queues.sound.journal import DAY, Journal
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.waiting import NOW, Waiting

WAKE = timedelta(seconds=0.05)
"""Less than a sound queue is given, so that what a broken one never does is not waited for as long."""


def breaks(*clauses: str) -> Callable[[type[Waiting]], type[Journal]]:
    """Register a queue under its name, and put the harness that opens it in its place."""

    def register(queue: type[Waiting]) -> type[Journal]:
        harness = of_a_journal(*clauses)(queue)
        harness.wake = WAKE  # type: ignore[attr-defined]  # a trait, which a harness may have
        return harness

    return register


@breaks("WAIT-1")
class DeafToOtherProcesses(Waiting):
    """A push wakes the waiters of its own process only."""

    def rung(self, names: list[str]) -> list[str]:
        return [name for name in names if name.startswith(f"{os.getpid()}-")]


@breaks("WAIT-1")
class DeafToItsOwnProcess(Waiting):
    """A push wakes the waiters of other processes, for its own are taken to see it."""

    def rung(self, names: list[str]) -> list[str]:
        return [name for name in names if not name.startswith(f"{os.getpid()}-")]


@breaks("WAIT-1")
class LooksAndThenListens(Waiting):
    """A waiter looks whether there is a task, and only then listens for one."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        left = self.clock.countdown(wait)
        while lease is None and left() > NOW:
            nap = min(left(), self.until_due())
            with self.listening() as fd:
                self.clock.wait(lambda seconds, fd=fd: self.heard(fd, seconds), nap)  # type: ignore[misc]
            lease = super().claim(lease_for=lease_for)
        return lease


@breaks("WAIT-1")
class LooksNowAndThen(Waiting):
    """A waiter looks every second and a half, and nobody wakes it."""

    def heard(self, fd: int, seconds: float) -> bool:
        end = time.monotonic() + 1.5
        while time.monotonic() < end and self.fd is not None:
            time.sleep(0.05)
        return super().heard(fd, min(seconds, 0.0))


@breaks("WAIT-1")
class BatchesAreSilent(Waiting):
    """Works that are pushed together wake nobody."""

    silent = False

    def push_many(self, items: object) -> list[Pushed]:
        self.silent = True
        try:
            return super().push_many(items)  # type: ignore[arg-type]
        finally:
            self.silent = False

    def push(self, work: object, **given: object) -> Pushed:
        pushed = super().push(work, **given)  # type: ignore[arg-type]
        self.ring()
        return pushed

    def ring(self) -> None:
        if not self.silent:
            super().ring()


@breaks("WAIT-2")
class SleepsThroughDueTimes(Waiting):
    """A waiter is woken by pushes and by leases that end, and by nothing that falls due."""

    def awaited(self) -> tuple[str, ...]:
        return ("leased",)


@breaks("WAIT-2")
class ScheduledPushesAreSilent(Waiting):
    """A push of something that is not due yet wakes nobody, not even to see how long to sleep."""

    scheduling = False

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        super().wait(row, not_before, now)
        self.scheduling = row.state == "scheduled"

    def ring(self) -> None:
        if not self.scheduling:
            super().ring()
        self.scheduling = False


@breaks("WAIT-3")
class SleepsThroughLeases(Waiting):
    """A waiter does not ask when a lease ends."""

    def awaited(self) -> tuple[str, ...]:
        return ("scheduled",)


@breaks("WAIT-3")
class ReleasesAreSilent(Waiting):
    """What is given back wakes nobody."""

    releasing = False

    def release(self, lease: Lease, **given: object) -> None:
        self.releasing = True
        try:
            super().release(lease, **given)  # type: ignore[arg-type]
        finally:
            self.releasing = False

    def ring(self) -> None:
        if not self.releasing:
            super().ring()


@breaks("WAIT-3")
class RedrivesAreSilent(Waiting):
    """A dead task that waits again wakes nobody."""

    redriving = False

    def redrive(self, id: str) -> bool:
        self.redriving = True
        try:
            return super().redrive(id)
        finally:
            self.redriving = False

    def ring(self) -> None:
        if not self.redriving:
            super().ring()


@breaks("WAIT-4")
class BatchesWakeOne(Waiting):
    """A push wakes one waiter, however many works it brings; who claims wakes nobody."""

    claiming = False

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        return super().claim(lease_for=lease_for, wait=wait)

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until)
        self.claiming = True

    def ring(self) -> None:
        if not self.claiming:
            super().ring()
        self.claiming = False

    def rung(self, names: list[str]) -> list[str]:
        return names[:1]


@breaks("WAIT-4")
class OneHearsForAll(Waiting):
    """All waiters read one pipe; who reads takes every wake-up that is in it, and hands none on."""

    holding = False

    @contextmanager
    def listening(self) -> Iterator[int]:
        pipe = self.pipes / "bell"
        with suppress(FileExistsError):
            os.mkfifo(pipe)
        fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until)
        self.holding = True

    def ring(self) -> None:
        if not self.holding:
            super().ring()
        self.holding = False


@breaks("WAIT-5")
class AnyWakeUpEndsTheWait(Waiting):
    """A waiter that is woken and finds nothing says that there is nothing."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is not None or wait <= NOW:
            return lease
        with self.listening() as fd:
            self.clock.wait(lambda seconds: self.heard(fd, seconds), min(wait, self.until_due()))
            return super().claim(lease_for=lease_for)


@breaks("WAIT-5")
class WaitsInWholeSeconds(Waiting):
    """What is left of a wait is cut to whole seconds, so that a short one is none."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        return super().claim(lease_for=lease_for, wait=timedelta(seconds=wait // timedelta(seconds=1)))


@breaks("WAIT-5")
class WaitsForEver(Waiting):
    """A wait has no end before there is a task."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        return super().claim(lease_for=lease_for, wait=wait if wait <= NOW else DAY)


@breaks("WAIT-5")
class ClosingWakesNobody(Waiting):
    """A waiter does not hear that its client was closed."""

    def close(self) -> None:
        ring, self.ring = self.ring, lambda: None  # type: ignore[method-assign]
        try:
            super().close()
        finally:
            self.ring = ring  # type: ignore[method-assign]


@breaks("WAIT-6")
class WakesTheDead(Waiting):
    """Who came first is woken first, and is taken to live as long as its pipe is there."""

    def pipe_name(self) -> str:
        return f"{time.monotonic_ns():020}-{super().pipe_name()}"

    def rung(self, names: list[str]) -> list[str]:
        return names[:1]


@breaks("WAIT-6")
class WaitsForItsTurn(Waiting):
    """One waits at a time, and the others until its file is gone, which one that is killed leaves behind."""

    @contextmanager
    def listening(self) -> Iterator[int]:
        turn = self.pipes / "turn.lock"
        while True:
            try:
                os.close(os.open(turn, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                break
            except FileExistsError:
                time.sleep(0.005)
        try:
            with super().listening() as fd:
                yield fd
        finally:
            turn.unlink()

    def rung(self, names: list[str]) -> list[str]:
        return [name for name in names if not name.endswith(".lock")]


@breaks("WAIT-6")
class WakesTheFirst(Waiting):
    """One is woken for each push, the first that lives; one that is killed before it has looked wakes nobody else."""

    def pipe_name(self) -> str:
        return f"{time.monotonic_ns():020}-{super().pipe_name()}"

    def ring(self) -> None:
        any(self.write_to(name) for name in sorted(os.listdir(self.pipes)))


@breaks("WAIT-4")
class HandsToTheGone(Waiting):
    """A claim that gave up waiting still stands in the list, and what comes next is handed to it."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for, wait=wait)
        if lease is None and wait > NOW:
            (self.pipes.parent / "gave up").touch()
        return lease

    def wait(self, row: Row, not_before: int | None, now: int) -> None:
        super().wait(row, not_before, now)
        gone = self.pipes.parent / "gave up"
        if row.state == "ready" and gone.exists():
            gone.unlink()
            self.hold(row, now + DAY // timedelta(microseconds=1))
