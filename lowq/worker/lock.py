"""Which process is the active worker of a queue: the one that holds a kernel lock, which no kill leaves behind.

The lock is flock(2) on a file beside the queue, which is never deleted. It belongs to the open file, so a process
takes it and passes it on by forking; it ends when the last process that has the file open has closed it, or when one
of them unlocks it.

The holder's pid stands in the file; with the word "starting" behind it, it is about to fork the worker; with
"stopping", it was told to stop and will not look at the queue any more. Where a lock's holder is stopping, or was
killed and is not quite gone, one process waits for it: the one that holds a second lock, the turn.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lowq import kernel
from lowq.backend import BackendUnavailable
from lowq.beside import open_beside
from lowq.clock import SystemClock
from lowq.process.forking import close_private, holds, open_private
from lowq.process.liveness import is_alive

_STARTING, _STOPPING = "starting", "stopping"
_LONGEST = 100
"""Bytes that are read of a lock file; a pid and a word are fewer."""
_FIRST_LOOK, _LATER_LOOK = timedelta(milliseconds=2), timedelta(milliseconds=100)


class WorkerLock:
    """A try at being the active worker. Only a process that is about to run the queue may take it."""

    def __init__(self, path: Path, database: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._database = database
        self._descriptor: int | None = None
        self._signer: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file that holds the lock."""
        if self._descriptor is None:
            raise ValueError(f"{self._path}: the lock is not held")
        return self._descriptor

    @property
    def held(self) -> bool:
        """Whether this process took the lock, or was passed it."""
        return self._descriptor is not None

    def take(self) -> bool:
        """The lock is held now; False: somebody else holds it, and will look at the queue after letting go of it."""
        while True:
            (descriptor,) = open_private(self._open)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_at_path(descriptor):
                    self._descriptor = descriptor
                    self._write(kernel.getpid(), _STARTING)
                    return True
            except BlockingIOError:
                return False
            except OSError as error:
                raise BackendUnavailable(f"{self._path} cannot be locked: {error.strerror}") from None
            finally:
                if self._descriptor is None:
                    close_private(descriptor)

    def hold_on(self) -> bool:
        """The lock is held, also where a handler closed its file and so unlocked it; False: somebody took it then."""
        if holds(self.descriptor):
            return True
        self.leave()
        if not self.take():
            return False
        self.sign()
        return True

    def succeed(self) -> bool:
        """The lock is held now, after a holder that looks no more; False: one that does has taken it meanwhile."""
        clock = SystemClock()
        nap = _FIRST_LOOK
        while not self.take():
            if self.is_served():
                return False
            clock.sleep(nap)
            nap = min(2 * nap, _LATER_LOOK)
        return True

    def is_served(self) -> bool:
        """Whether the holder runs and was not told to stop: it looks at the queue again after this call."""
        pid, word = _holder(self._path)
        return pid is not None and word != _STOPPING and is_alive(pid)

    def sign(self) -> None:
        """This process's id stands in the file, for `active_pid`."""
        self._signer = kernel.getpid()
        self._write(self._signer)

    def sign_off(self) -> None:
        """The file says that this process, which signed, was told to stop; one that was forked of it says nothing."""
        if self._signer == kernel.getpid() and self._descriptor is not None:
            self._write(self._signer, _STOPPING)

    def let_go(self) -> None:
        """Nobody holds the lock, and no pid stands in the file; it is never without the word of one that stops."""
        _, word = _holder(self._path)
        self._write(None, word if word == _STOPPING else "")
        self._signer = None
        if holds(self.descriptor):  # a handler that closed it unlocked it too
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.leave()

    def leave(self) -> None:
        """This process has nothing to do with the lock any more; a child that it was passed to still holds it."""
        if self._descriptor is not None:
            close_private(self._descriptor)
            self._descriptor = None

    def _open(self) -> tuple[int]:
        with open_beside(self._path, self._database, os.O_RDWR | os.O_CREAT) as file:
            return (fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 3),)

    def _write(self, pid: int | None, word: str = "") -> None:
        """One write of one length, so that nobody reads half of it; a full disk must not end the worker."""
        if holds(self.descriptor):
            with suppress(OSError):
                os.pwrite(self.descriptor, f"{pid or '':<10} {word:<8}\n".encode(), 0)

    def _is_at_path(self, descriptor: int) -> bool:
        """Whether the next to try would meet this very file: its folder may have been deleted and made anew."""
        try:
            return os.path.samestat(os.fstat(descriptor), kernel.stat(self._path))
        except FileNotFoundError:
            return False


def active_pid(path: Path) -> int | None:
    """The process that runs the queue with this lock file now, or None.

    It is read, not tried: a try that succeeded would keep a worker from starting. A pid that a killed worker left
    counts only where some process has it now.
    """
    pid, word = _holder(path)
    return pid if pid is not None and word != _STARTING and is_alive(pid) else None


def _holder(path: Path) -> tuple[int | None, str]:
    """The pid in the file, and the word behind it."""
    line, *_ = _read(path).splitlines() or [""]
    pid, _, word = line.partition(" ")
    return int(pid) if pid.isdecimal() and pid.isascii() and len(pid) <= 10 else None, word.strip()


def _read(path: Path) -> str:
    try:
        with open_beside(path, None, os.O_RDONLY) as file:
            return file.read(_LONGEST).decode("ascii", errors="replace")
    except FileNotFoundError:
        return ""
