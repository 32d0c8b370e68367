"""The workers of one test: started through the harness, watched through the log, paused, killed and waited for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lowq_conformance.contract.outcomes import Broken, NotObserved
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.freezing import tell_kept
from lowq_conformance.subject.handler import Handler
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.turn_log import Turn, TurnLog
from lowq_conformance.subject.under_test import UnderTest
from lowq_conformance.support.processes import alone, is_gone

SLOWER = 10
"""A worker is taken to do nothing when it has done nothing for so many times the queue's patience."""
LOOK = 0.0005


class Workers:
    """Workers of the queue at `place`, which run `handler`, whose log is in the folder `folder`."""

    def __init__(self, subject: UnderTest, place: Path, folder: Path, reaper: Reaper, *, gated: bool = False) -> None:
        self.subject, self.place, self.reaper = subject, place, reaper
        self.log, self.handler = TurnLog(folder), Handler(str(folder), gated)
        self.address: str | None = None
        """Where they connect to, where they are told."""
        self.told: set[int] = set()
        """The processes that `start` told of."""
        self._read = 0
        """How many turns were read; whose process is new, or in the middle of one, is no other one's."""
        self._living: set[int] = set()
        self._killed: set[int] = set()

    @property
    def bound(self) -> float:
        """Seconds within which a worker that has something to do does it."""
        return SLOWER * self.subject.traits.patience.total_seconds()

    def start(self) -> list[int]:
        """Workers were started; the processes that were made."""
        with alone():
            pids = self.subject.start(self.place, self.handler, self.address)
        return self.know(pids)

    def know(self, pids: Iterable[int]) -> list[int]:
        """The processes are workers' that were told of."""
        known = list(pids)
        self.told.update(known)
        self._meet(known)
        return known

    # what they did

    def turns(self) -> list[Turn]:
        """Every turn of the handler. Raises BrokenHarness where it was one of this process."""
        turns = self.log.turns()
        if any(turn.pid == os.getpid() for turn in turns):
            target = self.subject.target
            raise BrokenHarness(f"{target}: start: expected other processes to call the handler, this one did")
        self._meet(turn.pid for number, turn in enumerate(turns) if number >= self._read or turn.end is None)
        self._read = len(turns)
        return turns

    def of(self, work: Any) -> list[Turn]:
        """The turns at this work."""
        wanted = work_text(work)
        return [turn for turn in self.turns() if work_text(turn.work) == wanted]

    def undone(self, works: Sequence[Any]) -> list[Any]:
        """Those of the works at which no turn has come to its end."""
        done = {work_text(turn.work) for turn in self.turns() if turn.done}
        return [work for work in works if work_text(work) not in done]

    def until(self, event: Callable[[], object], seconds: float | None = None) -> bool:
        """Whether the event came, within the bound or within so many seconds."""
        end = time.monotonic() + (self.bound if seconds is None else seconds)
        while not event():
            if time.monotonic() > end:
                return bool(event())
            time.sleep(LOOK)
        return True

    def wait_begun(self, work: Any) -> Turn:
        """The first turn at this work, which has begun. Raises Broken where none begins."""
        if not self.until(lambda: self.of(work)):
            raise self._stranded_error([work])
        return self.of(work)[0]

    def run(self, *works: Any) -> None:
        """Each of the works has been run. Raises Broken where one is not."""
        if not self.until(lambda: not self.undone(works)):
            raise self._stranded_error(self.undone(works))

    def note(self, what: str) -> None:
        """This stands between the calls of the program."""
        journal = self.subject.journal
        journal.end(journal.begin(f"# {what}"), "")

    def _stranded_error(self, works: list[Any]) -> Broken:
        """What is said of works that are not run: whether another start helps them, too."""
        waited = f"{format_value(works[0])} was not run within {self.bound:g} seconds"
        more = f", nor were {len(works) - 1} others" if len(works) > 1 else ""
        began = ", its handler has begun and not come to its end" if self.of(works[0]) else ""
        self.start()
        helped = self.until(lambda: not self.undone(works))
        again = "after one more start() it was" if helped else "nor was it after one more start()"
        return Broken(f"{waited}{more}{began}; {again}")

    # the processes

    def running(self) -> list[int]:
        """Those that were told of, or seen in the log, and have not ended."""
        self.turns()
        for pid in [pid for pid in self._living if is_gone(pid)]:
            self._living.discard(pid)
            self._killed.discard(pid)
            self.reaper.forget(pid)
        return sorted(self._living)

    def signal(self, number: signal.Signals) -> list[int]:
        """Every worker that runs was sent the signal: the processes that `start` told of, where it told of any."""
        running = self.running()
        if number is not signal.SIGKILL and not self.told.isdisjoint(running):
            running = [pid for pid in running if pid in self.told]  # what they forked is theirs to tell
        for pid in running:
            if number is not signal.SIGKILL or pid not in self._killed:
                self.note(f"os.kill({pid}, {number.name})")
            if number is signal.SIGKILL:
                self._killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return running

    def kill(self) -> None:
        """No worker is left: all were killed by SIGKILL, one of which only its turn told meanwhile too."""
        self.signal(signal.SIGKILL)
        if not self.until(lambda: not self.signal(signal.SIGKILL), LAST):
            raise NotObserved(f"SIGKILL did not end the processes {self.running()} within {LAST:g} seconds")

    def _meet(self, pids: Iterable[int]) -> None:
        for pid in pids:
            if pid not in self._living and not is_gone(pid):
                self._living.add(pid)
                self.reaper.keep(pid)
                tell_kept(Path(self.handler.folder), pid)


LAST = 30.0
"""Seconds within which a killed process is gone."""


def most_at_once(turns: Iterable[Turn]) -> list[Turn]:
    """The most turns that were under way at one instant; those not over yet still are."""
    most: list[Turn] = []
    under_way: list[Turn] = []
    for turn in sorted(turns, key=lambda turn: turn.begin):
        under_way = [other for other in under_way if other.end is None or other.end > turn.begin] + [turn]
        if len(under_way) > len(most):
            most = under_way
    return most


def describe_turns(turns: Sequence[Turn]) -> str:
    """The turns in lines, with milliseconds from the first."""
    first = min(turn.begin for turn in turns)
    lines = []
    for turn in turns:
        end = "" if turn.end is None else f" to {(turn.end - first) / 1e6:.1f}"
        lines.append(
            f"process {turn.pid} ran {format_value(turn.work)} from {(turn.begin - first) / 1e6:.1f}{end} ms"
        )
    return "\n".join(lines)
