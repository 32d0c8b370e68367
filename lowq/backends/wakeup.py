"""A bell beside the database: who waits for a task is woken by who pushed one, whichever processes they are.

It is a FIFO. A ring is one byte, written only where somebody listens; where nobody ever did, it is a look at a path.
Rings are hints: a waiter that is woken looks into the queue, and looks by itself from time to time.
"""

from __future__ import annotations

import os
import select
from io import FileIO

from lowq import kernel
from lowq.beside import make_fifo, open_fifo
from lowq.process.handlers import Suppressed

_LONGEST = 86_400.0
"""Seconds of one poll at most, which counts its milliseconds in 31 bits."""


class Bell:
    """The bell at one path, beside a database. Where a file system has no FIFOs nobody is woken; waiters look."""

    def __init__(self, path: str | os.PathLike[str], database: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._database = os.fspath(database)

    def ring(self) -> None:
        """One of those who listen is woken."""
        if not os.access(self._path, os.F_OK):
            return  # a third of what a refused open() costs
        fifo = open_fifo(self._path, os.O_WRONLY)
        if fifo is not None:
            with fifo, Suppressed(BrokenPipeError):  # nobody listens any more
                fifo.write(b"!")  # None where it is full of rings

    def listener(self) -> Listener:
        """Somebody who can listen: from `open` on, and until `close`."""
        return Listener(self._path, self._database)


class Listener:
    """Hears the rings from `open` on; where there is no bell, it just waits."""

    def __init__(self, path: str, database: str) -> None:
        self._path, self._database = path, database
        self._fifo: FileIO | None = None

    def open(self) -> None:
        """The bell is there, where it can be, and its rings are heard."""
        make_fifo(self._path, self._database)
        # For reading and writing: a FIFO whose last writer has gone would otherwise count as ready for ever.
        self._fifo = open_fifo(self._path, os.O_RDWR)

    def heard(self, seconds: float) -> bool:
        """Waits up to that many seconds for a ring; what has rung meanwhile is taken together."""
        poll = kernel.poll()
        if self._fifo is not None:
            poll.register(self._fifo, select.POLLIN)
        if not poll.poll(max(0.0, min(seconds, _LONGEST)) * 1000) or self._fifo is None:
            return False
        return bool(self._fifo.read(65536))  # None where somebody else took it

    def close(self) -> None:
        """Nothing is heard any more."""
        if self._fifo is not None:
            self._fifo.close()
