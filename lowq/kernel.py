"""Calls of the system, as they are whatever a program or a test has put in their place in `os`.

A test that mocks `os.kill` or `os.path.exists` means its own calls. Were ours among them, a task would outlive its
limit, a forked worker would go on as a copy of the test, and a queue would be gone. `posix` holds the functions that
`os` takes over from it; nobody replaces them there. `open` and `poll` are taken when this is imported.
"""

from __future__ import annotations

import os
import posix
import sys
from io import open as open_file
from posix import _exit, getpid, getppid, kill, killpg, lstat, setpgid, setsid, stat, urandom
from select import poll
from stat import S_ISDIR, S_ISREG

__all__ = [
    "_exit",
    "exists",
    "getpid",
    "getppid",
    "is_file",
    "is_folder",
    "kill",
    "killpg",
    "lstat",
    "open_file",
    "poll",
    "setpgid",
    "setsid",
    "stat",
    "urandom",
    "waitpid",
]


def waitpid(pid: int, options: int) -> tuple[int, int]:
    """As `os.waitpid`; gevent's own is asked where it is loaded, since it waits for the children itself."""
    wait = os.waitpid if "gevent.os" in sys.modules else posix.waitpid
    return wait(pid, options)


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that the path leads to."""
    return _mode(path) is not None


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether a regular file is there."""
    mode = _mode(path)
    return mode is not None and S_ISREG(mode)


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a directory is there."""
    mode = _mode(path)
    return mode is not None and S_ISDIR(mode)


def _mode(path: str | os.PathLike[str]) -> int | None:
    try:
        return stat(path).st_mode
    except (OSError, ValueError):
        return None
