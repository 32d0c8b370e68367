"""A lifeline: a pipe whose other end the parent holds; when it is gone, however it went, the child ends."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from contextlib import suppress

from lowq import kernel
from lowq.process.forking import has_cooperative_threads, holds

_LOOK = 0.25
"""Seconds between two looks at the parent where the pipe was closed under us."""


def end_with_parent(lifeline: int, parent: int, *, group: bool = False) -> None:
    """This process, or all of its own process `group`, is killed when nobody holds the lifeline's other end any more.

    Where the kernel can send SIGKILL for a pipe (Linux), it does, also to a process that is suspended or never gives
    a thread its turn; a thread does it elsewhere.
    """
    with suppress(AttributeError, OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp() if group else kernel.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_watch, args=(lifeline, parent, group), name="lowq-lifeline", daemon=True).start()


def _watch(lifeline: int, parent: int, group: bool) -> None:
    cooperative = has_cooperative_threads()  # then a thread that reads would hold up the handler
    if not cooperative:
        with suppress(OSError):
            os.read(lifeline, 1)
    if cooperative or not holds(lifeline):  # a handler closed it, and what was read is another file
        pause = threading.Event()
        while kernel.getppid() == parent:
            pause.wait(_LOOK)
    if group:
        kernel.killpg(0, signal.SIGKILL)
    kernel.kill(kernel.getpid(), signal.SIGKILL)
