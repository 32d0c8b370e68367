"""A bell beside the database: who waits for a task is woken by who pushed one, whichever processes they are.

It is a FIFO. A ring is one byte, written only where somebody listens; where nobody ever did, it is a look at a path.
Rings are hints: a waiter that is woken looks into the queue, and looks by itself from time to time.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
from collections.abc import Callable, Iterator
from pathlib import Path


class Bell:
    """The bell at one path. Where a file system has no FIFOs nobody is woken; waiters look by themselves."""

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path)

    def ring(self) -> None:
        """One of those who listen is woken."""
        if not os.access(self._path, os.F_OK):
            return  # a third of what a refused open() costs
        fd = self._open(os.O_WRONLY)
        if fd is not None:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full of rings, or nobody listens any more
                os.write(fd, b"!")
            os.close(fd)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Callable[[float], bool]]:
        """Rings from now on are heard by the function this gives: it waits up to that many seconds for one.

        What has rung meanwhile is taken together.
        """
        with contextlib.suppress(OSError):
            os.mkfifo(self._path)
        # For reading and writing: a FIFO whose last writer has gone would otherwise count as ready for ever.
        fd = self._open(os.O_RDWR)
        poll = select.poll()

        def heard(seconds: float) -> bool:
            if not poll.poll(max(0.0, seconds) * 1000) or fd is None:
                return False
            try:
                return bool(os.read(fd, 65536))
            except BlockingIOError:  # somebody else took it
                return False

        if fd is None:
            yield heard
            return
        try:
            poll.register(fd, select.POLLIN)
            yield heard
        finally:
            os.close(fd)

    def _open(self, how: int) -> int | None:
        """The FIFO, opened; None where there is none, or nobody listens at it."""
        try:
            fd = os.open(self._path, how | os.O_NONBLOCK)
        except OSError:
            return None
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        return None
