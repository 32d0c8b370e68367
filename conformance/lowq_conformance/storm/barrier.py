"""A barrier for the clients of a run, threads and processes alike, so that what comes next comes at once."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

GONE = 2**63 - 1
LOOKS = 200
PATIENCE = 0.25
"""Seconds after which nobody waits any longer for who does not come."""


class Barrier:
    """Each client has a slot, which holds the number of the last meeting it came to."""

    def __init__(self, path: Path, slots: int) -> None:
        """The meeting that is kept in the file, which the first one makes."""
        self._slots = slots
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < 8 * slots:
                os.ftruncate(fd, 8 * slots)
            self._memory = mmap.mmap(fd, 8 * slots)
        finally:
            os.close(fd)

    def come(self, slot: int, number: int, patience: float = PATIENCE) -> bool:
        """Whether everybody came to this meeting before the patience, in seconds, was over."""
        self._put(slot, number)
        end = time.monotonic() + patience
        looks = 0
        while not self._complete(number):
            looks += 1
            time.sleep(0 if looks < LOOKS else 0.0005)
            if time.monotonic() > end:
                return False
        return True

    def leave(self, slot: int) -> None:
        """Nobody waits for this one any more."""
        self._put(slot, GONE)

    def read_last(self, slot: int) -> int:
        """The last meeting to which this one came."""
        return int.from_bytes(self._memory[8 * slot : 8 * slot + 8], "little")

    def close(self) -> None:
        """The memory is let go."""
        self._memory.close()

    def _put(self, slot: int, number: int) -> None:
        self._memory[8 * slot : 8 * slot + 8] = number.to_bytes(8, "little")

    def _complete(self, number: int) -> bool:
        return all(self.read_last(slot) >= number for slot in range(self._slots))
