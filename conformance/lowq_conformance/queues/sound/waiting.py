"""The journal with claims that wait: each waiter has a pipe of its own, into which whoever changes something writes.

Nobody looks from time to time: a wake-up that is lost is lost, which is what broken queues are made of.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from queue import SimpleQueue
from secrets import token_hex
from threading import Thread
from typing import ClassVar

from lowq import Clock, Lease
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue

NOW = timedelta(0)
MOST = 86400.0
"""Seconds that are waited for at once: a poll counts in milliseconds of 32 bits."""


class Waiting(Queue):
    """A client whose claim can wait."""

    promises: ClassVar[frozenset[str]] = Queue.promises | {"wait"}

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.pipes = place / f"waiting-{name.encode().hex()}"
        self.pipes.mkdir(exist_ok=True)

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is not None or wait <= NOW:
            return lease
        left = self.clock.countdown(wait)
        with self.listening() as fd:
            while True:
                last = left() <= NOW
                lease = super().claim(lease_for=lease_for)
                if lease is not None or last:
                    return lease
                self.clock.wait(lambda seconds: self.heard(fd, seconds), min(left(), self.until_due()))

    @contextmanager
    def listening(self) -> Iterator[int]:
        """The pipe of this waiter is there in the block."""
        pipe = self.pipes / self.pipe_name()
        os.mkfifo(pipe)
        fd = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            with suppress(FileNotFoundError):
                pipe.unlink()
            os.close(fd)

    def pipe_name(self) -> str:
        """The name of a waiter's pipe: its process, and a token."""
        return f"{os.getpid()}-{token_hex(8)}"

    def heard(self, fd: int, seconds: float) -> bool:
        """Whether something was written into the pipe, within so many seconds; it is read."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(1000 * max(0.0, min(seconds, MOST))):
            return False
        with suppress(BlockingIOError):
            os.read(fd, 65536)
        return True

    def until_due(self) -> timedelta:
        """How long it is until something falls due or a lease ends."""
        with self.alone() as now:
            dues = [row.due for state in self.awaited() for row in self.rows_in(state) if row.due is not None]
        return timedelta(microseconds=min(dues) - now) if dues else DAY

    def awaited(self) -> tuple[str, ...]:
        """The states that end by themselves."""
        return "scheduled", "leased"

    def flush(self, fd: int) -> None:
        changed = bool(self.changed)
        super().flush(fd)
        if changed:
            self.ring()

    def ring(self) -> None:
        """Everybody who waits is woken."""
        for name in self.rung(sorted(os.listdir(self.pipes))):
            self.write_to(name)

    def rung(self, names: list[str]) -> list[str]:
        """The waiters that are woken."""
        return names

    def write_to(self, name: str) -> bool:
        """The waiter is woken; False: it was killed, and has left its pipe behind."""
        try:
            fd = os.open(self.pipes / name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ENXIO:  # nobody reads: it was killed, or has not come to open it, and will look
                return False
            raise
        try:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(fd, b"!")
        finally:
            os.close(fd)
        return True

    def close(self) -> None:
        super().close()
        self.ring()


class Waits(Journal):
    """The journal with claims that wait."""

    promises = Waiting.promises
    _queue = Waiting


class Delegates(Journal):
    """A claim that waits is somebody else's, as a server's: it goes on where its caller was interrupted, and what it
    then takes is in nobody's hand until the lease is over."""

    promises = Waiting.promises
    wake = timedelta(seconds=0.2)

    class _Queue(Queue):
        promises: ClassVar[frozenset[str]] = Waiting.promises

        def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
            if not wait:
                return super().claim(lease_for=lease_for)
            answers = SimpleQueue[Lease | Exception | None]()
            Thread(target=self.look, args=(lease_for, wait, answers), daemon=True).start()
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            return answer

        def look(self, lease_for: timedelta, wait: timedelta, answers: SimpleQueue[Lease | Exception | None]) -> None:
            end = self.clock.now() + wait
            try:
                while (lease := Queue.claim(self, lease_for=lease_for)) is None and self.clock.now() < end:
                    time.sleep(0.0002)
                answers.put(lease)
            except Exception as error:
                answers.put(error)

    _queue = _Queue


class LooksByItself(Journal):
    """Nobody is woken: who waits looks every fifth of a second, and says so."""

    promises = Waiting.promises
    wake = timedelta(seconds=0.2)

    class _Queue(Waiting):
        def heard(self, fd: int, seconds: float) -> bool:
            return super().heard(fd, min(seconds, 0.2))

        def until_due(self) -> timedelta:
            return timedelta(seconds=0.2)

        def ring(self) -> None:
            pass

    _queue = _Queue
