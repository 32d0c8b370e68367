"""The suite bites: it accuses every broken queue of the clause that it breaks, and no sound queue of anything."""

from __future__ import annotations

import os

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import DEFAULT, QUICK
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.queues.broken.register import enter
from lowq_conformance.run.runner import run

MODULES = (
    "deliver dedupe keys order due lease limited settle keep inputs halfway headers others counts transaction"
    " named worn returning bulk handed".split()
)

SEVERAL_AT_ONCE = ("RACE", "CRASH", "INTERRUPT", "WAIT", "WORKER", "DEDUPE-9", "LEASE-12")

ONE_PROCESS = [
    id for id, clause in CLAUSES.items() if clause.checked and {id, clause.group}.isdisjoint(SEVERAL_AT_ONCE)
]

EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
SEEDS = (1, 2) if EXHAUSTIVE else (1,)
SHORT = {"deliver": QUICK}
"""One of these makes a sweep of the default profile last for minutes, and all are caught in the quick one."""
SWEPT = {"DELIVER-3", "DELIVER-6", "ORDER-2"}
"""Clauses of two clients in every order, which are the same with every seed."""

SOUND = [
    *(["memory", "sqlite", "memory://?dedupe=off"] if EXHAUSTIVE else []),
    "memory://?dedupe=until_claimed",
    "lowq_conformance.queues.sound.journal:Journal",
    "lowq_conformance.queues.sound.folder:Folder",
    "lowq_conformance.queues.sound.plain:Plain",
    "lowq_conformance.queues.sound.bounded:WithRoom",
]
"""SQLite and memory are looked at whole every day: quickly by tests/conformance/run/test_profiles.py, and for as long
as a user would by the gate."""


def of_module(name: str) -> list[BrokenQueue]:
    return [broken for broken in BROKEN.values() if broken.module == f"{broken_queues.__name__}.{name}"]


@pytest.mark.parametrize("module", MODULES)
def test_every_broken_queue_is_accused_of_what_it_breaks(module: str) -> None:
    queues = of_module(module)
    expected = {queue.name: dict.fromkeys(queue.clauses, Verdict.BROKEN) for queue in queues}

    reports = run(
        [queue.target for queue in queues],
        only={queue.target: queue.clauses for queue in queues},
        seed=1,
        profile=SHORT.get(module, DEFAULT),
        jobs=1,  # one after the other, the short tests first
        until_broken=True,
    )

    assert expected
    assert {
        queue.name: {id: report[id].verdict for id in queue.clauses}
        for queue, report in zip(queues, reports, strict=True)
    } == expected


@pytest.mark.parametrize("clause", ONE_PROCESS)
def test_every_clause_has_a_queue_that_breaks_it(clause: str) -> None:
    assert [queue.name for queue in BROKEN.values() if clause in queue.clauses] != []


def test_every_broken_queue_says_what_is_wrong_with_it_and_breaks_a_clause() -> None:
    queues = [queue for module in MODULES for queue in of_module(module)]

    assert len(queues) >= 150
    assert [queue.name for queue in queues if not queue.fault.endswith(".")] == []
    assert [queue.name for queue in queues if not queue.clauses or not {*queue.clauses} <= {*ONE_PROCESS}] == []


def test_no_broken_queue_hides_another_of_its_name() -> None:
    with pytest.raises(ValueError, match="LIFO"):
        enter(type("LIFO", (), {}), ("ORDER-1",))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_is_accused_of_nothing(target: str, seed: int) -> None:
    only = ONE_PROCESS if seed == SEEDS[0] else [id for id in ONE_PROCESS if id not in SWEPT]

    (report,) = run([target], only=only, seed=seed)

    accused = [clause for clause in report.clauses if clause.verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED)]
    assert {clause.id: clause.evidence for clause in accused} == {}
    assert report.verdict == "kept"
