"""The judge accuses every buggy queue, never a sound one, and proves what it says by a few operations."""

from __future__ import annotations

from copy import copy
from random import Random

import pytest
from conformance.checker.mutants import mutated
from conformance.checker.simulator import BUGS, simulate, varied
from lowq_conformance.checker.bad_patterns import fast_check
from lowq_conformance.checker.judge import check
from lowq_conformance.checker.partition import search_each_work
from lowq_conformance.checker.shrink import confirm, cut, keep_works, needless_acks, observers, whole_tasks
from lowq_conformance.checker.wgl import wgl
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

FEW = 4_000
"""Configurations for one history of these tests."""


@pytest.mark.parametrize("keys", [0.0, 0.5])
@pytest.mark.parametrize("part", range(4))
def test_the_fast_conditions_never_accuse_a_history_that_has_an_order(part: int, keys: float) -> None:
    accused = 0
    for seed in range(part * 1000, part * 1000 + 120):
        random = Random(seed)
        bug = random.choice(["", *BUGS])
        spec, load = varied(random, bug=bug, keys=keys)
        ops = simulate(random, spec, load)
        if not bug:
            ops = mutated(random, ops)
        accusations = fast_check(ops, spec)
        bad_works = search_each_work(ops, spec).bad
        if accusations or bad_works:
            assert wgl(ops, spec, FEW).verdict is not True, (seed, accusations, bad_works)
            accused += 1
    assert accused > 20


@pytest.mark.parametrize("keys", [0.0, 0.5, 1.0])
def test_nothing_is_said_against_a_sound_queue(keys: float) -> None:
    for seed in range(200):
        random = Random(seed)
        spec, load = varied(random, keys=keys)
        ops = simulate(random, spec, load)
        assert fast_check(ops, spec) == [], seed
        assert search_each_work(ops, spec).bad == [], seed


def test_a_long_history_of_a_sound_queue_is_not_accused() -> None:
    for seed in range(6):
        random = Random(seed)
        spec, load = varied(random, ops=1500, works=30, kills=0.01)
        ops = simulate(random, spec, load)
        assert fast_check(ops, spec) == [], seed
        assert search_each_work(ops, spec).bad == [], seed


def test_every_accusation_is_confirmed_by_the_search() -> None:
    confirmed = 0
    for seed in range(250):
        random = Random(seed)
        spec, load = varied(random, bug=random.choice(BUGS))
        ops = simulate(random, spec, load)
        for accusation in fast_check(ops, spec)[:3]:
            assert confirm(accusation, ops, spec) is not None, (seed, accusation)
            confirmed += 1
    assert confirmed > 50


def test_removals_never_turn_a_good_history_bad() -> None:
    reduced = 0
    for seed in range(120):
        random = Random(seed)
        spec, load = varied(random, ops=random.randint(8, 30))
        ops = simulate(random, spec, load)
        if random.random() < 0.3:
            ops = mutated(random, ops)
        if wgl(ops, spec, FEW).verdict is not True:
            continue
        for _ in range(4):
            ops = less(random, ops, spec)
            assert wgl(ops, spec, FEW).verdict is not False, seed
            reduced += 1
    assert reduced > 200


def less(random: Random, ops: list[Op], spec: Spec) -> list[Op]:
    """The history after one of the removals that `shrink` makes."""
    if not ops:
        return ops
    way = random.choice(["cut", "keys", "observer", "task", "ack"])
    if way == "cut":
        return cut(ops, random.choice(ops).call + random.random() * 3)
    if way == "keys":
        works = {op.work for op in ops if op.kind == "push"}
        return keep_works(ops, frozenset(work for work in works if random.random() < 0.7))
    if way == "observer":
        return without(ops, {op.number for op in observers(ops) if random.random() < 0.5})
    if way == "ack":
        return without(ops, {op.number for op in needless_acks(ops, spec) if random.random() < 0.5})
    bundles = whole_tasks(ops, spec)
    return without(ops, random.choice(bundles)) if bundles else ops


def without(ops: list[Op], numbers: set[int]) -> list[Op]:
    return [op for op in ops if op.number not in numbers]


