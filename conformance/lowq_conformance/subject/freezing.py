"""Runs in a worker process after its handler returned: counts steps up to the exit, or stops at a chosen one.

It stops itself with SIGSTOP. The way is measured in lines of Python that the thread of the turn runs, and in steps of
the process of which Python tells its auditors: at a chosen one of them, a worker is met where it is on a busy machine
as on an idle one. What it does in C, or in another thread, is met after so many seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from lowq_conformance.support.own_code import OwnCode
from lowq_conformance.support.tracepoints import Counter, audited, listen, trace

LONGEST = 10.0
"""Seconds for which a process waits for a sign, at most."""
LOOK = 0.001
OFTEN = 24
"""How often a line of a loop is told of: who stands before it once more stands where it did before."""
WIDTH = 8
"""Bytes of a number in the file of the counted."""


class StepCount(Counter):
    """Counts, and writes down what it counted."""

    def __init__(self, fd: int, place: int) -> None:
        super().__init__(0, None)
        self._fd, self._place = fd, place

    def one_more(self) -> None:
        """Something is about to happen."""
        super().one_more()
        os.pwrite(self._fd, self.count.to_bytes(WIDTH, "little"), self._place)


class OwnLines:
    """Tells a counter of the queue's own lines that do more than look at their own variables, in the order in which
    they run, each line at most so `often`; of every line where it is not known what is the queue's."""

    def __init__(self, counter: Counter, roots: Sequence[str], often: int = OFTEN) -> None:
        self._often = often
        self._counter, self._own = counter, OwnCode(map(Path, roots), "") if roots else None
        self._times = dict[tuple[CodeType, int], int]()

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  what a trace function gets
        """A trace function, called for what is called."""
        return self.line if self._own is None or self._own.lines(frame.f_code) else None

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG002  likewise
        """A trace function, called for each line."""
        if event == "line" and (self._own is None or frame.f_lineno in self._own.lines(frame.f_code)):
            at = frame.f_code, frame.f_lineno
            self._times[at] = self._times.get(at, 0) + 1
            if self._times[at] <= self._often:
                self._counter.one_more()
        return self.line


counting: list[StepCount] = []
"""What counts until the next turn of this process begins."""


def count(path: Path, own: Sequence[str] | None, *, once: bool = False) -> None:
    """From here on, the file says how many lines and how many steps there were; where `own` says what the queue's
    code is, how many lines of that, each one `once` or OFTEN at most, until the next turn begins."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    lines, steps = StepCount(fd, 0), StepCount(fd, WIDTH)
    counting[:] = [] if own is None else [lines, steps]
    counted = lines if own is None else OwnLines(lines, own, 1 if once else OFTEN)
    follow(counted, steps)  # the last line of ours: the next ones count


def begin_turn() -> None:
    """What counts until the next turn counts no more."""
    if counting:
        audited[:] = [counter for counter in audited if counter not in counting]
        counting.clear()
        trace(None)


def read_counts(path: Path) -> tuple[int, int]:
    """How many lines and how many steps there were; none where nobody counted them."""
    data = path.read_bytes() if path.exists() else b""
    return int.from_bytes(data[:WIDTH], "little"), int.from_bytes(data[WIDTH:], "little")


def freeze(gate: Path, kind: str, after: float, own: Sequence[str]) -> None:
    """This process makes the gate and stands still before a line or step to come, before one of its `own` lines,
    each of which counts OFTEN or "once", or after so many seconds.

    It does so only once it is kept by the reaper, which kills it when the tests are gone: nobody else would know it.
    """
    if not wait_until_kept(gate.parent):
        return
    still = partial(stand_still, gate, os.getpid())
    match kind:
        case "line":
            follow(Counter(int(after), still), Counter(0, None))
        case "own" | "once":
            follow(OwnLines(Counter(int(after), still), own, 1 if kind == "once" else OFTEN), Counter(0, None))
        case "step":
            follow(Counter(0, None), Counter(int(after), still))
        case "seconds":
            timer = threading.Timer(after, still)
            timer.daemon = True
            timer.start()


def tell_kept(folder: Path, pid: int) -> None:
    """The process may stand still: it is kept."""
    Path(folder, f"kept {pid}").touch()


def wait_until_kept(folder: Path) -> bool:
    """Whether this process was said to be kept before long; it does not stand still where it was not."""
    return wait_for(folder / f"kept {os.getpid()}")


def wait_for(sign: Path) -> bool:
    """Whether there was such a file before long; not where its folder is gone, as when the tests are over."""
    end = time.monotonic() + LONGEST
    while not sign.exists():
        if time.monotonic() > end or not sign.parent.exists():
            return False
        time.sleep(LOOK)
    return True


def stand_still(gate: Path, pid: int) -> None:
    """What the operating system may do to anybody at any time: the process stands still until it is sent on."""
    if os.getpid() == pid:  # what it forked meanwhile counts for itself
        gate.touch()
        os.kill(pid, signal.SIGSTOP)


def follow(lines: Counter | OwnLines, steps: Counter) -> None:
    """Those count from here on, and nobody else: the lines of this thread, the steps of this process."""
    listen()
    frame: FrameType | None = sys._getframe(1)
    trace(lines.frame)
    while frame is not None:
        frame.f_trace = lines.line
        frame = frame.f_back
    audited[:] = [steps]
