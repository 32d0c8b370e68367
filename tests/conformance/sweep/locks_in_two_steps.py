"""A queue of which a race takes two pre-emptions: its lock is looked for in one step and made in the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowq_conformance.queues.sound.journal import Journal, Queue

from lowq import Clock, QueueClosed


class Client(Queue):
    """Two clients have the lock where both stood between the two steps, or one there and one inside."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.lock = place / f"{name}.lock"

    @contextmanager
    def alone(self) -> Iterator[int]:
        with self.mutex:
            if self.fd is None:
                raise QueueClosed("this client was closed; open the queue again")
            while self.lock.exists():
                time.sleep(0.0005)
            self.lock.touch()
            try:
                self.replay(self.fd)
                now = self.micros(self.clock.now())
                self.promote(now)
                yield now
                self.flush(self.fd)
            finally:
                self.lock.unlink(missing_ok=True)


class LocksInTwoSteps(Journal):
    """Several processes may use it at once, it says."""

    promises = frozenset("fifo lease fenced shared_lease persistent processes json close".split())
    _queue = Client
