"""The sweep alone finds every race, in every run, and accuses no sound queue; what it found it makes again.

There is no chance in it, so that a test here needs no second try, on a busy machine neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import NotObserved, NotPromised
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.storm.agents import Agents
from lowq_conformance.subject.loading import load
from lowq_conformance.sweep import scenes
from lowq_conformance.sweep.schedule import How, Scene, Schedule, parse
from lowq_conformance.sweep.sweep import Sweep
from lowq_conformance.sweep.swept import Swept

LASTING = replace(DEFAULT, sweeping=inf, wearing=90.0)
EXHAUSTIVE = "LOWQ_EXHAUSTIVE" in os.environ
FEW = 14 if EXHAUSTIVE else 6
"""So many pairs of calls are enough for every day: the telling ones come first."""
LONG = 30.0
"""Seconds of a sweep after which a busy machine was asked enough."""
SOON = 2.0
"""Seconds after which a queue that is known to hang is taken to hang."""

RACING = [queue for queue in BROKEN.values() if queue.module.rpartition(".")[2].startswith("race")]
FIRST = {queue.clauses[0]: queue for queue in reversed(RACING)}
"""One queue for each clause; the others are looked at by LOWQ_EXHAUSTIVE=1."""
OTHERS = ("changes", "keys")
CHOSEN = RACING if EXHAUSTIVE else [*FIRST.values(), *(each for each in RACING if each.module.endswith(OTHERS))]
OF_CHANGES = sorted(set[str]().union(*scenes.OF_CHANGES.values()))
"""The clauses that pairs with extend, cancel, dead_letter and redrive are about."""

Made = Callable[..., Sweep]


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    """Where the clients come from."""
    with Agents() as agents:
        yield agents


@pytest.fixture
def sweep(agents: Agents, tmp_path: Path) -> Made:
    """A sweep over a target."""
    folders = (tmp_path / f"{number}" for number in range(10_000))

    def folder() -> Path:
        made = next(folders)
        made.mkdir()
        return made

    def make(target: str, how: How, **more: object) -> Sweep:
        return Sweep(load(target), agents, folder, how, LASTING, **more)  # type: ignore[arg-type]

    return make


def accused(swept: Swept) -> dict[str, str]:
    """What was found broken, in words."""
    return {clause: f"{schedule}: {charge.said}" for clause, (charge, schedule) in swept.found.items()}


@pytest.mark.parametrize("name", dict.fromkeys(queue.name for queue in CHOSEN))
def test_each_queue_that_races_is_found_by_the_sweep_alone(sweep: Made, name: str) -> None:
    clauses = BROKEN[name].clauses
    how = "fork" if clauses == ("RACE-7",) else "processes"

    full = "DELIVER-12" in clauses
    found = accused(sweep(BROKEN[name].target, how, asked=clauses, wedged=SOON, full=full).run(lambda _: None))

    assert found.keys() >= {*clauses}


@pytest.mark.parametrize("name", ["SelectsThenUpdates", "LooksBeforeItPushes", "LooksBeforeItRemembers"])
def test_threads_that_race_are_found_like_processes(sweep: Made, name: str) -> None:
    clauses = BROKEN[name].clauses

    found = accused(sweep(BROKEN[name].target, "threads", asked=clauses).run(lambda _: None))

    assert found.keys() >= {*clauses}


@pytest.mark.parametrize(
    "name", ["LocksOutOthersOnly", "WritesWhatItReadBefore", "SelectsThenAwaits", "AwaitsThenCancels"]
)
def test_calls_of_one_client_that_race_are_found_between_their_awaits(sweep: Made, name: str) -> None:
    swept = sweep(BROKEN[name].target, "coroutines", asked=["RACE-9"]).run(lambda _: None)

    assert accused(swept).keys() == {"RACE-9"}
    charge, schedule = swept.found["RACE-9"]
    assert "; the same client's `" in charge.said
    assert str(schedule).endswith(",coroutines")
    assert "RACE-9" in sweep(BROKEN[name].target, "coroutines").again(parse(str(schedule))).found


def test_what_keeps_out_other_clients_only_is_seen_by_the_calls_of_one(sweep: Made) -> None:
    made = sweep(BROKEN["LocksOutOthersOnly"].target, "threads")
    made.profile = replace(DEFAULT, scenes=FEW, sweeping=LONG)

    assert accused(made.run(lambda _: None)) == {}


@pytest.mark.parametrize("name", ["SelectsThenUpdates", "OneNumberForTwo", "ForkSharesTheLock"])
def test_a_schedule_that_was_found_is_made_again_by_its_spelling(sweep: Made, name: str) -> None:
    queue = BROKEN[name]
    how = "fork" if queue.clauses == ("RACE-7",) else "processes"
    swept = sweep(queue.target, how, asked=queue.clauses[:1]).run(lambda _: None)
    schedule = str(swept.found[queue.clauses[0]][1])

    again = sweep(queue.target, how).again(parse(schedule))

    assert "@" in schedule
    assert queue.clauses[0] in again.found


def test_the_schedule_names_the_line_where_the_first_stood_still(sweep: Made) -> None:
    queue = BROKEN["SelectsThenUpdates"]

    charge, schedule = sweep(queue.target, "processes", asked=["RACE-1"]).run(lambda _: None).found["RACE-1"]

    line = schedule.at.line if schedule.at is not None else 0
    assert charge.said.startswith(
        f'`claim()` stood still before `race.py:{line}`; another client\'s `claim()` returned "two"; '
        'the first went on and returned "two", too: '
    )


@pytest.mark.parametrize(
    ("target", "how"),
    [
        ("sqlite", "processes"),
        ("sqlite", "fork"),
        ("memory", "threads"),
        ("lowq_conformance.queues.sound.journal:Journal", "processes"),
        ("lowq_conformance.queues.sound.folder:Folder", "processes"),
        ("lowq_conformance.queues.sound.locked_files:LockedFiles", "processes"),
        ("lowq_conformance.queues.sound.strangers:OneAtATime", "processes"),
        ("lowq_conformance.queues.sound.reluctant:Unfenced", "processes"),
        ("lowq_conformance.queues.sound.strangers:Async", "threads"),
        ("lowq_conformance.queues.sound.spool:Spool", "threads"),
        ("lowq_conformance.queues.sound.spool:Spool", "coroutines"),
    ],
)
def test_a_sound_queue_is_accused_of_nothing(sweep: Made, target: str, how: How) -> None:
    made = sweep(target, how)
    made.profile = replace(DEFAULT, scenes=FEW, sweeping=LONG)

    swept = made.run(lambda _: None)

    assert accused(swept) == {}
    assert swept.schedules > 0


@pytest.mark.parametrize(
    ("target", "how"),
    [
        ("sqlite", "processes"),
        ("memory", "threads"),
        ("lowq_conformance.queues.sound.table:Table", "processes"),
        ("lowq_conformance.queues.sound.reluctant:Unfenced", "processes"),
        ("lowq_conformance.queues.sound.reluctant:Unhurried", "processes"),
        ("lowq_conformance.queues.sound.dead:FreesTheDead", "processes"),
        ("lowq_conformance.queues.sound.dead:NobodyRedrives", "processes"),
        ("lowq_conformance.queues.sound.dead:RedrivesAsNew", "processes"),
        ("lowq_conformance.queues.sound.dead:RedrivesBeside", "processes"),
        ("lowq_conformance.queues.sound.remembering:DeadStands", "processes"),
        ("lowq_conformance.queues.sound.remembering:RemembersForEver", "processes"),
        ("lowq_conformance.queues.sound.strangers:EndsLeases", "processes"),
        ("lowq_conformance.queues.sound.strangers:IdsAreKeys", "processes"),
        ("lowq_conformance.queues.sound.strangers:OneAtATime", "processes"),
        ("lowq_conformance.queues.sound.strangers:SaysNo", "processes"),
        ("lowq_conformance.queues.sound.strangers:SaysNothing", "processes"),
        ("lowq_conformance.queues.sound.strangers:Async", "coroutines"),
    ],
)
def test_a_sound_queue_may_refuse_who_comes_in_between(sweep: Made, target: str, how: How) -> None:
    swept = sweep(target, how, asked=["RACE-9"] if how == "coroutines" else OF_CHANGES).run(lambda _: None)

    assert accused(swept) == {}
    assert 0 not in [number for scene, number in swept.made.items() if scene.changes]


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        (
            "CancelLooksThenDeletes",
            '`cancel()` {}; another client\'s `claim()` returned "mine"; the first went on and',
        ),
        ("ExtendLooksThenWrites", "`extend()` {} (a lease had run out before); another client's `claim()` returned"),
        (
            "RedriveLooksThenWrites",
            "`redrive()` {}; another client's `push()` was added; the first went on and answered",
        ),
        ("DeadLetterLooksThenWrites", "`dead_letter()` {} (a lease had run out before); another client's `claim()`"),
        ("TwoRedrivesSayYes", "`redrive()` {}; another client's `redrive()` answered True; the first went on and"),
    ],
)
def test_who_looks_and_then_changes_is_told_by_its_line_and_found_there_again(
    sweep: Made, name: str, calls: str
) -> None:
    queue = BROKEN[name]
    (clause,) = queue.clauses
    charge, schedule = sweep(queue.target, "processes", asked=[clause]).run(lambda _: None).found[clause]

    assert schedule.at is not None
    file = schedule.at.file or "race_changes.py"
    assert charge.said.startswith(calls.format(f"stood still before `{file}:{schedule.at.line}`"))
    assert clause in sweep(queue.target, "processes").again(parse(str(schedule))).found


def test_a_schedule_whose_point_is_never_come_to_was_not_observed(sweep: Made) -> None:
    swept = sweep("memory", "threads").again(parse("claim@1,claim"))

    with pytest.raises(NotObserved, match="claim never came to 1"):
        swept.keeps("RACE-1")


def test_what_was_not_swept_is_said(agents: Agents, tmp_path: Path) -> None:
    folders = (tmp_path / f"{number}" for number in range(100))

    def folder() -> Path:
        made = next(folders)
        made.mkdir()
        return made

    some = Sweep(load("memory"), agents, folder, "threads", replace(LASTING, scenes=2)).run(lambda _: None)
    effort = some.keeps("RACE-1")

    assert 0 < effort.swept_pairs < effort.pairs
    assert str(effort).endswith(f", {effort.swept_pairs} of {effort.pairs} pairs of calls swept")


def test_what_was_swept_wholly_needs_no_word_of_it() -> None:
    whole = Effort("proved", 0, 0, 0, 0.0, schedules=60, points=37, pairs=16, swept_pairs=16)

    assert str(whole) == "no race with one pre-emption at 37 points, in 60 schedules"


def test_two_calls_can_stand_still_one_after_the_other(sweep: Made) -> None:
    queue = BROKEN["SelectsThenUpdates"]
    between = sweep(queue.target, "processes", asked=["RACE-1"]).run(lambda _: None).found["RACE-1"][1].at

    swept = sweep(queue.target, "processes").again(parse(f"claim@{between},claim@{between}"))

    stood = f"stood still before `race.py:{between}`; "
    assert swept.found["RACE-1"][0].said.startswith(
        f"`claim()` {stood}another client's `claim()` {stood}"
        'the first went on and returned "two", and then the other returned "two", too: '
    )


TWICE = f"{Path(__file__).parent / 'locks_in_two_steps.py'}:LocksInTwoSteps"


def test_a_race_that_takes_two_pre_emptions_is_found_where_both_calls_stand_still(sweep: Made) -> None:
    once = sweep(TWICE, "processes", asked={"RACE-1"}).run(print)
    assert once.found == {}
    assert once.doubles == {}

    both = sweep(TWICE, "processes", asked={"RACE-1"})
    both.profile = replace(LASTING, scenes=1, doubling=inf)
    swept = both.run(print)

    charge, schedule = swept.found["RACE-1"]
    assert schedule.second_at is not None
    assert "the first went on and returned" in charge.said
    assert "and then the other returned" in charge.said
    assert accused(sweep(TWICE, "processes").again(parse(str(schedule)))).keys() >= {"RACE-1"}


@pytest.mark.parametrize("target", ["sqlite", "lowq_conformance.queues.sound.journal:Journal"])
@pytest.mark.parametrize("how", ["processes", "threads"])
def test_a_sound_queue_is_accused_of_nothing_where_both_calls_stand_still(sweep: Made, target: str, how: How) -> None:
    asked = sweep(target, how)
    asked.profile = replace(LASTING, scenes=40 if EXHAUSTIVE else 2, doubling=inf)

    swept = asked.run(print)

    assert accused(swept) == {}
    assert swept.doubles.keys() == swept.plan.keys()
    assert "with two" in str(swept.effort("RACE-3"))


def test_who_waits_for_the_first_comes_to_its_own_point_afterwards_and_goes_on(sweep: Made) -> None:
    asked = sweep("lowq_conformance.queues.sound.journal:Journal", "processes")
    scene = Scene("claim", "claim")
    firsts = asked.rehearsal.points(scene)
    *_, last = asked.rehearsal.second[scene]

    runs = [asked.rehearsal.make(Schedule(scene, point, last)) for point in firsts]
    asked.rehearsal.close()

    assert all(run.over for run in runs)
    assert any(run.waited for run in runs)
    assert any(not run.waited for run in runs)


THREE = f"{Path(__file__).parent / 'compares_a_parity.py'}:ComparesAParity"


def test_a_race_that_takes_three_clients_is_found_where_two_others_make_their_calls(sweep: Made) -> None:
    two = sweep(THREE, "processes", asked={"RACE-1"})
    two.profile = replace(LASTING, scenes=3, doubling=5.0)
    assert two.run(print).found == {}

    three = sweep(THREE, "processes", asked={"RACE-1"})
    three.profile = replace(LASTING, scenes=1, crowding=inf)
    swept = three.run(print)

    charge, schedule = swept.found["RACE-1"]
    assert schedule.scene.third
    assert "; another client's `claim()` returned " in charge.said
    assert ", a third client's `claim()` returned " in charge.said
    assert str(parse(str(schedule))) == str(schedule)
    assert accused(sweep(THREE, "processes").again(schedule)).keys() >= {"RACE-1"}


@pytest.mark.parametrize("target", ["sqlite", "lowq_conformance.queues.sound.journal:Journal"])
@pytest.mark.parametrize("how", ["processes", "threads"])
def test_a_sound_queue_is_accused_of_nothing_with_three_clients(sweep: Made, target: str, how: How) -> None:
    asked = sweep(target, how)
    asked.profile = replace(LASTING, scenes=1, crowding=inf if EXHAUSTIVE else 8.0)

    swept = asked.run(print)

    assert accused(swept) == {}
    assert swept.threes
    assert "of three clients" in str(swept.effort("RACE-3"))


def test_of_a_slow_queue_some_pairs_of_calls_are_swept(sweep: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()
    monkeypatch.setattr("lowq_conformance.sweep.sweep.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    asked = sweep("sqlite", "threads")
    asked.profile = replace(DEFAULT, sweeping=30.0, wearing=0.0)

    swept = asked.run(print)

    assert 10 < len(swept.plan) < 20 < len(swept.scenes)
    assert 10 < swept.schedules < 20
    assert "pairs of calls swept" in str(swept.effort("RACE-3"))
    with pytest.raises(NotPromised, match="there was no time to put two of its calls into such an order"):
        swept.keeps("CANCEL-1")


def test_what_a_call_does_now_and_then_only_is_met(sweep: Made) -> None:
    queue = BROKEN["TidiesUpInTwoSteps"]
    swept = sweep(queue.target, "processes", asked={"RACE-1"}).run(print)

    charge, schedule = swept.found["RACE-1"]
    assert schedule.scene.worn > 20
    assert f"(when {schedule.scene.worn} tasks had gone through)" in charge.said
    assert accused(sweep(queue.target, "processes").again(parse(str(schedule)))).keys() >= {"RACE-1"}


def test_a_queue_that_does_the_same_each_time_is_swept_no_further(sweep: Made) -> None:
    asked = sweep("sqlite", "threads")

    assert asked.rehearsal.scan(LONG) == {}
    asked.rehearsal.close()


def test_a_sound_queue_that_begins_a_new_file_now_and_then_is_accused_of_nothing(sweep: Made) -> None:
    asked = sweep(f"{Path(__file__).parent / 'writes_anew.py'}:WritesAnew", "processes")

    swept = asked.run(print)

    assert accused(swept) == {}
    assert [scene for scene in swept.made if scene.worn]
