"""Lets a worker stand still as it starts: its main thread, at a line of the queue's own, beside threads that go on.

A worker that starts threads and then sees to signals, locks or files has work done before it is ready. Its main
thread is followed from the fork on, for as long as it has other threads; what starts a program anew is not met.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lowq_conformance.subject import freezing
from lowq_conformance.subject.freezing import OwnLines, wait_for
from lowq_conformance.support import tracepoints
from lowq_conformance.support.interrupts import name_file
from lowq_conformance.support.tracepoints import Counter, trace

LINES = 24
"""So many are looked at, the first ones."""
OURS = __file__, freezing.__file__, tracepoints.__file__
"""Where what traces is, and nothing that is traced."""


class Birth(Counter):
    """Counts the lines of a main thread that has others beside it; before number `at` it stands still.

    How many there were is the size of the file "come" in the folder; the file "stands" tells where it stands, and it
    goes on when there is a file "go".
    """

    def __init__(self, folder: Path, at: int) -> None:
        super().__init__(at, self._stand)
        self._folder, self._starter = folder, os.getpid()

    def one_more(self) -> None:
        """A line is about to run."""
        if os.getpid() == self._starter or len(sys._current_frames()) == 1 or self.count >= LINES:
            return
        with (self._folder / "come").open("ab") as file:
            file.write(b".")
        super().one_more()

    def _stand(self) -> None:
        frame = sys._getframe()
        while frame.f_back is not None and frame.f_code.co_filename in OURS:
            frame = frame.f_back
        where = f"{name_file(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}()"
        (self._folder / "stands").write_text(where)
        wait_for(self._folder / "go")


@contextmanager
def standing_at_birth(folder: Path, at: int, own: Sequence[str]) -> Iterator[None]:
    """What is forked in the block stands still before that line of its `own` code, and counts them; 0: it counts."""
    trace(OwnLines(Birth(folder, at), own).frame)
    try:
        yield
    finally:
        trace(None)
