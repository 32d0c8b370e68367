"""A warden: a process that kills process groups when the process that asked for them ends.

A program that is started into such a group need not know of it, and may close all descriptors that it finds. The
group is there before the program: a process that only waits holds it. So there is no instant at which a killed worker
leaves a program behind. All of it is one fork of the worker's, because a fork closes what that has open in SQLite.
"""

from __future__ import annotations

import os
import signal
import struct
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from lowq import kernel
from lowq.clock import SystemClock
from lowq.process.forking import ForkUnavailable, close_private, open_private, spawn

_MESSAGE = struct.Struct("<q")
_NEW, _REFUSED = 0, -1
_AGAIN, _APART = 20, timedelta(milliseconds=5)
"""So often, so far apart, a group is killed at the end: a program that was being started may still come into it."""


class Warden:
    """A child process that makes process groups, and kills what is in them when this process is gone."""

    def __init__(self) -> None:
        orders, self._orders, self._answers, answers = open_private(lambda: (*os.pipe(), *os.pipe()))
        self.owner = kernel.getpid()
        try:
            self.pid = spawn(lambda: _serve(orders, answers), keep=(orders, answers))
        except BaseException:
            close_private(self._orders, self._answers)
            raise
        finally:
            close_private(orders, answers)

    def group(self) -> int:
        """A new process group, for programs to be started into. Raises ForkUnavailable."""
        with suppress(BrokenPipeError):
            os.write(self._orders, _MESSAGE.pack(_NEW))
        said = os.read(self._answers, _MESSAGE.size)
        group = int(_MESSAGE.unpack(said)[0]) if said else _REFUSED
        if group == _REFUSED:
            raise ForkUnavailable("the process that looks after the commands ended, or could not start another")
        return group

    def release(self, group: int) -> None:
        """What is left in the group is on its own."""
        with suppress(BrokenPipeError):
            os.write(self._orders, _MESSAGE.pack(group))

    def close(self) -> None:
        """What is in its groups is gone, and the warden too."""
        close_private(self._orders, self._answers)
        with suppress(ChildProcessError):  # the program reaps all children, or has the kernel do so
            kernel.waitpid(self.pid, 0)


def signal_group(group: int, number: int) -> None:
    """What is in the group gets the signal, but the process that holds it disregards a request to end."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of which only zombies are left
        kernel.killpg(group, number)


def _serve(orders: int, answers: int) -> None:
    """Make and release groups until the other end of `orders` is closed; then kill them."""
    kernel.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    lifeline, held = os.pipe()
    groups: set[int] = set()
    while order := os.read(orders, _MESSAGE.size):
        group = int(_MESSAGE.unpack(order)[0])
        if group == _NEW:
            group = _hold(lifeline, held)
            if group != _REFUSED:
                groups.add(group)
            with suppress(BrokenPipeError):
                os.write(answers, _MESSAGE.pack(group))
        elif group in groups:
            groups.remove(group)
            with suppress(ProcessLookupError):
                kernel.kill(group, signal.SIGKILL)
            kernel.waitpid(group, 0)
    for _ in range(_AGAIN if groups else 0):
        for group in groups:
            signal_group(group, signal.SIGKILL)
        SystemClock().sleep(_APART)


def _hold(lifeline: int, held: int) -> int:
    """A process that holds a group of its own, and kills it when this process is gone."""
    try:
        pid = os.fork()
    except OSError:
        return _REFUSED
    if pid == 0:
        _wait(lifeline, held)
    with suppress(OSError):  # it does so itself; whoever is first
        kernel.setpgid(pid, pid)
    return pid


def _wait(lifeline: int, held: int) -> NoReturn:
    try:
        os.close(held)
        kernel.setpgid(0, 0)
        os.read(lifeline, 1)
        kernel.killpg(0, signal.SIGKILL)
    finally:
        kernel._exit(1)
