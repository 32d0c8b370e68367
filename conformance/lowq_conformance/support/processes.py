"""Tells whether a process is alive; one that has ended and was not waited for yet (a zombie) is not."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def is_gone(pid: int) -> bool:
    """Whether the process has ended; one of ours is reaped, and one that somebody else did not reap counts too."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the number is somebody else's by now
        return True
    return _is_dead(pid)


def _is_dead(pid: int) -> bool:
    """Whether all of its threads have ended, so that what it held is free."""
    if not Path("/proc/self/stat").exists():
        listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return listed.stdout.strip()[:1] in ("", "Z")
    try:
        fields = Path("/proc", str(pid), "stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return True
    state, threads = fields[0], int(fields[17])
    return state == "X" or (state == "Z" and threads <= 1)  # a first thread that is dead waits for the others


def kill_with_group(pid: int) -> None:
    """The process was sent SIGKILL, and so was its group; it may not have had the time to found one."""
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


@contextmanager
def alone() -> Iterator[None]:
    """This process alone leaves the block: a child that a stranger's code forked in it, and let out, ends there."""
    pid = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != pid:
            os._exit(70)
