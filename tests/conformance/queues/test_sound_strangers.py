"""Sound queues that promise less than ours, or are made otherwise, are accused of nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from few import FEW, Made, few_storms
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.sound.locked_files import LockedFiles
from lowq_conformance.run.runner import run
from lowq_conformance.storm import coverage as overlaps
from lowq_conformance.storm import execution
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.execution import Stress, Victim
from lowq_conformance.storm.performer import Step
from lowq_conformance.storm.storms import Storms, judge_run
from lowq_conformance.subject.loading import load

LESS = "lowq_conformance.queues.sound.less"
DEAD = "lowq_conformance.queues.sound.dead"
REMEMBERING = "lowq_conformance.queues.sound.remembering"
MANNERS = "lowq_conformance.queues.sound.manners"
RELUCTANT = "lowq_conformance.queues.sound.reluctant"
STRANGERS = "lowq_conformance.queues.sound.strangers"


@pytest.fixture
def storms(tmp_path: Path) -> Iterator[Made]:
    """Storms over a target, with a seed."""
    with few_storms(tmp_path) as made:
        yield made


def accused(storms: Storms, *runs: str) -> list[str]:
    """What these runs found broken, in words."""
    made = [getattr(storms, name)(*how) for name, *how in (each.split() for each in runs)]
    return [f"{charge.clause}: {charge.said}\n{charge.shown}" for storm in made for charge in storm.found]


def faults(target: str, *only: str, seed: int = 1) -> dict[str, str]:
    """Everything that is not kept of these clauses, with what stands behind it."""
    (report,) = run([target], only=only, seed=seed)
    said = [clause for clause in report.clauses if clause.verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED)]
    return {clause.id: clause.evidence for clause in said}


@pytest.mark.parametrize("target", [f"{LESS}:SQLite.shared_lease.clock", f"{STRANGERS}:EndsLeases"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_lease_that_a_kill_may_end_or_not_is_open_both_ways(storms: Made, target: str, seed: int) -> None:
    assert accused(storms(target, seed), "deaths") == []
    assert accused(storms(target, seed), "storm processes") == []


def test_a_lease_that_another_client_ends_by_coming_is_not_counted_on() -> None:
    assert faults(f"{STRANGERS}:EndsLeases", "DELIVER-10", seed=4) == {}


def test_a_claim_without_a_lease_may_end_when_its_client_is_dead(storms: Made) -> None:
    assert accused(storms(f"{DEAD}:FreesTheDead", 1), "kills", "deaths") == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_settled_too_late_where_nobody_refuses_that(storms: Made, seed: int) -> None:
    assert accused(storms(f"{RELUCTANT}:Unfenced", seed), "kills", "storm threads") == []


def test_a_client_whose_machine_stood_still_settles_nothing_that_nobody_would_refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "SHORT", timedelta(seconds=1))
    steps: list[Step] = [
        ["open"],
        ["push", "a"],
        ["claim"],
        ["nap", 1.1],
        ["claim"],
        ["release", 0],
        ["ack", 0],
        ["nap", 1.1],
    ]
    with Agents() as agents:
        stress = Stress(agents, load(f"{RELUCTANT}:UnfencedInRealTime"), tmp_path, False)
        run = stress.run_alone([Victim(steps)])

    assert [charge.said for charge in judge_run(run, DEFAULT.looks, deadly=True).found] == []


def test_a_run_is_as_much_longer_as_leases_really_run_out_in_it(storms: Made) -> None:
    hasty = storms(f"{RELUCTANT}:UnfencedInRealTime", 1)
    hasty.profile = replace(FEW, seconds=1.0, rounds=9, again=4)

    assert hasty.storm("threads").sees(overlaps.takeovers) > 0


def test_whoever_asks_for_as_long_as_the_queue_has_patience_does_not_wait_for_ever(
    storms: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "WEDGED", 0.5)

    assert accused(storms(f"{RELUCTANT}:Unhurried", 1), "storm threads") == []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_claim_without_a_lease_may_end_when_another_client_comes(storms: Made, seed: int) -> None:
    assert accused(storms(f"{RELUCTANT}:TakesBack", seed), "kills", "deaths", "closing threads") == []


def test_works_keys_and_integers_may_be_refused_for_their_size() -> None:
    assert faults(f"{RELUCTANT}:Short", "DELIVER-1", "DELIVER-8", "DELIVER-11", "DEDUPE-3", "DEDUPE-4", "INPUT") == {}


def test_priorities_may_be_few(storms: Made) -> None:
    said = faults(f"{RELUCTANT}:FewPriorities", "ORDER", "DUE-4", "RELEASE", "KEEP", "INPUT-4", "DEDUPE-8", "BATCH-1")

    assert said == {}
    assert accused(storms(f"{RELUCTANT}:FewPriorities", 1), "storm threads") == []


def test_a_client_that_gives_up_its_connection_is_opened_anew() -> None:
    assert faults(f"{RELUCTANT}:BreaksOff", "INPUT") == {}


def test_what_is_dead_may_be_redriven_beside_an_equal_one() -> None:
    assert faults(f"{DEAD}:RedrivesBeside", "DEAD", "DEDUPE-1", "DEDUPE-7") == {}


def test_what_is_redriven_may_have_another_id() -> None:
    said: dict[str, str] = {}
    for seed in (1, 2, 3):
        said |= faults(
            f"{DEAD}:RedrivesAsNew", "DELIVER-2", "DELIVER-11", "DEAD-3", "CANCEL-3", "DEDUPE-1", seed=seed
        )

    assert said == {}


def test_what_is_dead_need_not_be_redriven_by_anybody(storms: Made) -> None:
    assert accused(storms(f"{DEAD}:NobodyRedrives", 1), "deaths") == []


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("RemembersForEver", "DELIVER-1 DELIVER-11 DEDUPE-3 DEDUPE-5 DEDUPE-7 ORDER-5 LEASE-9 CLOSE-3 HEADERS"),
        ("DeadStands", "DELIVER-11 DEDUPE-5 DEDUPE-7 DEAD-3 CANCEL"),
    ],
)
def test_what_has_ended_may_refuse_an_equal_work_where_that_is_said(storms: Made, name: str, only: str) -> None:
    assert faults(f"{REMEMBERING}:{name}", *only.split()) == {}
    assert accused(storms(f"{REMEMBERING}:{name}", 1), "storm threads", "kills", "deaths") == []


def test_an_error_of_its_own_type_names_itself() -> None:
    assert faults("lowq_conformance.queues.sound.plain:PlainWithRoom", "DELIVER-12", "RACE-4") == {}


def test_a_queue_that_is_full_refuses_what_there_is_no_room_for(storms: Made) -> None:
    only = "DELIVER-1 DEDUPE-3 ORDER-1 ORDER-11 DUE-4 BATCH INTERRUPT"

    assert faults(f"{REMEMBERING}:Small", *only.split()) == {}
    assert accused(storms(f"{REMEMBERING}:Small", 1), "storm threads", "kills", "deaths") == []


@pytest.mark.parametrize("queue", ["Memory", "Journal"])
def test_a_time_is_never_passed_to_a_release_that_takes_none(storms: Made, queue: str) -> None:
    target = f"{LESS}:{queue}.release_time"

    assert accused(storms(target, 1), "storm threads") == []
    assert faults(target, "RELEASE", "ORDER", "DUE", "CLOSE") == {}


@pytest.mark.parametrize("name", ["IdsAreKeys", "IdsOfRows"])
def test_an_id_may_be_given_again_when_its_task_is_gone(storms: Made, name: str) -> None:
    target = f"{STRANGERS}:{name}"

    for seed in (1, 2):
        assert accused(storms(target, seed), "storm threads", "deaths") == []
    assert faults(target, "DELIVER", "DEDUPE", "CANCEL", "DEAD", "LEASE", "RELEASE") == {}


def test_a_victim_that_came_to_the_end_of_its_steps_holds_nothing_after_its_death(tmp_path: Path) -> None:
    victims = [Victim([["open"], ["push", f"{turn}"], ["push", f"{turn}+"], ["claim"]]) for turn in range(3)]
    with Agents() as agents:
        run = Stress(
            agents, load("lowq_conformance.queues.sound.locked_files:LockedFiles"), tmp_path, False
        ).run_alone(victims)

    storm = judge_run(run, DEFAULT.looks, deadly=True)

    assert [charge.said for charge in storm.found] == []
    assert set(run.recording.deaths) == {"v0", "v1", "v2"}
    assert storm.judgements[0].verdict == "proved"


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("Wide", "DELIVER-1 DELIVER-10 ORDER-3 DEAD KEEP INPUT"),
        ("WithoutNul", "DELIVER-1 DELIVER-7 DEDUPE-3 DEDUPE-4 KEEP"),
        ("SaysNo", "DELIVER-1 DELIVER-10 CANCEL DEAD"),
        ("SaysNothing", "DELIVER-1 DELIVER-10 CANCEL DEAD"),
        ("CountsOn", "DEAD-3"),
        ("ListsWhatWaits", "DELIVER-10 DELIVER-11 DEAD CANCEL RELEASE-3 HEADERS-1"),
        ("Forwards", "DELIVER-1 RELEASE DEAD"),
        ("KeysOnly", "DELIVER-1 DEDUPE"),
        ("OneAtATime", "DELIVER LEASE KEEP ORDER RELEASE"),
        ("IdsAreKeys", "DELIVER-10 BATCH-1 CANCEL-3 DEAD-3"),
        ("OneEach", "DELIVER LEASE KEEP ORDER RELEASE DEAD CANCEL"),
        ("OneEachOrRefused", "DELIVER LEASE KEEP ORDER RELEASE DEAD CANCEL CLOSE-2 RACE-7"),
        ("ZeroLease", "LEASE"),
        ("OneNumber", "DELIVER DEDUPE KEEP INPUT HEADERS BATCH"),
        ("FixedLease", "DELIVER-1 LEASE KEEP ORDER-7 INPUT-4"),
        ("Async", "DELIVER-1 RACE CRASH-2"),
        ("AsyncOnALoopOfItsOwn", "DELIVER-1 RACE-1 CRASH-2"),
        ("MainThread", "DELIVER-1 RACE-3 CRASH-2"),
    ],
)
def test_a_queue_that_is_made_otherwise_is_accused_of_nothing(name: str, only: str) -> None:
    assert faults(f"{STRANGERS}:{name}", *only.split()) == {}


def test_a_claim_at_a_server_may_take_what_is_pushed_behind_its_interruption() -> None:
    assert faults("lowq_conformance.queues.sound.waiting:Delegates", "INTERRUPT") == {}


def test_who_only_pushes_is_asked_for_no_interrupted_call() -> None:
    assert faults("lowq_conformance.queues.sound.forked:Pushing", "INTERRUPT-1", "INTERRUPT-2") == {}


@pytest.mark.parametrize("name", ["KeysOnly", "OneAtATime", "OneEachOrRefused", "FixedLease"])
def test_many_clients_of_a_queue_that_is_made_otherwise_are_accused_of_nothing(storms: Made, name: str) -> None:
    assert accused(storms(f"{STRANGERS}:{name}", 1), "storm threads", "closing threads", "deaths") == []


def test_what_was_released_after_a_fork_is_there_though_the_child_has_it_open(tmp_path: Path) -> None:
    """A lock of a file belongs to whoever has that open: so a sound queue that locks files was rightly accused."""
    ours, other = LockedFiles().open(tmp_path), LockedFiles().open(tmp_path)
    ours.push("first")
    ours.push("second")
    locked = ours.claim()
    assert locked is not None
    with forked():
        ours.release(locked)
        again = other.claim()

    assert again is not None
    assert again.work == "first"


@contextmanager
def forked() -> Iterator[None]:
    """A child of this process lives meanwhile, and has open whatever it had open."""
    hears, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tells)
        os.read(hears, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(tells)
        os.waitpid(pid, 0)
        os.close(hears)


@pytest.mark.parametrize(
    ("name", "only"),
    [
        ("FindsNothingAtFirst", ("CLOSE-2", "ORDER-3", "INPUT-4", "DELIVER", "LEASE")),
        ("Touches", ("LEASE", "HEADERS", "DELIVER-11")),
        ("FencesByClient", ("RACE-3", "LEASE", "CRASH-7")),
        ("ListsOneByOne", ("DELIVER", "HEADERS", "DEAD", "RELEASE", "KEEP", "BATCH")),
        ("CountsByGroup", ("DELIVER", "DEAD", "CANCEL", "CRASH-6")),
        ("HoldsByObject", ("DELIVER", "CLOSE", "RACE-1", "ORDER")),
        ("ListsWhatIsDone", ("DELIVER-10", "DELIVER-11", "DELIVER-13", "DEAD", "KEEP", "HEADERS", "RELEASE-3")),
        ("SetsTimeouts", ("RACE-4", "CRASH-6", "INTERRUPT", "INPUT", "LEASE-6")),
        ("NumbersForIds", ("CRASH", "DEAD", "CANCEL")),
    ],
)
def test_other_manners_are_no_faults(name: str, only: tuple[str, ...]) -> None:
    assert faults(f"{MANNERS}:{name}", *only) == {}


def test_what_is_redriven_may_stand_behind_all_others_where_what_is_released_keeps_its_place() -> None:
    assert faults(f"{DEAD}:RedrivesAsNew", "DEAD", "HEADERS", "ORDER", "DELIVER") == {}
