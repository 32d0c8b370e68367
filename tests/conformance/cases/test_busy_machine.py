"""A queue that looks now and then for what is due is not accused where a busy machine has it look later."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.run.runner import run

from lowq import SystemClock


class LooksLate(Queue):
    """Looks every 0.8 s, where it says that it does so every 0.1 s."""

    looked = 0.0

    def promote(self, now: int) -> None:
        if time.monotonic() - self.looked > 0.8:
            self.looked = time.monotonic()
            super().promote(now)


class OnABusyMachine:
    promises = frozenset("fifo not_before lease fenced shared_lease extend release json prompt persistent".split())
    dedupe = "until_done"
    grace = resolution = timedelta(seconds=0.1)

    def open(self, place: Path) -> LooksLate:
        return LooksLate(place, "default", SystemClock())


class OnlySaysSo(OnABusyMachine):
    """Says that it looks at each call."""

    grace, resolution = timedelta(0), timedelta(milliseconds=1)


ONLY = ["DUE-2", "LEASE-2", "RELEASE-2"]


def broken(harness: type[OnABusyMachine]) -> set[str]:
    (report,) = run([f"{__name__}:{harness.__name__}"], only=ONLY, seed=1)
    return {clause.id for clause in report.clauses if clause.verdict == Verdict.BROKEN}


def test_what_comes_a_little_late_where_time_really_passes_has_come() -> None:
    assert broken(OnABusyMachine) == set()


def test_who_says_to_look_at_each_call_does() -> None:
    assert {"DUE-2", "LEASE-2"} <= broken(OnlySaysSo)
