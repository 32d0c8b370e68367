"""The suite bites: it accuses every broken queue of the clause that it breaks, and no sound queue of anything."""

from __future__ import annotations

import pytest
from lowq_conformance.broken import BROKEN, Broken
from lowq_conformance.clauses import CLAUSES
from lowq_conformance.runner import run
from lowq_conformance.verdict import Verdict

CHECKED = [id for id, clause in CLAUSES.items() if clause.checked]

SEEDS = range(1, 4)

SOUND = [
    "memory",
    "sqlite",
    "memory://?dedupe=until_claimed",
    "memory://?dedupe=off",
    "lowq_conformance.sound.journal:Journal",
    "lowq_conformance.sound.folder:Folder",
    "lowq_conformance.sound.plain:Plain",
]


def breakers(clause: str) -> list[Broken]:
    return [broken for broken in BROKEN.values() if clause in broken.clauses]


@pytest.mark.parametrize("clause", CHECKED)
def test_every_queue_that_breaks_the_clause_is_accused_of_it(clause: str) -> None:
    expected = {broken.target: Verdict.BROKEN for broken in breakers(clause)}

    reports = run(list(expected), only=[clause], seed=1)

    assert {report.target: report[clause].verdict for report in reports} == expected


@pytest.mark.parametrize("clause", CHECKED)
def test_every_clause_has_a_queue_that_breaks_it(clause: str) -> None:
    assert breakers(clause) != []


def test_every_broken_queue_says_what_is_wrong_with_it_and_breaks_a_clause() -> None:
    assert [broken.name for broken in BROKEN.values() if not broken.fault.endswith(".")] == []
    assert [broken.name for broken in BROKEN.values() if not set(broken.clauses) & set(CHECKED)] == []
    assert {clause for broken in BROKEN.values() for clause in broken.clauses} <= set(CLAUSES)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_is_accused_of_nothing(target: str, seed: int) -> None:
    (report,) = run([target], seed=seed)

    accused = [clause for clause in report.clauses if clause.verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED)]
    assert {clause.id: clause.evidence for clause in accused} == {}
    assert report.verdict == "kept"
