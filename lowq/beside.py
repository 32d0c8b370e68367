"""Opens the files beside a queue's database (lock, log, bell): never through a link, never for more people than it.

A side file has the mode, the owner and the group of the database, as far as this process may give them; where it may
not give the group, the group gets what everybody gets. A file that is open to more people than the database, because
an older lowq made it, is narrowed when it is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO

from lowq import kernel
from lowq.backend import BackendUnavailable, InvalidLocation
from lowq.process.handlers import Suppressed, is_of_a_handler, let_through
from lowq.process.paths import exists, is_folder

_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def true_path(path: str | os.PathLike[str]) -> str:
    """The one path of the database by which the files beside it are named, whichever link leads to it.

    Symbolic links are followed. Of several names in one folder (hard links) it is the one in use, else the first.
    """
    real = os.path.realpath(path)
    return min(_names(real)[0], default=real)


def check_links(path: str) -> None:
    """Raise InvalidLocation where the file has names (hard links) that cannot be found from here.

    SQLite keeps a log for each name, so two programs that use two of them damage the database
    (https://www.sqlite.org/howtocorrupt.html, section 2.5).
    """
    _, unknown = _names(path)
    if unknown:
        raise InvalidLocation(
            f"{path} has {unknown} more {'name' if unknown == 1 else 'names'} (hard links) in other folders; SQLite "
            "would keep a log for each, and damage the database: remove them, or make symbolic links of them"
        )


def _names(real: str) -> tuple[list[str], int]:
    """The names of a file that has several, those in use if there are any; and how many lie elsewhere."""
    try:
        status = kernel.stat(real)
        if status.st_nlink <= 1 or not stat.S_ISREG(status.st_mode):
            return [], 0
        with os.scandir(os.path.dirname(real)) as entries:
            found = list(entries)
        names = [
            entry.path
            for entry in found
            if entry.inode() == status.st_ino and os.path.samestat(entry.stat(follow_symlinks=False), status)
        ]
    except OSError as error:
        let_through(error)
        return [], 0
    # The log is away while a process forks or is about to open the file; a worker's lock stays where it was made.
    in_use = [name for name in names if exists(f"{name}-wal")] or [
        name for name in names if any(entry.path.startswith(f"{name}-lock") for entry in found)
    ]
    return in_use or names, status.st_nlink - len(names)


def open_beside(path: str | os.PathLike[str], database: str | os.PathLike[str] | None, flags: int) -> FileIO:
    """The regular file at `path`, opened with these flags of os.open; with O_CREAT it is made where there is none.

    Its descriptor belongs to the answer, which closes it when it is dropped; `os.dup` makes one that stays. Raises
    FileNotFoundError; and BackendUnavailable where a link or anything but a regular file stands there, and where it
    cannot be opened. Without a `database` a new file is this user's alone.
    """
    name = os.fspath(path)
    file = None
    try:
        file = _open(name, flags & ~(os.O_CREAT | os.O_TRUNC))
        if file is None and flags & os.O_CREAT:
            with Suppressed(FileExistsError):  # made by somebody else meanwhile
                _make(name, database)
            file = _open(name, flags & ~(os.O_CREAT | os.O_TRUNC))
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BackendUnavailable(f"{name} is no regular file; lowq keeps a file of its own there: remove it")
        _share(file.fileno(), status, database)
        return file
    except BaseException as error:
        if file is not None:
            file.close()
        if isinstance(error, FileNotFoundError) or not isinstance(error, OSError) or is_of_a_handler(error):
            raise
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise BackendUnavailable(f"{name} is a symbolic link, and lowq follows none there: remove it") from None
        raise BackendUnavailable(f"{name} cannot be opened: {error.strerror}") from None


def open_fifo(path: str | os.PathLike[str], flags: int) -> FileIO | None:
    """The FIFO at `path`, opened without blocking; None where none can be opened, or nobody listens at its end."""
    try:
        file = _open(os.fspath(path), flags)
    except OSError as error:
        let_through(error)
        return None
    if file is not None and not stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        file.close()
        return None
    return file


def make_fifo(path: str | os.PathLike[str], database: str | os.PathLike[str]) -> None:
    """A FIFO stands at `path` where nothing stood; where a file system has none, nothing does."""
    with Suppressed(OSError):
        os.mkfifo(path, 0o600)
    file = open_fifo(path, os.O_RDWR)
    if file is not None:
        with file:
            _share(file.fileno(), os.fstat(file.fileno()), database)


def _open(path: str, flags: int) -> FileIO | None:
    """Open `path` itself, no link; None where nothing is there.

    One call into C opens it and gives it to its owner: an exception that a signal raises cannot come between the two,
    and so leaves no descriptor behind.
    """
    if is_folder(path):  # which FileIO would refuse after it was opened, and leave open
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    mode = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "r+"}[flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)]
    try:
        return next(map(FileIO, map(kernel.open_descriptor, (path,), (flags | _SAFELY,), (0o600,)), (mode,)))
    except FileNotFoundError as error:
        let_through(error)
        return None


def _make(path: str, database: str | os.PathLike[str] | None) -> None:
    file = _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    if file is not None:
        with file:
            _share(file.fileno(), os.fstat(file.fileno()), database)


def _share(descriptor: int, now: os.stat_result, database: str | os.PathLike[str] | None) -> None:
    """The open file has the mode, the owner and the group of the database, as far as this process may give them."""
    if database is None:
        return
    try:
        wanted = kernel.stat(database)
    except OSError as error:
        let_through(error)
        return  # then it stays with who made it
    mode = wanted.st_mode & 0o666
    if (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (wanted.st_uid, wanted.st_gid, mode):
        return
    if now.st_uid not in (os.geteuid(), wanted.st_uid) and os.geteuid() != 0:
        return  # somebody else's, who opened it to us
    if now.st_gid != wanted.st_gid:
        with Suppressed(OSError):
            os.fchown(descriptor, -1, wanted.st_gid)
    if now.st_uid != wanted.st_uid:
        with Suppressed(OSError):
            os.fchown(descriptor, wanted.st_uid, -1)
    if os.fstat(descriptor).st_gid != wanted.st_gid:
        mode = mode & 0o606 | (mode & 0o006) << 3
    with Suppressed(OSError):
        os.fchmod(descriptor, mode)