def test_the_judge_finds_most_bugs_and_says_which() -> None:
    bad = found = 0
    for seed in range(150):
        random = Random(seed)
        spec, load = varied(random, bug=random.choice(BUGS), ids=True)
        ops = simulate(random, spec, load)
        if wgl(ops, spec, FEW).verdict is False:
            bad += 1
            found += bool(fast_check(ops, spec) or search_each_work(ops, spec).bad)
    assert bad > 40
    assert found >= 0.9 * bad


def test_of_each_kind_one_fault_is_shown() -> None:
    for seed in range(4):
        random = Random(seed)
        spec, load = varied(random, bug=random.choice(BUGS), ops=200, ids=True, works=3)
        kinds = [fault.kind for fault in check(simulate(random, spec, load), spec).faults]
        assert len(kinds) == len(set(kinds))


def lost() -> list[Op]:
    return [
        Op(0, "a", "push", 0, 1, "added", "x", "x", "1"),
        Op(1, "a", "push", 2, 3, "added", "y", "y", "2"),
        Op(2, "b", "claim", 2, 4, "empty"),
        Op(3, "b", "claim", 5, 6, "task", "y", id="2", lease=30),
        Op(4, "b", "ack", 7, 8, "ok", "y", claim=3),
        Op(5, "c", "claim", 9, 10, "empty", lease=30),
    ]


def test_a_lost_task_is_proved_by_its_push_and_the_claim_that_found_nothing() -> None:
    judgement = check(lost(), Spec())

    assert judgement.verdict == "bad"
    fault = next(fault for fault in judgement.faults if fault.kind == "lost")
    assert fault.clause == "DELIVER-1"
    assert [op.kind for op in fault.proof] == ["push", "claim"]


def test_a_history_that_has_an_order_is_proved() -> None:
    ops = [op for op in lost() if op.number not in (2, 5)]
    ops.insert(1, Op(9, "c", "claim", 1.2, 1.5, "task", "x", id="1", lease=30))

    judgement = check(ops, Spec())

    assert (judgement.verdict, judgement.faults) == ("proved", [])


def test_what_was_not_searched_whole_is_not_called_proved() -> None:
    random = Random(1)
    spec, load = varied(random, ops=600, works=30)

    assert check(simulate(random, spec, load), spec).verdict == "not refuted"


def test_a_killed_claim_excuses_one_missing_task_and_not_two() -> None:
    pushes = [Op(i, "a", "push", 2 * i, 2 * i + 1, "added", f"w{i}", f"w{i}", str(i)) for i in range(2)]
    killed = Op(7, "b", "claim", 10, lease=1000)
    empty = Op(8, "c", "claim", 12, 13, "empty", lease=1000)

    assert check([pushes[0], killed, empty], Spec()).verdict == "proved"
    assert check([*pushes, killed, empty], Spec()).verdict == "bad"


def test_a_proof_is_drawn_with_the_culprit_marked_and_the_reason_below() -> None:
    fault = check(lost(), Spec()).faults[0]

    lines = fault.draw().splitlines()

    assert lines[0].strip().startswith("a: |push x added")
    assert "!" in fault.draw()
    assert lines[-1].startswith("at best ")
    assert "waiting=[x]" in lines[-1]


def test_judging_changes_nothing_of_the_history() -> None:
    ops = lost()
    before = [copy(op) for op in ops]

    check(ops, Spec())

    assert ops == before


@pytest.mark.parametrize("came", ["a", "b"])
def test_of_two_tasks_with_one_id_the_one_that_never_came_is_lost(came: str) -> None:
    ops = [
        Op(0, "p", "push", 0, 2, "added", "a", "a", id="1"),
        Op(1, "q", "push", 1, 3, "added", "b", "b", id="1"),
        Op(2, "p", "claim", 4, 5, "task", came, id="1"),
        Op(3, "p", "claim", 6, 7, "empty"),
    ]

    judgement = check(ops, Spec())

    (lost,) = {"a", "b"} - {came}
    assert [(fault.kind, fault.proof[0].work) for fault in judgement.faults] == [("lost", lost)]


def test_what_is_lost_is_no_fault_of_order() -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x"),
        Op(1, "a", "push", 2, 3, "added", "y", "y"),
        Op(2, "a", "claim", 4, 5, "task", "y"),
        Op(3, "a", "ack", 6, 7, "ok", "y", claim=2),
        Op(4, "a", "claim", 8, 9, "empty"),
    ]

    (fault,) = check(ops, Spec()).faults

    assert (fault.kind, fault.said) == ("lost", "a claim found nothing while x was due, which never came out")
    assert [str(op) for op in fault.proof] == ["push x added", "claim:empty"]


