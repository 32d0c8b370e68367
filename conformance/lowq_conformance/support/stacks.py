"""Asks a process that does not go on, by a signal, to write its stack to a file."""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lowq_conformance.support.own_frames import QUEUES, SUITE, is_of_python

ASK: int = getattr(signal, "SIGINFO", 0) or signal.SIGRTMAX - 3
"""A signal that queues have no use for: one that is for asking how far somebody is, or one of the nameless."""
ANSWERING = 1.0
"""Seconds within which a process that was asked has answered, if it will."""
SHOWN = 8
"""Frames that are told."""
FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')


@dataclass(frozen=True, slots=True)
class Frame:
    """One call of a stack."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"

    @property
    def is_of_the_suite(self) -> bool:
        """Whether it is the suite's own code, and no queue's that comes with it."""
        file = Path(self.file)
        return file.is_relative_to(SUITE) and not file.is_relative_to(QUEUES)


def answer_to(path: Path) -> None:
    """This process, and what it forks, writes its stacks to the end of the file whenever it is asked; also one that
    is in the middle of a call of C."""
    faulthandler.register(ASK, path.open("ab", buffering=0), all_threads=True, chain=False)


def ask(pid: int, path: Path) -> list[Frame]:
    """What the process is doing outside of the suite, the innermost call first; nothing where it does not say so."""
    if not _listens(pid):
        return []
    with suppress(OSError):
        before = path.stat().st_size
        os.kill(pid, ASK)
        end = time.monotonic() + ANSWERING
        size = before
        while time.monotonic() < end:  # until it has written all of it
            time.sleep(0.05)
            last, size = size, path.stat().st_size
            if size == last > before:
                break
        with path.open("rb") as file:
            file.seek(before)
            return find_strangers(file.read().decode(errors="replace"))
    return []


def find_strangers(dump: str) -> list[Frame]:
    """Of the stacks that a process wrote, the calls that the suite made into a queue's code, the innermost first."""
    for stack in _stacks(dump):
        own = next((at for at, frame in enumerate(stack) if frame.is_of_the_suite), None)
        inner = stack if own is None else stack[:own]
        if own is not None and any(not is_of_python(Path(frame.file)) for frame in inner):
            return inner[:SHOWN]
    return []


def _stacks(dump: str) -> Iterator[list[Frame]]:
    """Each thread's calls, the innermost first; that of the thread at work, which is told last, comes first."""
    stacks: list[list[Frame]] = []
    for line in dump.splitlines():
        if found := FRAME.fullmatch(line):
            if stacks:
                stacks[-1].append(Frame(found["file"], int(found["line"]), found["function"]))
        elif "most recent call first" in line:
            stacks.append([])
    yield from reversed(stacks)


def _listens(pid: int) -> bool:
    """Whether the process would answer, rather than die of the signal."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return not Path("/proc/self/status").exists()  # nobody can tell, but the process said so
    with suppress(OSError):
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)", status.read_text(), re.M)
        return found is not None and bool(int(found[1], 16) >> (ASK - 1) & 1)
    return False
