"""The processes that somebody started, by a mark in the environment that they all inherited."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

MARK = "LOWQ_STARTED_BY"


def started_by(mark: str) -> list[str]:
    """The command lines of the living processes with this mark."""
    wanted = f"{MARK}={mark}"
    if not Path("/proc/self/environ").exists():
        listed = subprocess.run(["ps", "-Eaxww", "-o", "command="], capture_output=True, text=True, check=True)
        return [line for line in listed.stdout.splitlines() if wanted in line.split()]
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):  # it ended meanwhile, or is somebody else's
                if wanted.encode() in folder.joinpath("environ").read_bytes().split(b"\0"):
                    found.append(folder.joinpath("cmdline").read_text().replace("\0", " "))
    return found


def left_by(mark: str, seconds: float = 30.0) -> list[str]:
    """Those that are still there when all should have gone; waits for that at most so long."""
    end = time.monotonic() + seconds
    while (found := started_by(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    return found
