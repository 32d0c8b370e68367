"""A process beside the tests that knows their workers: it continues stopped ones, and kills all after the tests.

Workers detach themselves, so that no process group holds them. This file is run by itself, in a session of its own,
and imports nothing but the standard library.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

LOOK = 0.2
"""Seconds between two looks at whether the tests are still there, and for which a process stands still at most that
nobody asks for: it may hold what the one who would ask waits for."""


class Reaper:
    """The other end: what the tests ask of that process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def keep(self, pid: int) -> None:
        """The process does not stand still for long, and is killed when the tests are gone."""
        self._ask("keep", pid)

    def forget(self, pid: int) -> None:
        """The process has ended; its number may soon be another's."""
        self._ask("forget", pid)

    def thaw(self, pid: int, seconds: float) -> None:
        """The process, which stands still, goes on after so long, if it is kept."""
        self._ask("thaw", pid, int(1e6 * seconds))

    def close(self) -> None:
        """Every process that is still kept has been killed, and the reaper has ended."""
        with suppress(BrokenPipeError):  # it ended before
            self._ask("close")  # a worker may hold the other end of the pipe, which then has no end
        self._process.communicate()

    def _ask(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()


def main() -> None:
    """Do what is asked on standard input, until nobody is there to ask, or asks for no more."""
    kept: dict[int, float] = {}
    parent, rest, closing = os.getppid(), b"", False
    while not closing and os.getppid() == parent:
        now = time.monotonic()
        due = {pid for pid, instant in kept.items() if instant <= now}
        send(signal.SIGCONT, due)
        kept.update(dict.fromkeys(due, now + LOOK))
        if not select.select([0], [], [], min([LOOK, *(instant - now for instant in kept.values())]))[0]:
            continue
        if not (data := os.read(0, 4096)):
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            match line.decode().split():
                case ["close"]:
                    closing = True
                case ["keep", pid]:
                    kept[int(pid)] = time.monotonic() + LOOK
                case ["forget", pid]:
                    kept.pop(int(pid), None)
                case ["thaw", pid, microseconds] if int(pid) in kept:
                    kept[int(pid)] = time.monotonic() + int(microseconds) / 1e6
    send(signal.SIGKILL, kept)


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """The processes were sent the signal; one that has ended needs none."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted closes this end
    main()
