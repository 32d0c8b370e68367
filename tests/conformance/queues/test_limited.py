"""A queue that says after how many claims it sets a task aside may do so, and neither earlier nor lose it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from few import Made, few_storms
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.run.runner import run
from lowq_conformance.storm.storms import Storm, Storms

LIMITED = "lowq_conformance.queues.sound.limited"
ONE_CLIENT = ["DELIVER", "DEDUPE", "ORDER", "LEASE", "RELEASE", "DEAD", "CANCEL", "KEEP", "HEADERS", "INTERRUPT-1"]


@pytest.fixture
def storms(tmp_path: Path) -> Iterator[Made]:
    """Storms over a target."""
    with few_storms(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "name",
    ["SetsAside", "SetsAsideSoon", "GivesOneTry", "Drops", "DropsWhatIsListed", "CountsTheLost", "LooksAtClaims"],
)
def test_a_queue_that_sets_aside_as_it_says_is_accused_of_nothing(storms: Made, name: str) -> None:
    (report,) = run([f"{LIMITED}:{name}"], only=ONE_CLIENT, seed=1, profile=QUICK)
    said = [clause for clause in report.clauses if clause.verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED)]
    queue = storms(f"{LIMITED}:{name}")
    runs = [queue.storm("threads"), queue.deaths(), queue.kills()]

    assert {clause.id: clause.evidence for clause in said} == {}
    assert [(charge.clause, charge.said) for each in runs for charge in each.found] == []


def test_with_one_claim_it_is_said_that_the_trait_excuses_what_asks_for_a_second() -> None:
    (report,) = run([f"{LIMITED}:GivesOneTry"], only=["LEASE-2", "RELEASE-1", "CRASH-4"], seed=1, profile=QUICK)

    assert {clause.id: clause.verdict for clause in report.clauses} == dict.fromkeys(
        ["LEASE-2", "RELEASE-1", "CRASH-4"], Verdict.NOT_PROMISED
    )
    assert all("max_deliveries is 1" in clause.evidence for clause in report.clauses)


def test_many_clients_see_that_a_task_is_set_aside_too_soon(storms: Made) -> None:
    target = BROKEN["SetsAsideTooSoon"].target

    def sees(clause: str, look: Callable[[Storms], Storm]) -> bool:
        return any(charge.clause == clause for seed in range(3) for charge in look(storms(target, seed)).found)

    assert sees("RACE-3", lambda made: made.storm("threads"))
    assert sees("CRASH-7", lambda made: made.deaths())


def test_what_was_set_aside_and_is_gone_is_missed_in_the_count_of_dead_tasks(storms: Made) -> None:
    target = BROKEN["LosesWhatItSetsAside"].target

    assert "RACE-2" in {charge.clause for charge in storms(target).storm("threads").found}
    assert "CRASH-7" in {charge.clause for charge in storms(target).kills().found}


def test_who_waits_is_not_woken_for_what_is_set_aside() -> None:
    (report,) = run([f"{LIMITED}:WaitsOnce"], only=["WAIT-3"], seed=1, profile=QUICK)

    assert report["WAIT-3"].verdict is Verdict.KEPT  # by the redrive


@pytest.mark.parametrize("name", ["OnceWithAWorker", "TwiceWithAWorker"])
def test_a_worker_of_such_a_queue_is_accused_of_nothing(name: str) -> None:
    only = ["WORKER-4", "WORKER-6", "WORKER-9", "WORKER-10", "WORKER-14", "WORKER-15"]

    (report,) = run([f"{LIMITED}:{name}"], only=only, seed=1, profile=QUICK)

    said = [clause for clause in report.clauses if clause.verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED)]
    assert {clause.id: clause.evidence for clause in said} == {}


def test_a_worker_whose_task_is_set_aside_too_soon_is_accused_of_it() -> None:
    (report,) = run([BROKEN["OneKillIsOneTooMany"].target], only=["WORKER-4"], seed=1, until_broken=True)

    assert report["WORKER-4"].verdict is Verdict.BROKEN
