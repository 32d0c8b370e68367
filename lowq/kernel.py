"""The functions of `os` as they were before a program or a test replaced them.

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
from posix import open as open_descriptor
from select import poll

__all__ = [
    "_exit",
    "getpid",
    "getppid",
    "kill",
    "killpg",
    "lstat",
    "open_descriptor",
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
