"""What clients are told to do at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.queues.sound.journal import Journal
from lowq_conformance.storm.workload import Plan
from lowq_conformance.subject import loading


class Receipts(Journal):
    """Nobody can move its clock, and what comes too late may be taken."""

    promises = Journal.promises - {"fenced", "clock"}
    fixed_lease = timedelta(seconds=2)
    pass_time = now = None  # type: ignore[assignment]

    def open(self, place: Path, name: str = "default") -> Any:
        return super().open(place, name)


class Long(Receipts):
    fixed_lease = timedelta(minutes=5)


@pytest.mark.parametrize(("harness", "times"), [("Receipts", 1), ("Long", 0)])
def test_a_lease_runs_out_though_time_really_passes_and_nothing_is_fenced(harness: str, times: int) -> None:
    subject = loading.load(f"{__name__}:{harness}")

    shares = Plan.of(subject, 1, 3).rounds(20)

    assert [sum(step[0] == "rest" for step in steps) for steps in shares] == [times] * 3


class WholeSeconds(Receipts):
    resolution = timedelta(seconds=1)


def test_who_waits_for_a_lease_whose_end_is_rounded_waits_until_then() -> None:
    subject = loading.load(f"{__name__}:WholeSeconds")

    rests = [step[1] for steps in Plan.of(subject, 1, 3).rounds(20) for step in steps if step[0] == "rest"]

    assert len(rests) == 3
    assert all(leases * timedelta(seconds=2) > timedelta(seconds=3) for leases in rests)


def test_nobody_cancels_or_extends_where_clients_are_killed() -> None:
    """What became of such a task then is followed up in a run of its own."""
    subject = loading.load("lowq_conformance.queues.sound.journal:Journal")

    words = [
        {step[0] for steps in Plan.of(subject, 1, 3).rounds(60, alone=alone) for step in steps}
        for alone in (True, False)
    ]

    assert words[0] - words[1] == {"cancel", "extend"}


def test_works_are_equal_by_their_keys_where_keys_are_promised() -> None:
    keyed, bare = (
        [step[4] for steps in Plan.of(loading.load(target), 1, 3).rounds(60) for step in steps if len(step) == 5]
        for target in ("lowq_conformance.queues.sound.journal:Journal", "lowq_conformance.queues.sound.table:Table")
    )

    assert {*bare} == {None}
    assert len(keyed) > len({*keyed}) > 10
