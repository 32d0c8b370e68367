"""Lets a client that is about to wait stand still before a chosen line, while another one pushes."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import lowq_conformance
from lowq_conformance.cases.waiting import WAIT, InThread, Stage
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.storm.cut_points import EVENLY, evenly
from lowq_conformance.support.tracepoints import Counter, trace

SUITE = str(Path(lowq_conformance.__file__).parent)
QUEUES = str(Path(SUITE, "queues"))
STANDS = 2.0
"""Seconds after which nobody stands still any more, whatever the others do."""
PUSHES = 0.05
"""Seconds after which a push is taken to wait for what the one holds that stands still."""
COUNTED = 0.02
"""Seconds in which a claim comes to its wait, which only decides how much is seen."""
COMES = 0.5
"""Seconds within which a claim comes to a line before which it stood when a push was missed."""
OFTEN = 4
"""How often a line counts that a claim comes to again and again."""


class Lines(Counter):
    """Counts the lines of the queue itself, and which each is; before number `at`, `happens` happens."""

    def __init__(self, at: int = 0, happens: Callable[[], None] | None = None) -> None:
        super().__init__(at, happens)
        self.seen: list[Hashable] = []

    def frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        return None if is_own(frame.f_code.co_filename) else super().frame(frame, event, argument)

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen.append((frame.f_code, frame.f_lineno))
        return super().line(frame, event, argument)


def is_own(file: str) -> bool:
    """Whether the file is one of the suite's, and no queue's that comes with it."""
    return file.startswith(SUITE) and not file.startswith(QUEUES)


def in_order(lines: Sequence[Hashable], random: Random) -> list[int]:
    """The numbers of the lines that were come to, from 1, of which however many of the first lie evenly over all."""
    times = Tally[Hashable]()
    numbers: list[int] = []
    for number, line in enumerate(lines, start=1):
        times[line] += 1
        if times[line] <= OFTEN:
            numbers.append(number)
    return evenly(numbers, random)


class Points:
    """The lines of a claim on its way into the wait."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._q, self._client = stage.open(), stage.open()
        self._works = 0
        self._wait(None)

    def draw(self, random: Random, seconds: float) -> Iterator[int]:
        """Lines by their numbers, for so many seconds `EVENLY` of them in any case, which lie evenly over it."""
        lines = Lines()
        self._wait(lines)
        end = time.monotonic() + seconds
        for drawn, line in enumerate(in_order(lines.seen, random)):
            if drawn >= EVENLY and time.monotonic() > end:
                return
            yield line

    def at(self, number: int, comes: float = COUNTED) -> None:
        """A push while the client stands before that line, to which it `comes` within so many seconds, wakes it.

        Raises Missed where it does not.
        """
        there, on = threading.Event(), threading.Event()

        def stand() -> None:
            there.set()
            on.wait(STANDS)

        waiter = InThread(self._client, WAIT, lambda: trace(Lines(number, stand).frame))
        there.wait(comes)
        stands = there.is_set()
        work, pushed = self._work(), threading.Event()

        def push() -> None:
            with suppress(Refused):
                self._q.push(work)
            pushed.set()

        pushing = threading.Thread(target=push, name="lowq-pusher", daemon=True)
        pushing.start()
        pushed.wait(PUSHES)
        on.set()
        pushing.join(WAIT.total_seconds())
        if stands:
            self._stage.subject.journal.note(f"the push came while the claim stood before its line {number}")
        self._stage.require_woken(waiter, self._q, work)

    def _wait(self, lines: Lines | None) -> None:
        """A claim waits, its lines are counted meanwhile, and it is woken in the usual way."""
        waiter = InThread(self._client, WAIT, None if lines is None else lambda: trace(lines.frame))
        waiter.asleep(COUNTED)
        work = self._work()
        self._q.push(work)
        self._stage.require_woken(waiter, self._q, work)

    def _work(self) -> str:
        self._works += 1
        return f"work {self._works}"
