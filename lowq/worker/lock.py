"""Which process is the active worker of a queue: the one that holds a kernel lock, which no kill leaves behind.

The lock is flock(2) on a file beside the queue, which is never deleted. It belongs to the open file, so a process
takes it and passes it on by forking; it ends when the last process that has the file open has closed it, or when one
of them unlocks it.

The holder's pid stands in the file, with the word "stopping" behind it once it was told to stop: it will not look at
the queue any more, so whoever wants a worker then waits for the lock.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from lowq.backend import BackendUnavailable
from lowq.beside import open_beside
from lowq.clock import SystemClock
from lowq.process.forking import close_private, open_private

_STOPPING = "stopping"
_LONGEST = 100
"""Bytes that are read of a lock file; a pid and a word are fewer."""
_LOOK_AGAIN = timedelta(milliseconds=20)


class WorkerLock:
    """A try at being the active worker. Only a process that is about to run the queue may take it."""

    def __init__(self, path: Path, database: str | os.PathLike[str] | None = None) -> None:
        self._path = path
        self._database = database
        self._descriptor: int | None = None
        self._signed = ""

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
                    return True
            except BlockingIOError:
                return False
            except OSError as error:
                raise BackendUnavailable(f"{self._path} cannot be locked: {error.strerror}") from None
            finally:
                if self._descriptor is None:
                    close_private(descriptor)

    def succeed(self) -> bool:
        """The lock is held now, after its holder that was told to stop; False: somebody else holds it meanwhile."""
        clock = SystemClock()
        while not self.take():
            if not self.is_stopping():
                return False
            clock.sleep(_LOOK_AGAIN)
        return True

    def is_stopping(self) -> bool:
        """Whether the holder was told to stop, and will not look at the queue after letting go."""
        return _STOPPING in _read(self._path)

    def sign(self) -> None:
        """This process's id stands in the file, for `active_pid`."""
        self._signed = f"{os.getpid()}\n"
        with suppress(OSError):  # a full disk must not end the worker
            os.pwrite(self.descriptor, self._signed.encode(), 0)
            os.ftruncate(self.descriptor, len(self._signed))

    def sign_off(self) -> None:
        """The file says that this process, which signed, was told to stop; one that was forked of it says nothing."""
        pid = str(os.getpid())
        if self._signed == f"{pid}\n":
            self._signed = f"{pid} {_STOPPING}\n"
            with suppress(OSError):
                os.pwrite(self.descriptor, self._signed.encode(), 0)

    def let_go(self) -> None:
        """Nobody holds the lock, and no pid stands in the file; it is never without the word of one that stops."""
        pid, _, word = self._signed.partition(" ")
        if word:
            os.pwrite(self.descriptor, b" " * len(pid), 0)
        else:
            os.ftruncate(self.descriptor, 0)
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.leave()

    def leave(self) -> None:
        """This process has nothing to do with the lock any more; a child that it was passed to still holds it."""
        if self._descriptor is not None:
            close_private(self._descriptor)
            self._descriptor = None

    def _open(self) -> tuple[int]:
        with open_beside(self._path, self._database, os.O_RDWR | os.O_CREAT) as file:
            return (fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 0),)

    def _is_at_path(self, descriptor: int) -> bool:
        """Whether the next to try would meet this very file: its folder may have been deleted and made anew."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False


def active_pid(path: Path) -> int | None:
    """The process that runs the queue with this lock file now, or None.

    It is read, not tried: a try that succeeded would keep a worker from starting. A pid that a killed worker left
    counts only where some process has it now.
    """
    first, *_ = _read(path).split() or [""]
    if not first.isdigit():
        return None
    pid = int(first)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # somebody else's process
        pass
    return pid


def _read(path: Path) -> str:
    try:
        with open_beside(path, None, os.O_RDONLY) as file:
            return file.read(_LONGEST).decode("ascii", errors="replace")
    except FileNotFoundError:
        return ""
