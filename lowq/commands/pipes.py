"""The standard input and error of a command: fed and heard by threads, which what it leaves running cannot hold up.

Each thread has a descriptor of its own. One that the command's own end did not end goes on beside the next task, and
harms nobody: what runs on may still read its work, and still be heard.
"""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from datetime import timedelta
from typing import IO

from lowq import kernel
from lowq.clock import SystemClock

_PART = 65536
_SLICE = 0.05
"""Seconds between two looks whether anybody still wants what is left of a work."""


class Input:
    """A work on its way to a command, until it is read whole, or nobody is there to read it."""

    def __init__(self, stream: IO[bytes], work: bytes) -> None:
        self._work = memoryview(work)
        self._over = False
        self._fd = os.dup(stream.fileno())
        stream.close()
        os.set_blocking(self._fd, False)
        self._thread = threading.Thread(target=self._send, name="lowq-stdin", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The command has ended; what it left running gets no more of the work than it had."""
        self._over = True
        self._thread.join()

    def _send(self) -> None:
        poll = kernel.poll()
        poll.register(self._fd, select.POLLOUT)
        with suppress(OSError):  # nobody reads it any more
            while self._work and not self._over:
                if poll.poll(_SLICE * 1000):
                    self._work = self._work[os.write(self._fd, self._work[:_PART]) :]
        os.close(self._fd)


class Errors:
    """What a command says on its standard error: it goes where ours goes, and its end is kept."""

    def __init__(self, stream: IO[bytes], longest: int) -> None:
        self._longest = longest
        self._tail = bytearray()
        self._lock = threading.Lock()
        self._closed = False
        self._fd = os.dup(stream.fileno())
        stream.close()
        self._thread = threading.Thread(target=self._hear, name="lowq-stderr", daemon=True)
        self._thread.start()

    def end(self, patience: timedelta) -> str:
        """The end of what was said by now, also where something that runs on could say more."""
        left = SystemClock().countdown(patience)
        while not self._is_heard() and left() > timedelta(0):
            self._thread.join(0.01)
        with self._lock:
            return bytes(self._tail).decode("utf-8", "backslashreplace").rstrip("\n")

    def _is_heard(self) -> bool:
        with self._lock:
            return self._closed or not self._is_waiting(0)

    def _is_waiting(self, milliseconds: int | None) -> bool:
        poll = kernel.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(milliseconds))

    def _hear(self) -> None:
        while not self._closed:
            self._is_waiting(None)
            with self._lock:
                part = os.read(self._fd, _PART)
                self._tail += part
                del self._tail[: -self._longest]
                if not part:
                    self._closed = True
                    os.close(self._fd)
            with suppress(OSError):
                os.write(2, part)
