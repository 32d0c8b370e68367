"""The first process of a container: it ends the zombies that others leave to it, and hands on signals.

Process 1 is the parent of every process whose own has ended, and has to wait for each; a program that does not, as a
worker cannot without taking a handler's own children from it, fills the container with zombies.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection
from contextlib import suppress
from typing import NoReturn

from lowq import kernel

_KEPT = frozenset({signal.SIGCHLD, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""Signals that are this process's own."""


def leave_first_place() -> None:
    """In process 1 of a container, a child goes on from here, and process 1 looks after it and after all orphans.

    It ends as that child does, and all that is left in the container with it. Elsewhere nothing happens.
    """
    if kernel.getpid() == 1 and sys.platform == "linux":
        be_first()


def be_first() -> None:
    """As `leave_first_place`, whichever process this is."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    worker = os.fork()
    if worker == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    _look_after(worker, signals)


def _look_after(worker: int, signals: Collection[int]) -> NoReturn:
    if sys.platform != "linux":  # for mypy: others do not say who sent a signal
        raise AssertionError
    while True:
        told = signal.sigwaitinfo(signals)
        if told.si_signo == signal.SIGCHLD:
            _reap(worker)
        elif told.si_signo not in _KEPT and told.si_code <= 0:  # what a terminal sends, the worker is sent too
            with suppress(ProcessLookupError):
                kernel.kill(worker, told.si_signo)


def _reap(worker: int) -> None:
    """Nobody who has ended is left; where that was the worker, this process has ended as it did."""
    with suppress(ChildProcessError):
        while (ended := kernel.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == worker:
                status = os.waitstatus_to_exitcode(ended[1])
                kernel._exit(status if status >= 0 else 128 - status)
