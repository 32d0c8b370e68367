"""Chooses points between a worker's last task and its exit, and holds the worker stopped there while the test pushes
and starts.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from random import Random
from typing import Any

from lowq_conformance.subject.client import Client
from lowq_conformance.subject.turn_log import Turn
from lowq_conformance.subject.workers import Workers
from lowq_conformance.support.processes import is_gone

SHORTEST = 0.00003
"""Seconds from the last turn to the first instant at which a worker is met."""
AT_LEAST = 0.003
"""Seconds that the way to the end is taken to be long."""
SOON = 0.3
"""Seconds after which a worker that has not ended by itself is taken for one that stays."""
STEPS, LINES = 60, 3000
"""The last ones at which a worker is met."""
LAST = 40
"""Of one that waits for more before it goes, the last lines and steps: what it does while it waits comes before."""
MOMENTS = 0.015, 0.25
"""Seconds for which a worker stands still where others wait for it, at least and at most."""

Point = tuple[str, float]
"""So many lines, steps or seconds after the turn."""


@dataclass(frozen=True, slots=True)
class ExitWindow:
    """What there is from the end of a turn to the worker's: seconds, and lines and steps of Python where it is such.

    `call` is how many seconds it takes to push and to start. A worker that goes after some time in which nothing came
    `lingers` for so many seconds; then `lines` are its own ones, each counted when it is first run.
    """

    seconds: float
    lines: int
    steps: int
    call: float
    lingers: float = 0.0

    @property
    def patience(self) -> float:
        """Seconds after which a worker surely has come to the point."""
        return SOON + 2 * self.lingers

    @property
    def moment(self) -> float:
        """Seconds in which others surely have pushed and started, where nobody is in their way."""
        least, most = MOMENTS
        return max(least, min(most, 3 * self.call))

    def points(self, random: Random, many: int) -> Iterator[Point]:
        """So many: steps first, each one once where they are few, and then lines and instants in turn.

        Of a worker that lingers, steps and lines in turn, the last ones: what it does until then, it does again.
        """
        if self.lingers:
            last = [range(max(1, most - LAST + 1), most + 1) for most in (self.steps, self.lines)]
            mixed = [random.sample(each, min(len(each), many // 2)) for each in last]
            for step, line in zip_longest(*mixed):
                yield from [("step", step)] * (step is not None)
                yield from [("once", line)] * (line is not None)
            return
        steps = random.sample(range(1, self.steps + 1), min(self.steps, many // 3))
        yield from (("step", step) for step in steps)
        rest = many - len(steps)
        lines = random.sample(range(1, self.lines + 1), min(self.lines, rest // 2))
        for number in range(rest - len(lines)):
            yield "seconds", SHORTEST * (self.seconds / SHORTEST) ** random.random()
            if number < len(lines):
                yield "line", lines[number]


def measure(q: Client, workers: Workers, work: Callable[..., Any], roots: list[str], lingering: float) -> ExitWindow:
    """The way, as it is found to be by walking it three times, once with everything counted.

    `work` makes a work like no other; the queue's own code is in `roots`. Of a worker that stays it is the beginning
    of what it does then, and of one that goes after `lingering` seconds at most, what it does only then.
    """
    seconds, call, over = AT_LEAST, 0.0, 0
    for does in ({"does": "count", "at": "the end"}, {}, {}):
        last = work(**does)
        began = time.monotonic()
        q.push(last)
        workers.start()
        called = time.monotonic()
        workers.run(last)
        over = max(turn.end or 0 for turn in workers.turns())
        ended = workers.until(lambda: not workers.running(), SOON)
        if not does:
            call = max(call, called - began)
            seconds = max(seconds, (time.monotonic_ns() - over) / 1e9 if ended else 0)
    lines, steps = workers.handler.load_counts("the end")
    way = ExitWindow(min(seconds, SOON / 10), min(lines, LINES), min(steps, STEPS), call)
    if ended or not lingering or not workers.until(lambda: not workers.running(), lingering):
        return way
    way = replace(way, lingers=(time.monotonic_ns() - over) / 1e9)
    last = work(does="count", at="the last", of=roots, once=True)
    q.push(last)
    workers.start()
    workers.run(last)
    workers.until(lambda: not workers.running(), way.patience)
    lines, steps = workers.handler.load_counts("the last")
    return replace(way, lines=lines, steps=steps)


@contextmanager
def freeze_worker(workers: Workers, turn: Turn, way: ExitWindow) -> Iterator[None]:
    """In the block, the worker of the turn stands still where it was told to, or has ended before.

    It goes on after the block, or in a moment, in seconds: what is done there may wait for what it holds.
    """
    workers.until(lambda: workers.handler.is_open(turn.work["at"]) or is_gone(turn.pid), way.patience)
    workers.reaper.thaw(turn.pid, way.moment)
    yield
    with suppress(ProcessLookupError, PermissionError):
        os.kill(turn.pid, signal.SIGCONT)
