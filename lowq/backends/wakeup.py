"""A bell beside the database: who waits for a task is woken by who pushed one, whichever processes they are.

It is a FIFO. A ring is one byte, written only where somebody listens; where nobody ever did, it is a look at a path.
Rings are hints: a waiter that is woken looks into the queue, and looks by itself from time to time.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Iterator
from io import FileIO

from lowq.beside import make_fifo, open_fifo


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
            with fifo, contextlib.suppress(BrokenPipeError):  # nobody listens any more
                fifo.write(b"!")  # None where it is full of rings

    @contextlib.contextmanager
    def listening(self) -> Iterator[Callable[[float], bool]]:
        """Rings from now on are heard by the function this gives: it waits up to that many seconds for one.

        What has rung meanwhile is taken together.
        """
        fifo: FileIO | None = None
        poll = select.poll()

        def heard(seconds: float) -> bool:
            if not poll.poll(max(0.0, seconds) * 1000) or fifo is None:
                return False
            return bool(fifo.read(65536))  # None where somebody else took it

        try:
            make_fifo(self._path, self._database)
            # For reading and writing: a FIFO whose last writer has gone would otherwise count as ready for ever.
            fifo = open_fifo(self._path, os.O_RDWR)
            if fifo is not None:
                poll.register(fifo, select.POLLIN)
            yield heard
        finally:
            if fifo is not None:
                fifo.close()
