"""Sound queues whose client refuses by name after an interruption, until it is opened again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from lowq import Clock, Lease, QueueClosed
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue

ALONE = Journal.promises - {"processes", "shared_lease"}
"""What a queue promises whose place belongs to one process."""


class ClosesInTwoSteps(Journal):
    """A client that reads and writes by a connection each, as persist-queue's does: interrupted between the two, a
    close leaves it able to push only."""

    promises = ALONE

    class _Queue(Queue):
        promises = ALONE
        reads = True

        def close(self) -> None:
            self.reads = False
            super().close()

        def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
            if not self.reads:
                raise QueueClosed("the connection that reads was closed")
            return super().claim(lease_for=lease_for)

    _queue = _Queue


class StopsAtAnInterruption(Journal):
    """A client that was interrupted refuses every call, in whichever thread, until the queue is opened again."""

    promises = ALONE

    class _Queue(Queue):
        promises = ALONE
        stopped = False

        @contextmanager
        def alone(self) -> Iterator[int]:
            if self.stopped:
                raise QueueClosed("a call was interrupted: open the queue again")
            try:
                with super().alone() as now:
                    yield now
            except Exception:
                raise
            except BaseException:
                self.stopped = True
                raise

    _queue = _Queue


class HasNothingWhenClosed(Journal):
    """After `close`, about which nothing is promised, a call meets what is not there any more."""

    promises = ALONE - {"close"}

    class _Queue(Queue):
        promises = ALONE - {"close"}

        def __init__(self, place: Path, name: str, clock: Clock) -> None:
            super().__init__(place, name, clock)
            self.file_of: Any = [self.fd]

        @contextmanager
        def alone(self) -> Iterator[int]:
            self.file_of.index(self.fd)
            with super().alone() as now:
                yield now

        def close(self) -> None:
            self.file_of = None
            super().close()

    _queue = _Queue
