"""Whether a process still runs, also where it was killed a moment ago and is not gone yet."""

from __future__ import annotations

from contextlib import suppress

from lowq import kernel

_ENDING = 0x4 | 0x200 | 0x400
"""PF_EXITING, PF_DUMPCORE and PF_SIGNALED of Linux: nothing of such a process runs any more."""
_KILLED = 1 << 8
"""SIGKILL among the pending signals."""


def is_alive(pid: int) -> bool:
    """Whether the process runs and will go on to do so; False for one that is gone, a zombie, or just being killed.

    A killed process holds its files and locks until its last thread is gone, which may take a while. Only Linux tells
    of the last kind (proc(5)); elsewhere such a process counts as alive.
    """
    try:
        kernel.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's process
        pass
    with suppress(OSError, ValueError, IndexError):
        with kernel.open_file(f"/proc/{pid}/stat", "rb") as file:
            state, *numbers = file.read().rpartition(b")")[2].split()
        flags, pending = int(numbers[5]), int(numbers[27])
        return not (state in b"ZXx" or flags & _ENDING or pending & _KILLED)
    return True
