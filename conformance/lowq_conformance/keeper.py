"""A process beside the tests that knows their workers: it pauses them, and kills them when the tests are gone.

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
from contextlib import suppress

LOOK = 0.2
"""Seconds between two looks at whether the tests are still there."""


class Keeper:
    """The other end: what the tests ask of that process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def keep(self, pid: int) -> None:
        """The process is killed when the tests are gone."""
        self._ask("keep", pid)

    def forget(self, pid: int) -> None:
        """The process has ended; its number may soon be another's."""
        self._ask("forget", pid)

    def pause(self, pid: int, at: int, seconds: float) -> None:
        """The process stands still from the instant `at`, of time.monotonic_ns(), for so long; returns when it does,
        or was not there any more."""
        self._ask("pause", pid, at, seconds)
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError("the keeper of the workers died")

    def close(self) -> None:
        """Every process that is still kept has been killed, and the keeper has ended."""
        self._process.communicate()

    def _ask(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()


def main() -> None:
    """Do what is asked on standard input, until nobody is there to ask."""
    kept: set[int] = set()
    parent, rest = os.getppid(), b""
    while os.getppid() == parent:
        if not select.select([0], [], [], LOOK)[0]:
            continue
        if not (data := os.read(0, 4096)):
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            word, number, *more = line.decode().split()
            pid = int(number)
            if word == "keep":
                kept.add(pid)
            elif word == "forget":
                kept.discard(pid)
            else:
                _pause(pid, int(more[0]), float(more[1]))
    for pid in kept:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _pause(pid: int, at: int, seconds: float) -> None:
    """It says so as soon as the process stands still."""
    time.sleep(max(0.0, (at - time.monotonic_ns()) / 1e9))
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        os.write(1, b"gone\n")
        return
    os.write(1, b"paused\n")
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever is interrupted closes this end
    main()
