"""The suite bites where several clients meet, or one is killed, and it accuses no sound queue of that.

A test here must not miss on a busy machine. So the runs are of the suite's own plans, but go through all their
rounds however long that takes; and the queues are those whose fault needs no luck: a client that pauses between the
two steps of a call, as most do in every round, or that dies at a chosen line, meets it again and again. A quarter of
the rounds was enough to catch each of them with each of five seeds.

That each queue that races is found, `tests/conformance/sweep/` proves without a storm: one for each clause every day,
and all of them with LOWQ_EXHAUSTIVE=1. What only a death or a long wait shows is in `python -m bench.power`, which
tells how often each one is caught: CutLineStays and RecoversTooMuch, which take a death at one place, LockFile and
MarkedActive, which are only caught by waiting for twelve seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import DEFAULT, QUICK, Deaths
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.run.runner import run
from lowq_conformance.storm.storms import Storm, Storms
from lowq_conformance.subject import loading as harness

PATIENT = replace(
    DEFAULT,
    rounds=48,
    closing=24,
    seconds=inf,
    serial=inf,
    deaths=Deaths(push=6, key=6, batch=6, claim=1, ack=3, release=1, change=3, after=2, anywhere=0),
)
SEED = 1

RACING = ["SelectsThenUpdates", "LateAcksCount", "BusyIsEmpty"]
"""Queues for which no luck is needed; `tests/conformance/sweep/` finds each queue that races by the sweep alone."""
MORTAL = ["BuffersPushes", "BuffersAcks", "BatchLineByLine", "WorkAfterItsTask", "OnlyTheHolderKnows"]
MORTAL += ["ReservesAndThenPushes", "FreesTheWorkAfterwards", "CountsInAFile"]
MORTAL += ["ReservesItsKeyFirst", "KeyIsItsHoldersToFree"]
MORTAL += ["SetsAsideInTwoSteps", "RedrivesInTwoSteps", "TakesOverInTwoSteps", "RecoversTooMuch"]
MORTAL += ["BatchItemByItem"]  # of coroutines, which are killed between two awaits
SEVERAL = [id for id, clause in CLAUSES.items() if clause.group in ("RACE", "CRASH")] + ["DEDUPE-9", "LEASE-12"]

SOUND = ["sqlite", "lowq_conformance.queues.sound.journal:Journal", "lowq_conformance.queues.sound.folder:Folder"]

Made = Callable[[str], Storms]


@pytest.fixture
def storms(tmp_path: Path) -> Iterator[Made]:
    """Storms over a target."""
    folders = (tmp_path / f"{number}" for number in range(100))
    made: list[Storms] = []

    def make(target: str) -> Storms:
        made.append(Storms(harness.load(target), SEED + len(made), lambda: next(folders), PATIENT))
        return made[-1]

    yield make
    for each in made:
        each.close()


def accused_in_one_of_three(storm: Callable[[], Storm], name: str) -> bool:
    """Whether one of three storms, each with another seed, finds all that the queue breaks.

    A race is met by chance: on a busy machine one storm in thirty meets none. How often, `bench/power.py` measures.
    """
    return any({charge.clause for charge in storm().found} >= {*BROKEN[name].clauses} for _ in range(3))


@pytest.mark.parametrize("name", RACING)
def test_a_queue_that_races_is_accused_of_it(storms: Made, name: str) -> None:
    assert accused_in_one_of_three(lambda: storms(BROKEN[name].target).storm("threads"), name)


@pytest.mark.parametrize("name", ["SelectsThenUpdates", "BusyIsEmpty"])
def test_processes_that_race_are_seen_like_threads(storms: Made, name: str) -> None:
    assert accused_in_one_of_three(lambda: storms(BROKEN[name].target).storm("processes"), name)


def test_a_queue_that_loses_what_others_push_while_one_closes_is_accused_of_it(storms: Made) -> None:
    storm = storms(BROKEN["ClosingCompacts"].target).closing("threads")

    assert {charge.clause for charge in storm.found} == {"RACE-6"}


@pytest.mark.parametrize("name", MORTAL)
def test_a_queue_that_a_kill_harms_is_accused_of_it(storms: Made, name: str) -> None:
    assert accused_in_one_of_three(lambda: storms(BROKEN[name].target).deaths(), name)


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_is_accused_of_nothing_where_clients_meet_and_die(storms: Made, target: str) -> None:
    queue = storms(target)

    found = [queue.storm("threads").found, queue.closing("threads").found, queue.fork().found, queue.deaths().found]

    assert found == [[], [], [], []]


@pytest.mark.parametrize("clause", SEVERAL)
def test_every_clause_on_several_clients_has_a_queue_that_breaks_it(clause: str) -> None:
    assert [queue.name for queue in BROKEN.values() if clause in queue.clauses] != []


def test_a_listing_that_fails_where_others_ack_is_found() -> None:
    (report,) = run([BROKEN["ListsTaskByTask"].target], only=["RACE-4"], seed=SEED, profile=QUICK)

    assert report["RACE-4"].verdict is Verdict.BROKEN
    assert "tasks()" in report["RACE-4"].evidence