def test_a_refusal_where_every_push_is_kept_is_told_as_that() -> None:
    ops = [Op(0, "a", "push", 0, 3, "added", "x", "x"), Op(1, "b", "push", 1, 2, "dup", "x", "x")]

    (fault,) = check(ops, Spec(dedupe="off")).faults

    assert fault.said == "x was refused as a duplicate, but every push is kept here (dedupe: off)"


def test_what_is_passed_over_and_comes_later_is_a_fault_of_order() -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x"),
        Op(1, "a", "push", 2, 3, "added", "y", "y"),
        Op(2, "a", "claim", 4, 5, "task", "y"),
        Op(3, "a", "claim", 6, 7, "task", "x"),
        Op(4, "a", "claim", 8, 9, "empty"),
    ]

    (fault,) = check(ops, Spec()).faults

    assert (fault.kind, str(fault.culprit)) == ("order", "claim:y")
    assert fault.why.endswith("none of [claim:y] is possible")


def test_what_is_lost_is_shown_with_the_claim_that_was_cut_off() -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x"),
        Op(1, "b", "claim", 2, 4, lease=10, killed=4),
        Op(2, "c", "claim", 60, 61, "empty", lease=10),
    ]

    (fault,) = check(ops, Spec(grace=5)).faults

    assert fault.kind == "lost"
    assert [op.number for op in fault.proof] == [0, 1, 2]
    assert fault.culprit.number == 2


def test_a_claim_without_a_lease_is_not_said_to_have_one() -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x"),
        Op(1, "a", "claim", 2, 3, "task", "x"),
        Op(2, "b", "claim", 4, 5, "task", "x"),
    ]

    assert [fault.said for fault in check(ops, Spec()).faults] == ["x was handed out again before it was settled"]


def test_a_lease_that_may_end_early_or_late_is_open_both_ways() -> None:
    push = Op(0, "a", "push", 0, 1, "added", "x", "x")
    held = Op(1, "b", "claim", 2, 3, "task", "x", lease=1, at_most=100)

    again = Op(2, "c", "claim", 10, 11, "task", "x", lease=1, at_most=100)
    nothing = Op(2, "c", "claim", 10, 11, "empty")
    too_late = Op(2, "c", "claim", 200, 201, "empty")

    verdicts = [check([push, held, other], Spec(grace=1)).verdict for other in (again, nothing, too_late)]
    assert verdicts == ["proved", "proved", "bad"]


@pytest.mark.parametrize("cut_off", [True, False])
def test_a_task_whose_release_was_cut_off_waits_when_its_lease_is_over(cut_off: bool) -> None:
    push = Op(0, "a", "push", 0, 1, "added", "x", "x")
    held = Op(1, "b", "claim", 2, 3, "task", "x", lease=10)
    release = [Op(2, "b", "release", 4, 5, None, "x", claim=1, killed=5)] if cut_off else []

    while_it_ran = Op(3, "c", "claim", 6, 7, "empty")
    afterwards = Op(3, "c", "claim", 50, 51, "empty")
    came = Op(3, "c", "claim", 50, 51, "task", "x", lease=10)

    others = (while_it_ran, afterwards, came)
    found = [fast_check([push, held, *release, other], Spec(grace=1)) for other in others]
    assert [[accusation.kind for accusation in each] for each in found] == [[], ["false empty"], []]
    verdicts = [check([push, held, *release, other], Spec(grace=1)).verdict for other in others]
    assert verdicts == ["proved", "bad", "proved"]


@pytest.mark.parametrize(("again", "verdict"), [(8.0, "proved"), (5.5, "bad")])
def test_an_id_may_be_given_again_when_its_task_is_done(again: float, verdict: str) -> None:
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x", id="1"),
        Op(1, "b", "claim", 2, 3, "task", "x", id="1"),
        Op(2, "b", "ack", 6, 7, "ok", "x", claim=1),
        Op(3, "a", "push", again, again + 0.1, "added", "x", "x", id="1"),
        Op(4, "b", "claim", 10, 11, "task", "x", id="1"),
        Op(5, "b", "ack", 12, 13, "ok", "x", claim=4),
    ]

    assert check(ops, Spec(dedupe="until_done")).verdict == verdict
