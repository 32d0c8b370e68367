"""One directory of ours: made, recognised, its files read and written, with errors that have names.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import errno
import json
import os
from io import FileIO
from stat import S_ISREG
from typing import Literal

from lowq import kernel
from lowq.backend import (
    BackendUnavailable,
    Dedupe,
    InvalidLocation,
    LowqError,
    QueueClosed,
    QueueGone,
)
from lowq.backends.files import readme
from lowq.backends.files.content import LARGEST, Wrong
from lowq.backends.files.descriptors import Descriptors, describe, open_file, sync_file, syncfs
from lowq.backends.files.journal import Journal, allocate
from lowq.backends.files.mutex import Mutex
from lowq.backends.files.settings import FORMAT, INNER, names_at, settings_at
from lowq.clock import SystemClock
from lowq.location import folder_of
from lowq.process.handlers import Suppressed, is_of_a_handler, let_through
from lowq.process.paths import exists, is_folder
from lowq.rules.names import check_same_dedupe, no_queue

Durability = Literal["power", "process", "none"]
"""What a push that returned survives: the loss of power (the file and the directory are synced); the death of the
process (the kernel writes them when it likes); the third is the same, and says that it does not matter."""

MANY = 16
"""From so many files on, the file system is synced once instead of each of them, where the system can."""
TMP = f"{INNER}/tmp"
NEW = "new"
BAD = "bad"

_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | _SAFELY
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY
_BOTH = os.O_RDWR | os.O_CREAT | _SAFELY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_WHY = {errno.ELOOP: "it is a symbolic link", errno.EISDIR: "it is a directory"}
_SHORT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_USUAL = 1 << 16
"""Bytes that are read of a file at once; what has more is read to its end."""
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
        self._fds = Descriptors()
        self._identity: tuple[int, int] | None = None
        self._journal_path = os.path.join(self.path, INNER, "journal")
        self.closed = False

    def adopt(self, dedupe: Dedupe | None, create: bool) -> Dedupe:
        """The dedupe of the queue of this name, which is made where it is new, and open."""
        if os.path.lexists(self.root) and not is_folder(self.root):
            raise InvalidLocation(f"{self.root} is a file, and files:// keeps a queue in a directory; name another")
        if not create and not is_folder(self.root):
            raise InvalidLocation(f"{self.root}: there is no queue here; a push makes one")
        try:
            try:
                if create:
                    self._make_folders()
                else:
                    self._make(dedupe, create)
                self.mutex.acquire()
                made = self._make(dedupe, create)
                self.open()
                return made
            finally:
                self.mutex.release()
        except OSError as error:
            raise self.translate(error) from error
        except BaseException:
            self.close()
            raise

    def _make(self, dedupe: Dedupe | None, create: bool) -> Dedupe:
        """The queue is there, and was made with this dedupe; the caller holds the lock unless it may not create."""
        settings = os.path.join(self.path, INNER, "queue.json")
        known = settings_at(settings)
        if known is None:
            if not create:
                raise no_queue(self.root, self.name, names_at(self.root))
            known = {"lowq": FORMAT, "name": self.name, "dedupe": dedupe or "until_done"}
            self._note(settings, json.dumps(known, ensure_ascii=False) + "\n")
        made: Dedupe = known["dedupe"]
        check_same_dedupe(self.root, self.name, made, dedupe)
        return made

    def _make_folders(self) -> None:
        """The directories are there, and known to the disk."""
        for path in (self.root, self.path, *(os.path.join(self.path, part) for part in (INNER, TMP, NEW, BAD))):
            if not is_folder(path):
                try:
                    os.makedirs(path, exist_ok=True)
                except FileExistsError as error:
                    let_through(error)
                    raise BackendUnavailable(f"{path} is no directory, and lowq keeps one there: move it") from None
                self.sync_folder(os.path.dirname(path))
        path = os.path.join(self.root, "README")
        if not os.path.lexists(path):
            with Suppressed(OSError), kernel.open_file(path, "x", encoding="utf-8") as file:  # a full disk needs none
                file.write(readme.TEXT.format(root=self.root))

    def open(self) -> Journal:
        """The directory and its journal are open; the caller holds the lock."""
        if self.closed:
            raise QueueClosed(f"this client of {self.root} was closed; open the queue again")
        if self.journal is None or self._fds.is_last_lost():
            self._fds.close()
            self._open()
        assert self.journal is not None
        try:
            status = kernel.stat(self._journal_path)
        except (FileNotFoundError, NotADirectoryError) as error:
            let_through(error)
            raise self.gone_error() from None
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
        self.journal = None
        self._fds.close()
        self.mutex.close()

    def read(self, name: str) -> bytes:
        """What stands in the file.

        Raises FileNotFoundError where it is gone, and Wrong where it is no file or cannot be read.
        """
        try:
            with open_file(name, _READ, self._root()) as file:
                status = os.fstat(file.fileno())
                if not S_ISREG(status.st_mode):
                    raise Wrong("it is no regular file")
                if status.st_size > LARGEST:
                    raise Wrong(f"it has {status.st_size:,} bytes, and a task has {LARGEST:,} at most")
                data = file.read(_USUAL) or b""
                return data if len(data) < _USUAL else data + file.readall()
        except OSError as error:
            if error.errno in (errno.ENOENT, *_SHORT) or is_of_a_handler(error):
                raise
            raise Wrong(_WHY.get(error.errno or 0) or f"it cannot be read: {describe(error)}") from None

    def write(self, data: bytes, *, sync: bool = True) -> str:
        """The name of a new file that holds the data, as durably as promised; who made it renames or removes it.

        Where `sync` is False, `sync_all` is to follow.
        """
        if self._fds.is_last_lost():
            self._fds.close()
            self._open()
        name = f"{TMP}/{kernel.getpid()}-{kernel.urandom(6).hex()}"
        try:
            with open_file(name, _WRITE, self._root()) as file:
                _write_whole(file, data)
                if self._power and (sync or syncfs() is None):
                    sync_file(file.fileno())
        except BaseException:
            self.discard(name)
            raise
        return name

    def discard(self, name: str) -> None:
        """The file that `write` made is gone, if it was there."""
        with Suppressed(OSError, IndexError):
            os.unlink(name, dir_fd=self._root())

    def rename(self, source: str, target: str) -> None:
        """The file has the other name. Raises FileNotFoundError where it is gone."""
        folder = self._root()
        os.rename(source, target, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str) -> None:
        """The file is gone. Raises FileNotFoundError where it was."""
        os.unlink(name, dir_fd=self._root())

    def exists(self, name: str) -> bool:
        """Whether anything has this name."""
        try:
            os.lstat(name, dir_fd=self._root())
        except FileNotFoundError as error:
            let_through(error)
            return False
        return True

    def read_change_time(self) -> int:
        """The time of the last change of what the directory lists."""
        return os.fstat(self._root()).st_mtime_ns

    def make_bad(self) -> None:
        """The directory for what is wrong is there, also where a person removed it with what was in it."""
        with Suppressed(FileExistsError):
            os.mkdir(BAD, dir_fd=self._root())

    def sync(self, *names: str) -> None:
        """What was renamed and removed survives the loss of power, where that is promised."""
        if self._power:
            sync_file(self._root())
            for name in names:
                self.sync_folder(os.path.join(self.path, name))

    def sync_all(self) -> None:
        """What was written without a sync survives the loss of power, where that is promised."""
        if self._power and (call := syncfs()) is not None:
            call(self._root())

    def sync_folder(self, path: str) -> None:
        """What that directory lists survives the loss of power, where that is promised."""
        if self._power:
            with Descriptors() as folder:
                folder.open(path, _FOLDER)
                sync_file(folder[0])

    def reserve(self, number: int | None = None) -> int:
        """Up to which number the queue may have given some; with `number`, it is that from now on, on the disk."""
        with open_file(f"{INNER}/numbers", _BOTH, self._root()) as file:
            if number is None:
                text = file.readall().strip()
                return int(text) if text.isdigit() and len(text) <= 20 else 0
            os.pwrite(file.fileno(), b"%020d\n" % number, 0)
            if self._power:
                sync_file(file.fileno())
            return number

    def tidy(self) -> None:
        """Files that killed processes were about to push, some time ago, are gone."""
        now = SystemClock().now().timestamp()
        with Suppressed(OSError), os.scandir(os.path.join(self.path, TMP)) as entries:
            for entry in entries:
                self._discard_abandoned(entry, now)

    def _discard_abandoned(self, entry: os.DirEntry[str], now: float) -> None:
        pid, separator, _ = entry.name.partition("-")
        ours = separator and pid.isascii() and pid.isdigit() and not _lives(int(pid))
        # The age, because a process of another container that shares the directory seems not to live.
        if ours and now - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
            self.discard(f"{TMP}/{entry.name}")

    def gone_error(self) -> QueueGone:
        """The error of a directory that was deleted."""
        return QueueGone(f"{self.path} is gone; open the queue again")

    def translate(self, error: OSError) -> LowqError:
        """The error of ours that tells what an error of the system means to the caller."""
        let_through(error)
        if self.closed:
            return QueueClosed(f"this client of {self.root} was closed; open the queue again")
        if error.errno in _FULL:
            return BackendUnavailable(f"{self.path}: the disk is full ({error.strerror}); nothing was written")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return BackendUnavailable(
                f"{self.path} cannot be written ({error.strerror}); check the permissions of it and what is in it"
            )
        gone = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
        if gone and self._identity is not None and not exists(self._journal_path):
            return self.gone_error()
        return BackendUnavailable(f"{self.path}: {describe(error)}")

    def _root(self) -> int:
        """The open directory."""
        if not self._fds:
            if self.closed:
                raise QueueClosed(f"this client of {self.root} was closed while this call was under way")
            raise BackendUnavailable(f"{self.path}: this process forked while this call was under way")
        return self._fds[0]

    def _open(self) -> None:
        fds = Descriptors()
        try:
            fds.open(self.path, _FOLDER)
            fds.open(self._journal_path, _BOTH if self._identity is None else _BOTH & ~os.O_CREAT)
            if self._identity is None:
                status = os.fstat(fds[1])
                allocate(fds[1])
                self._identity = (status.st_dev, status.st_ino)
        except FileNotFoundError as error:
            if self._identity is None or is_of_a_handler(error):
                raise
            raise self.gone_error() from None
        self._fds = fds
        self.journal = Journal(fds[1])

    def _note(self, path: str, text: str) -> None:
        """The file at `path` says so, wholly or not at all."""
        new = f"{path}.{kernel.getpid()}.tmp"
        with kernel.open_file(new, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if self._power:
                sync_file(file.fileno())
        os.rename(new, path)
        self.sync_folder(os.path.dirname(path))


def _write_whole(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _lives(pid: int) -> bool:
    try:
        kernel.kill(pid, 0)
    except ProcessLookupError as error:
        let_through(error)
        return False
    except (PermissionError, OverflowError) as error:
        let_through(error)
        return True
    return True
