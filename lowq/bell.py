"""A bell beside the database: who waits for a task is woken by who pushed one, whichever processes they are.

It is a FIFO. A ring is one byte, written only where somebody listens; without anybody it costs one refused open().
Rings are hints: a waiter that is woken looks into the queue, and looks by itself from time to time.
"""

from __future__ import annotations

import contextlib
import os
import select
from pathlib import Path


class Bell:
    """One client's end of the bell. Where a file system has no FIFOs nobody is woken; waiters look by themselves."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)
        self._fd: int | None = None

    def ring(self) -> None:
        """One of those who listen is woken, or the next to listen finds the ring."""
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody ever listened, or nobody does now
            return
        try:
            with contextlib.suppress(BlockingIOError):  # full of rings that nobody has heard yet
                os.write(fd, b"!")
        except OSError:  # not a FIFO, or one that cannot be written
            pass
        finally:
            os.close(fd)

    def listen(self) -> None:
        """Rings from now on are heard by `heard`."""
        if self._fd is not None:
            return
        with contextlib.suppress(OSError):
            os.mkfifo(self._path)
        with contextlib.suppress(OSError):
            # For reading and writing: a FIFO whose last writer has gone would otherwise count as ready for ever.
            fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK)
            self._fd = fd

    def heard(self, seconds: float) -> bool:
        """Wait up to that long for a ring; what has rung meanwhile is taken together."""
        fd = self._fd
        poll = select.poll()
        if fd is not None:
            poll.register(fd, select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000) or fd is None:
            return False
        try:
            return bool(os.read(fd, 65536))
        except OSError:  # somebody else took it
            return False

    def close(self) -> None:
        """This end hears nothing any more."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
