"""The WAIT clauses bite: each queue that wakes wrongly is accused of what it breaks, and no sound one of anything."""

from __future__ import annotations

import os

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.run.runner import run

WAITING = [broken for broken in BROKEN.values() if broken.module == f"{broken_queues.__name__}.waiting"]
EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
FIRST = {queue.clauses: queue for queue in reversed(WAITING)}
"""One queue for each clause; the others are looked at by LOWQ_EXHAUSTIVE=1 and by bench/power.py."""
SOUND = [
    *(["sqlite", "memory", "files"] if EXHAUSTIVE else []),
    "lowq_conformance.queues.sound.waiting:Waits",
    "lowq_conformance.queues.sound.waiting:LooksByItself",
]
"""SQLite is looked at every day by tests/conformance/run/test_profiles.py, in the same profile."""


@pytest.mark.parametrize("queue", WAITING if EXHAUSTIVE else FIRST.values(), ids=lambda queue: queue.name)
def test_every_queue_that_wakes_wrongly_is_accused_of_it(queue: BrokenQueue) -> None:
    (report,) = run([queue.target], only=queue.clauses, seed=1, until_broken=True)

    assert {id: report[id].verdict for id in queue.clauses} == dict.fromkeys(queue.clauses, Verdict.BROKEN)


def test_every_clause_of_waiting_has_one_that_breaks_it() -> None:
    assert {id for each in WAITING for id in each.clauses} == {
        id for id, clause in CLAUSES.items() if clause.group == "WAIT"
    }


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_whose_claims_wait_is_accused_of_nothing(target: str) -> None:
    (report,) = run([target], only=["WAIT"], seed=1, profile=QUICK)

    said = {clause.id: clause.evidence for clause in report.clauses if clause.verdict is not Verdict.KEPT}
    assert said == ({"WAIT-6": "needs crash"} if target == "memory" else {})
