"""RACE-8 bites: each queue that a stopped client makes lose something is accused of it, and no sound one is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN, BrokenQueue
from lowq_conformance.storm.agents import Agents
from lowq_conformance.subject.loading import load
from lowq_conformance.sweep.schedule import parse
from lowq_conformance.sweep.stopped import AIMS, StoppedClients
from lowq_conformance.sweep.sweeps import Sweeps

STOPPED = [broken for broken in BROKEN.values() if broken.module == f"{broken_queues.__name__}.stopped"]
EVERY_DAY = ("BusyIsDone", "InATable")
"""One that a lease tells of, and one that waits in SQLite; the others are looked at by LOWQ_EXHAUSTIVE=1."""
ASKED = [queue for queue in STOPPED if "LOWQ_EXHAUSTIVE" in os.environ or queue.name in EVERY_DAY]
SOUND = [
    "sqlite",
    "lowq_conformance.queues.sound.patient:Patient",
    "lowq_conformance.queues.sound.folder:Folder",
    "lowq_conformance.queues.sound.strangers:Async",
]

Look = Callable[[str], StoppedClients]


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    """Where the clients come from."""
    with Agents() as agents:
        yield agents


@pytest.fixture
def look(agents: Agents, tmp_path: Path) -> Look:
    """What comes of a target whose clients are stopped."""

    def make(target: str) -> StoppedClients:
        made = StoppedClients(load(target), agents, lambda: Path(mkdtemp(dir=tmp_path)), DEFAULT, wedged=12)
        made.run(lambda _: None)
        return made

    return make


@pytest.mark.parametrize("queue", ASKED, ids=lambda queue: queue.name)
def test_a_queue_that_a_stopped_client_harms_is_accused_of_it(queue: BrokenQueue, look: Look) -> None:
    with pytest.raises(Broken) as error:
        look(queue.target).stops.keeps()

    assert error.value.clause == "RACE-8"
    assert "was stopped (SIGSTOP, for 0.6 s at most) before `" in error.value.said
    assert error.value.schedule.endswith(",stopped")


def test_a_schedule_of_a_stopped_client_is_made_again_by_its_spelling(agents: Agents, tmp_path: Path) -> None:
    queue = load(BROKEN["BusyIsDone"].target)
    folder = lambda: Path(mkdtemp(dir=tmp_path))  # noqa: E731  where a schedule is made
    first = StoppedClients(queue, agents, folder, DEFAULT, wedged=12).run(lambda _: None)
    sweeps = Sweeps(queue, folder, schedule=parse(first.schedule), agents=agents)

    with pytest.raises(Broken, match="was stopped") as error:
        sweeps.stands("RACE-8")
    with pytest.raises(NotPromised):
        sweeps.keeps("RACE-3", "processes")

    assert error.value.schedule == first.schedule


def test_a_schedule_that_is_not_come_to_is_not_observed(agents: Agents, tmp_path: Path) -> None:
    folder = lambda: Path(mkdtemp(dir=tmp_path))  # noqa: E731  where a schedule is made
    profile = replace(DEFAULT, still=0.1)
    queue = load("lowq_conformance.queues.sound.folder:Folder")
    sweeps = Sweeps(queue, folder, profile, schedule=parse("ack@1,push,stopped"), agents=agents)

    with pytest.raises(NotObserved, match="ack never came to 1"):
        sweeps.stands("RACE-8")


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_queue_is_accused_of_nothing(target: str, look: Look) -> None:
    stops = look(target).stops

    assert stops.charge is None
    assert stops.keeps().schedules > 0


def test_who_waits_for_the_stopped_one_does_so_until_it_goes_on(agents: Agents, tmp_path: Path) -> None:
    """The journal's lock is waited for for ever: the second call ends when the first one has gone on, not before."""
    profile = replace(DEFAULT, stills=1, still=0.2)
    target = load("lowq_conformance.queues.sound.journal:Journal")
    stopped = StoppedClients(target, agents, lambda: Path(mkdtemp(dir=tmp_path)), profile, wedged=12)
    lane = stopped._lanes[0]
    try:
        (aim,) = stopped._find_aims()
        waited = next(
            run
            for run in (lane.result(lane.order(schedule, still=0.2)) for schedule in aim.left)
            if run.waited and run.over
        )
    finally:
        lane.close()

    first, second = waited.crossing
    assert first is not None
    assert second is not None
    assert first.ret is not None
    assert second.ret is not None
    assert first.ret - first.call >= 0.19 * 1e9  # it was stopped for so long
    assert second.ret - second.call >= 0.15 * 1e9


def test_the_telling_pairs_come_first() -> None:
    assert [aim.partition("|")[2] for aim in AIMS[:3]] == ["push", "ack", "claim"]
