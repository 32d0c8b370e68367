"""The lock of a directory: one thread of one process at a time, and nobody for ever.

It is flock(2) on a file that is never deleted: the kernel ends it with the process that holds it. Threads of one
client share the open file, so they take turns at a lock of their own first. `release` may be called twice, and by who
holds nothing: a caller that does so in two nested `finally` blocks lets go of it wherever a signal's exception comes.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import FileIO
from typing import Any

from lowq.backend import BackendUnavailable
from lowq.backends.files.descriptors import open_file
from lowq.clock import SystemClock
from lowq.process.forking import file_at
from lowq.process.handlers import Suppressed, let_through

_FIRST_NAP = timedelta(microseconds=50)
_LONGEST_NAP = timedelta(milliseconds=4)


class Mutex:
    """The lock at one path, whose file is opened when it is first taken, and again after a fork."""

    def __init__(self, path: str, patience: timedelta) -> None:
        self._path = path
        self._patience = patience
        self._threads: Any = threading.RLock()
        self._file: FileIO | None = None
        self._identity: tuple[int, int] | None = None
        _mutexes.add(self)

    def check_free(self) -> None:
        """Raise BackendUnavailable where this thread is inside a call: a signal's handler interrupted it."""
        if self._threads._is_owned():
            raise self._below()

    def acquire(self) -> None:
        """The lock is held. Raises BackendUnavailable where it was not to be had in time."""
        if not self._threads.acquire(blocking=False):
            patience = min(self._patience.total_seconds(), threading.TIMEOUT_MAX)
            if not self._threads.acquire(timeout=patience):
                raise self._busy("another thread")
        if self._file is not None and not self._is_whole(self._file):
            _lost.append(self._file)
            self._file = None
        if self._file is None:
            self._file = open_file(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._identity = file_at(self._file.fileno())
        if not self._locked():
            self._wait()

    def _is_whole(self, file: FileIO) -> bool:
        """Whether nobody has closed the file under us, as the collection of a cycle does, or its number."""
        return not file.closed and file_at(file.fileno()) == self._identity

    def _locked(self) -> bool:
        """Whether the lock was to be had at once."""
        assert self._file is not None  # `acquire` opened it
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            let_through(error)
            return False
        return True

    def _wait(self) -> None:
        for other in list(_mutexes):
            if other is not self and other._path == self._path and other._threads._is_owned():
                raise self._below()  # it would wait for itself
        clock, nap = SystemClock(), _FIRST_NAP
        left = clock.countdown(self._patience)
        while not self._locked():
            if left() <= timedelta(0):
                raise self._busy("another process")
            clock.sleep(min(nap, left()))
            nap = min(nap * 1.5, _LONGEST_NAP)

    def release(self) -> None:
        """This thread does not hold the lock."""
        if self._threads._is_owned():
            if self._file is not None and not self._file.closed:
                with Suppressed(OSError):  # whoever closed it has unlocked it
                    fcntl.flock(self._file, fcntl.LOCK_UN)
            self._threads.release()

    def close(self) -> None:
        """The file is let go, and the lock with it."""
        file, self._file = self._file, None
        if file is not None:
            if self._is_whole(file):
                file.close()
            else:
                _lost.append(file)

    @contextmanager
    def idle(self) -> Iterator[bool]:
        """Whether no thread is inside a call of the client; none comes in meanwhile."""
        if self._threads._is_owned() or not self._threads.acquire(timeout=1):
            yield False
            return
        try:
            yield True
        finally:
            self._threads.release()

    def before_fork(self) -> None:
        """No other thread is inside a call while this process forks."""
        self._threads.acquire()

    def after_fork_in_parent(self) -> None:
        """Threads may enter again."""
        self._threads.release()

    def after_fork_in_child(self) -> None:
        """The child has nothing of the parent's lock: the file is closed there, never unlocked."""
        self._threads = threading.RLock()
        self.close()

    def _below(self) -> BackendUnavailable:
        return BackendUnavailable(
            f"{os.path.dirname(self._path)}: this call runs in a signal handler or a finalizer, in the middle of"
            " another call of its thread that holds the lock; let it take a note, and do this afterwards"
        )

    def _busy(self, who: str) -> BackendUnavailable:
        seconds = self._patience.total_seconds()
        return BackendUnavailable(f"{os.path.dirname(self._path)}: {who} kept the queue locked for {seconds:g} s")


_mutexes = weakref.WeakSet[Mutex]()
_lost: list[FileIO] = []
"""Files that the program closed under us, kept: dropping one closes its number, which is another's by now."""
