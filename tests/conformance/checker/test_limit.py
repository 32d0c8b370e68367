"""A task that was claimed too often may be set aside when it comes back: open both ways, and never before."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest
from conformance.checker.brute import brute
from conformance.checker.mutants import mutated
from conformance.checker.simulator import BUGS, SETS_ASIDE_EARLY, limited, simulate
from conformance.checker.test_judge import FEW, less
from conformance.checker.test_wgl import accepted, one_after_the_other
from lowq_conformance.checker import wgl as search
from lowq_conformance.checker.bad_patterns import fast_check
from lowq_conformance.checker.judge import check
from lowq_conformance.checker.partition import search_each_work
from lowq_conformance.checker.wgl import wgl
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

THREE = Spec("until_done", grace=0.0, max_deliveries=3)


def claims(number: int, lease: float = 2.0, unknown: int = 0) -> list[Op]:
    """A push, so many claims of its task whose leases run out, the last of them cut off, and an empty answer."""
    ops = [Op(0, "a", "push", 0, 1, "added", "x", "x", "1")]
    for turn in range(number):
        at = 10 * (turn + 1)
        op = Op(turn + 1, f"b{turn}", "claim", at, at + 1, "task", "x", id="1", lease=lease)
        if turn >= number - unknown:
            op.result, op.work, op.id = None, "", None
        ops.append(op)
    return [*ops, Op(90, "c", "claim", 90, 91, "empty", lease=lease)]


@pytest.mark.parametrize(
    ("ops", "verdict"),
    [
        (claims(2), "bad"),
        (claims(3), "proved"),
        (claims(4), "proved"),
        (claims(3, unknown=1), "proved"),
        (claims(2, unknown=1), "bad"),
        (claims(1, lease=inf), "proved"),
    ],
    ids=["two", "three", "four", "one of them cut off", "one of two cut off", "held"],
)
def test_a_task_may_be_gone_after_so_many_claims_and_not_before(ops: list[Op], verdict: str) -> None:
    assert check(ops, THREE).verdict == verdict
    assert check(ops, replace(THREE, max_deliveries=None)).verdict == ("bad" if ops[1].lease < inf else "proved")


def test_a_task_that_is_released_for_the_last_time_may_be_gone_at_once_and_not_sooner() -> None:
    ops = claims(3)[:-1]
    release = Op(5, "b2", "release", 35, 36, "ok", "x", claim=3)
    ops[3].lease = 100.0
    empty = Op(6, "c", "claim", 40, 41, "empty")

    assert check([*ops, release, empty], THREE).verdict == "proved"
    assert check([*ops, release, empty], replace(THREE, counts_release=False)).verdict == "bad"
    assert check([*ops[:3], replace(release, call=25, claim=2, process="b1"), empty], THREE).verdict == "bad"


def test_what_was_set_aside_stands_in_no_equal_tasks_way() -> None:
    again = Op(10, "d", "push", 50, 51, "added", "x", "x", "2")
    first = replace(again, number=11, call=31, ret=31.5)

    assert check([*claims(3)[:-1], again], THREE).verdict == "proved"
    assert check([*claims(2)[:-1], again], THREE).verdict == "bad"
    assert check([*claims(3)[:-1], first], THREE).verdict == "bad"  # while its lease ran


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("patience", [search.PATIENCE, 1], ids=["", "looking ahead"])
def test_search_and_brute_force_never_disagree(part: int, patience: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PATIENCE", patience)
    bad = judged = 0
    for seed in range(part * 1000, part * 1000 + 350):
        random = Random(seed)
        ops, spec = short(random)
        if len(ops) > 8:
            continue
        verdict = wgl(ops, spec).verdict
        assert verdict == brute(ops, spec), (seed, spec, [f"{op.call:.2f} {op.ret:.2f} {op}" for op in ops])
        judged += 1
        bad += not verdict
    assert judged > 200
    assert bad > 20


def short(random: Random) -> tuple[list[Op], Spec]:
    """A few operations, many of them unknown, on few tasks with short leases."""
    spec, load = limited(
        random,
        bug=random.choice(["", "", SETS_ASIDE_EARLY, *BUGS]),
        ops=random.randint(3, 8),
        processes=random.randint(1, 3),
        drain=random.random() < 0.3,
        kills=random.choice([0.0, 0.05, 0.2]),
        raises=random.choice([0.0, 0.0, 0.2]),
        works=random.choice([1, 1, 2]),
        unique=0.0,
        lease=random.choice([2.0, 4.0, 12.0]),
        pushes=0.3,
    )
    ops = simulate(random, spec, load)
    spec = replace(spec, eps=random.choice([0.0, 0.0, 0.5]), due_order=random.choice(["push", "push", "due", None]))
    return (mutated(random, ops) if random.random() < 0.4 else ops), spec


@pytest.mark.parametrize("part", range(2))
def test_one_after_the_other_the_search_says_what_the_model_says(part: int) -> None:
    bad = 0
    for seed in range(part * 1000, part * 1000 + 300):
        random = Random(seed)
        bug = random.choice(["", SETS_ASIDE_EARLY, *BUGS])
        spec, load = limited(random, bug=bug, ops=25, ids=True, processes=3, kills=0.0, raises=0.0, rounded=False)
        ops = one_after_the_other(
            mutated(random, one_after_the_other(simulate(random, spec, replace(load, ids=True))))
        )
        verdict = wgl(ops, spec).verdict
        assert verdict == accepted(ops, spec), seed
        bad += not verdict
    assert bad > 30


def test_nothing_is_said_against_a_sound_queue() -> None:
    for seed in range(200):
        random = Random(seed)
        spec, load = limited(random, ops=random.choice([20, 40, 200]))
        ops = simulate(random, spec, load)
        said = check(ops, spec, 20_000)
        assert said.faults == [], (seed, said.faults)
        if all(op.result is not None for op in ops):
            assert fast_check(ops, spec) == [], seed
        assert search_each_work(ops, spec).bad == [], seed


def test_what_is_set_aside_too_early_is_found() -> None:
    bad = found = 0
    for seed in range(150):
        random = Random(seed)
        spec, load = limited(random, bug=SETS_ASIDE_EARLY, drain=True, slow=0.6)
        ops = simulate(random, replace(spec, max_deliveries=3), load)
        spec = replace(spec, max_deliveries=3)
        if wgl(ops, spec, FEW).verdict is False:
            bad += 1
            found += bool(check(ops, spec, FEW).faults)
    assert bad > 20
    assert found >= 0.9 * bad


def test_removals_never_turn_a_good_history_bad() -> None:
    reduced = 0
    for seed in range(120):
        random = Random(seed)
        spec, load = limited(random, ops=random.randint(8, 30))
        ops = simulate(random, spec, load)
        if wgl(ops, spec, FEW).verdict is not True:
            continue
        for _ in range(4):
            ops = less(random, ops, spec)
            assert wgl(ops, spec, FEW).verdict is not False, seed
            reduced += 1
    assert reduced > 200
