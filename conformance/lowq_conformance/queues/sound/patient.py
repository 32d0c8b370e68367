"""A queue whose clients wait for one another, and say by name when they have waited for too long."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from lowq import BackendUnavailable
from lowq_conformance.queues.sound.journal import Journal, Queue


class PatientQueue(Queue):
    """A client that waits for `patience` seconds, which is longer than any of its kind is at work."""

    patience: ClassVar[float] = 0.2

    @contextmanager
    def alone(self) -> Iterator[int]:
        end = time.monotonic() + self.patience
        while self.fd is not None and not self.free(self.fd):
            if time.monotonic() > end:
                raise BackendUnavailable(f"another client has been at the file for {self.patience:g} s")
            time.sleep(0.002)
        with super().alone() as now:
            yield now

    def free(self, fd: int) -> bool:
        """Whether nobody else is at the file now."""
        with self.mutex:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            fcntl.flock(fd, fcntl.LOCK_UN)
            return True


class Patient(Journal):
    """A queue of such clients."""

    _queue = PatientQueue
