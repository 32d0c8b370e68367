"""Opens files so that they are closed even where a signal handler raises, and syncs them to the disk.

What opens a file and what owns it are called by one another in C, so that no instruction of Python comes between.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from io import FileIO

from lowq import kernel
from lowq.process.forking import file_at
from lowq.process.handlers import let_through

_MODES = {os.O_RDONLY: "r", os.O_WRONLY: "w", os.O_RDWR: "r+"}
_HOW = os.O_RDONLY | os.O_WRONLY | os.O_RDWR


def open_file(path: str, flags: int, folder: int | None = None) -> FileIO:
    """The regular file, opened; it is closed when it is dropped. `path` is relative to the open `folder`."""
    opener = partial(kernel.open_descriptor, dir_fd=folder)
    return next(map(FileIO, map(opener, (path,), (flags,), (0o666,)), (_MODES[flags & _HOW],)))


class Descriptors(list[int]):
    """Descriptors that belong to this list: directories, and files that are read at chosen places.

    A program that closes all it finds takes them away, and their numbers may be others' then, which are left alone.
    """

    def __init__(self) -> None:
        self._files: dict[int, tuple[int, int] | None] = {}

    def open(self, path: str, flags: int) -> None:
        """One more, of that path."""
        self.extend(map(kernel.open_descriptor, (path,), (flags,), (0o666,)))
        self._files = {number: file_at(number) for number in self}

    def is_last_lost(self) -> bool:
        """Whether the last that was opened is another file's by now, or nobody's: as after `closerange(n, …)`."""
        return bool(self) and file_at(self[-1]) != self._files.get(self[-1])

    def close(self) -> None:
        """None is open any more."""
        while self:
            if self._files.get(self[0], ()) in (file_at(self[0]), ()):
                list(map(os.close, map(self.pop, (0,))))
            else:
                self.pop(0)

    def __enter__(self) -> Descriptors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def sync_file(fd: int) -> None:
    """What was written to the open file survives the loss of power."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there fsync() stops at the drive's own cache
    else:
        os.fsync(fd)


@cache
def syncfs() -> Callable[[int], None] | None:
    """Syncs the file system of a descriptor, with all that was written to it; None where there is no such call."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError) as error:
        let_through(error)
        return None

    def sync(descriptor: int) -> None:
        if call(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return sync


def describe(error: OSError) -> str:
    """What the system says of the error."""
    return error.strerror or str(error)
