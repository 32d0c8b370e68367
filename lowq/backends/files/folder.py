"""One directory of ours: made, recognised, its files read and written, with errors that have names."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Literal

from lowq.backend import (
    BackendUnavailable,
    Dedupe,
    InvalidLocation,
    LowqError,
    QueueClosed,
    QueueGone,
)
from lowq.backends.files import readme
from lowq.backends.files.content import Wrong
from lowq.backends.files.journal import Journal, allocate
from lowq.backends.files.mutex import Mutex
from lowq.backends.files.settings import FORMAT, INNER, names_at, settings_at
from lowq.clock import SystemClock
from lowq.location import folder_of

Durability = Literal["power", "process", "none"]
"""What a push that returned survives: the loss of power (the file and the directory are synced); the death of the
process (the kernel writes them when it likes); the third is the same, and says that it does not matter."""

MANY = 16
"""From so many files on, the file system is synced once instead of each of them, where the system can."""
TMP = f"{INNER}/tmp"
NEW = "new"
BAD = "bad"

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ABANDONED = 600
"""Seconds after which a file that nobody pushed is not going to be."""


class Folder:
    """The directory of one queue, opened; its names are relative to it."""

    def __init__(self, root: str, name: str, *, durability: Durability, mutex: Mutex) -> None:
        self.root = root
        self.path = folder_of(root, name)
        self.name = name
        self.mutex = mutex
        self.journal: Journal | None = None
        self._power = durability == "power"
        self._fds: tuple[int, ...] = ()
        self._identity: tuple[int, int] | None = None
        self._journal_path = os.path.join(self.path, INNER, "journal")
        self.closed = False

    def make(self, dedupe: Dedupe | None, create: bool) -> Dedupe:
        """The queue is there, and was made with this dedupe; the caller holds the lock unless it may not create."""
        settings = os.path.join(self.path, INNER, "queue.json")
        known = settings_at(settings)
        if known is None:
            if not create:
                there = ", ".join(names_at(self.root)) or "none"
                raise InvalidLocation(f"{self.root}: there is no queue {self.name!r} here; there is {there}")
            known = {"lowq": FORMAT, "name": self.name, "dedupe": dedupe or "until_done"}
            self._note(settings, json.dumps(known, ensure_ascii=False) + "\n")
        made: Dedupe = known["dedupe"]
        if dedupe not in (None, made):
            raise InvalidLocation(
                f"{self.root}: the queue {self.name!r} was made with dedupe={made!r}, not {dedupe!r}"
            )
        return made

    def make_folders(self) -> None:
        """The directories are there, and known to the disk."""
        for path in (self.root, self.path, *(os.path.join(self.path, part) for part in (INNER, TMP, NEW, BAD))):
            if not os.path.isdir(path):
                os.makedirs(path, exist_ok=True)
                self.sync_folder(os.path.dirname(path))
        path = os.path.join(self.root, "README")
        if not os.path.lexists(path):
            with suppress(OSError), open(path, "x", encoding="utf-8") as file:  # a full disk needs none
                file.write(readme.TEXT.format(root=self.root))

    def open(self) -> Journal:
        """The directory and its journal are open; the caller holds the lock."""
        if self.closed:
            raise QueueClosed(f"this client of {self.root} was closed; open the queue again")
        if self.journal is None:
            self._open()
        assert self.journal is not None
        try:
            status = os.stat(self._journal_path)
        except (FileNotFoundError, NotADirectoryError):
            raise self.gone() from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise QueueGone(f"{self.path} was replaced by another directory; open the queue again")
        return self.journal

    def shut(self) -> None:
        """Whoever uses this client afterwards gets QueueClosed; its files are let go when no thread is inside."""
        self.closed = True
        with self.mutex.idle() as idle:
            if idle:
                self.close()

    def close(self) -> None:
        """The files are let go, the lock with them; the caller holds it, or nobody does."""
        fds, self._fds, self.journal = self._fds, (), None
        for fd in fds:
            os.close(fd)
        self.mutex.close()

    def read(self, name: str) -> bytes:
        """What stands in the file.

        Raises FileNotFoundError where it is gone, and Wrong where it is no file or cannot be read.
        """
        try:
            fd = os.open(name, _READ, dir_fd=self._fds[0])
        except OSError as error:
            if error.errno == errno.ENOENT or error.errno in _SHORT:
                raise
            raise Wrong("it is a symbolic link" if error.errno == errno.ELOOP else _told(error)) from None
        try:
            data = os.read(fd, 65536)
            if len(data) < 4096:
                return data  # of a regular file this is all
            parts = [data]
            while data := os.read(fd, 1 << 20):
                parts.append(data)
            return b"".join(parts)
        except OSError as error:
            if error.errno in _SHORT:
                raise
            raise Wrong("it is a directory" if error.errno == errno.EISDIR else _told(error)) from None
        finally:
            os.close(fd)

    def write(self, data: bytes, *, sync: bool = True) -> str:
        """The name of a new file that holds the data, as durably as promised; who made it renames or removes it.

        Where `sync` is False, `sync_all` is to follow.
        """
        name = f"{TMP}/{os.getpid()}-{os.urandom(6).hex()}"
        fd = os.open(name, _WRITE, 0o666, dir_fd=self._fds[0])
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if self._power and (sync or _syncfs() is None):
                _sync(fd)
        except BaseException:
            self.discard(name)
            raise
        finally:
            os.close(fd)
        return name

    def discard(self, name: str) -> None:
        """The file that `write` made is gone, if it was there."""
        with suppress(OSError, IndexError):
            os.unlink(name, dir_fd=self._fds[0])

    def rename(self, source: str, target: str) -> None:
        """The file has the other name. Raises FileNotFoundError where it is gone."""
        folder = self._fds[0]
        os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str) -> None:
        """The file is gone. Raises FileNotFoundError where it was."""
        os.unlink(name, dir_fd=self._fds[0])

    def exists(self, name: str) -> bool:
        """Whether anything has this name."""
        try:
            os.lstat(name, dir_fd=self._fds[0])
        except FileNotFoundError:
            return False
        return True

    def sync(self, *names: str) -> None:
        """What was renamed and removed survives the loss of power, where that is promised."""
        if self._power:
            _sync(self._fds[0])
            for name in names:
                self.sync_folder(os.path.join(self.path, name))

    def sync_all(self) -> None:
        """What was written without a sync survives the loss of power, where that is promised."""
        if self._power and (syncfs := _syncfs()) is not None:
            syncfs(self._fds[0])

    def sync_folder(self, path: str) -> None:
        """What that directory lists survives the loss of power, where that is promised."""
        if self._power:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _sync(fd)
            finally:
                os.close(fd)

    def reserved(self, number: int | None = None) -> int:
        """Up to which number the queue may have given some; with `number`, it is that from now on, on the disk."""
        fd = os.open(f"{INNER}/numbers", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666,
                     dir_fd=self._fds[0])  # fmt: skip
        try:
            if number is None:
                text = os.read(fd, 32).strip()
                return int(text) if text.isdigit() else 0
            os.pwrite(fd, b"%020d\n" % number, 0)
            if self._power:
                _sync(fd)
            return number
        finally:
            os.close(fd)

    def tidy(self) -> None:
        """Files that killed processes were about to push, some time ago, are gone."""
        now = SystemClock().now().timestamp()
        with suppress(OSError), os.scandir(os.path.join(self.path, TMP)) as entries:
            for entry in entries:
                pid, separator, _ = entry.name.partition("-")
                ours = separator and pid.isascii() and pid.isdigit() and not _lives(int(pid))
                # The age, because a process of another container that shares the directory seems not to live.
                if ours and now - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
                    self.discard(f"{TMP}/{entry.name}")

    def gone(self) -> QueueGone:
        """The error of a directory that was deleted."""
        return QueueGone(f"{self.path} is gone; open the queue again")

    def named(self, error: OSError) -> LowqError:
        """The error of ours that tells what an error of the system means to the caller."""
        if self.closed:
            return QueueClosed(f"this client of {self.root} was closed; open the queue again")
        if error.errno in _FULL:
            return BackendUnavailable(f"{self.path}: the disk is full ({error.strerror}); nothing was written")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return BackendUnavailable(
                f"{self.path} cannot be written ({error.strerror}); check the permissions of it and what is in it"
            )
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
        if gone and self._identity is not None and not os.path.exists(self._journal_path):
            return self.gone()
        return BackendUnavailable(f"{self.path}: {_told(error)}")

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        if self._identity is None:
            flags |= os.O_CREAT
        fds: list[int] = []
        try:
            fds.append(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            fds.append(os.open(self._journal_path, flags, 0o666))
            status = os.fstat(fds[1])
            if self._identity is None:
                allocate(fds[1])
                self._identity = (status.st_dev, status.st_ino)
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, FileNotFoundError) and self._identity is not None:
                raise self.gone() from None
            raise
        self._fds = tuple(fds)
        self.journal = Journal(fds[1])

    def _note(self, path: str, text: str) -> None:
        """The file at `path` says so, wholly or not at all."""
        new = f"{path}.{os.getpid()}.tmp"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            os.write(fd, text.encode())
            if self._power:
                _sync(fd)
        finally:
            os.close(fd)
        os.rename(new, path)
        self.sync_folder(os.path.dirname(path))


def _sync(fd: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there fsync() stops at the drive's own cache
    else:
        os.fsync(fd)


@cache
def _syncfs() -> Callable[[int], None] | None:
    """Syncs the file system of a descriptor, with all that was written to it; None where there is no such call."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def sync(descriptor: int) -> None:
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync


def _told(error: OSError) -> str:
    return error.strerror or str(error)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
