"""Queues whose pushes can be part of the application's transaction are accused of nothing."""

from __future__ import annotations

import pytest
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.run.runner import run

SOUND = ["lowq_conformance.queues.sound.transactional:Transactional", "sqlite:////queue.db?shared=1", "postgres"]


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_keeps_what_it_promises_of_transactions(target: str) -> None:
    (report,) = run([target], only=["TX"], seed=1)

    assert {
        clause.id: (clause.verdict, clause.evidence) for clause in report.clauses if clause.verdict != Verdict.KEPT
    } == {}
    assert len(report.clauses) == 4


def test_a_queue_in_a_file_of_its_own_promises_none() -> None:
    (report,) = run(["sqlite"], only=["TX"], seed=1)

    assert {clause.verdict for clause in report.clauses} == {Verdict.NOT_PROMISED}
