"""The complete search agrees with brute force and with the sequential model, and explains what sound queues do.

Long: each rule of the search has a history of its own that shows it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from conformance.checker.brute import brute
from conformance.checker.mutants import mutated
from conformance.checker.simulator import BUGS, simulate, varied
from lowq_conformance.checker import wgl as search
from lowq_conformance.checker.model import Model
from lowq_conformance.checker.model_tasks import Mismatch, Span
from lowq_conformance.checker.states import Packed
from lowq_conformance.checker.wgl import wgl
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec


@pytest.mark.parametrize("part", range(4))
def test_search_and_brute_force_never_disagree(part: int) -> None:
    bad = 0
    for seed in range(part * 1000, part * 1000 + 350):
        random = Random(seed)
        bug = random.choice(["", "", *BUGS])
        spec, load = varied(random, bug=bug, ops=random.randint(3, 7), processes=random.randint(1, 3), drain=False)
        ops = simulate(random, spec, load)
        spec = replace(
            spec, due_order=random.choice(["push", "push", "due", None]), eps=random.choice([0.0, 0.0, 0.5])
        )
        if random.random() < 0.5:
            ops = mutated(random, ops)
        verdict = wgl(ops, spec).verdict
        assert verdict == brute(ops, spec), (seed, [f"{op.call:.2f} {op.ret:.2f} {op}" for op in ops])
        bad += not verdict
    assert bad > 20


@pytest.mark.parametrize("part", range(4))
def test_looking_ahead_from_the_start_the_search_agrees_with_brute_force(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short leases, few works, no ids, many unknown operations: names and times may be taken for one another."""
    monkeypatch.setattr(search, "PATIENCE", 1)
    judged = bad = 0
    for seed in range(part * 1000, part * 1000 + 300):
        ops, spec = ambiguous(Random(seed))
        if len(ops) <= 7:
            verdict = wgl(ops, spec).verdict
            assert verdict == brute(ops, spec), (seed, [f"{op.call:.2f} {op.ret:.2f} {op}" for op in ops])
            judged += 1
            bad += not verdict
    assert judged > 150
    assert bad > 20


@pytest.mark.parametrize("part", range(2))
def test_with_the_order_of_pushes_left_open_the_search_says_what_it_says_without(
    part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = [crowded(Random(seed)) for seed in range(part * 1000, part * 1000 + 150)]
    open = [wgl(ops, spec, 20_000) for ops, spec in histories]
    monkeypatch.setattr(Packed, "_joins", lambda self: [False] * len(self.ops))
    told = [wgl(ops, spec, 20_000) for ops, spec in histories]

    assert all({one.verdict, other.verdict} != {True, False} for one, other in zip(open, told, strict=True))
    assert sum(one.verdict is not None is not other.verdict for one, other in zip(open, told, strict=True)) > 140
    assert {one.verdict for one in open} >= {True, False}


def crowded(random: Random) -> tuple[list[Op], Spec]:
    """Many pushes overlap."""
    spec, load = varied(
        random,
        bug=random.choice(["", "", "newest first", "tail requeue", "racy push", "kill loses task"]),
        ops=random.randint(12, 24),
        processes=6,
        delays=random.choice([0.0, 0.0, 0.2]),
        kills=random.choice([0.0, 0.05]),
        raises=random.choice([0.0, 0.05]),
        drain=True,
    )
    return simulate(random, spec, load), spec


def test_the_orders_of_pushes_that_overlap_are_not_tried_one_by_one() -> None:
    pushes = [Op(n, f"p{n}", "push", n / 100, 1, "added", f"x{n}", f"x{n}", f"{n}") for n in range(8)]
    given = [Op(20 + n, "c", "claim", 20 + n, 20.5 + n, "task", f"x{n}", id=f"{n}") for n in [*range(8), 0]]

    assert wgl([*pushes, *given], Spec(), budget=300).verdict is False


@pytest.mark.parametrize(
    ("first", "second", "possible"),
    [
        ((0, 3), (1, 4), True),
        ((0, 3), (3, 4), True),
        ((0, 2), (3, 4), False),
    ],
)
def test_pushes_that_overlap_come_in_either_order(
    first: tuple[float, float], second: tuple[float, float], possible: bool
) -> None:
    """As claimed at the end; and though the first had long been kept when an ack came between."""
    pushes = [
        Op(0, "a", "push", -9, -8, "added", "o", "o", "0"),
        Op(1, "b", "claim", -7, -6, "task", "o", id="0"),
        Op(2, "a", "push", *first, "added", "x", "x", "1"),
        Op(3, "b", "ack", 2, 2.5, "ok", claim=1),
        Op(4, "c", "push", *second, "added", "y", "y", "2"),
    ]
    claims = [Op(5, "d", "claim", 5, 6, "task", "y", id="2"), Op(6, "d", "claim", 7, 8, "task", "x", id="1")]

    assert wgl([*pushes, *claims], Spec()).verdict is possible


def test_what_came_between_two_pushes_keeps_them_apart() -> None:
    """An empty answer: the second was not kept yet, though it had been called before the first was kept."""
    pushes = [
        Op(0, "a", "push", 0, 3, "added", "x", "x", "1"),
        Op(1, "b", "push", 1, 9, "added", "y", "y", "2"),
        Op(2, "c", "claim", 4, 5, "task", "x", id="1", lease=2.0),
        Op(3, "c", "claim", 6, 7, "empty", lease=2.0),
    ]
    again = [Op(4, "d", "claim", 10, 11, "task", "y", id="2"), Op(5, "d", "claim", 12, 13, "task", "x", id="1")]

    assert wgl([*pushes, again[1]], Spec()).verdict is True
    assert wgl([*pushes, *again], Spec(grace=0.0)).verdict is False
    assert wgl([*pushes, *again], Spec(grace=0.0, requeue="any")).verdict is True


@pytest.mark.parametrize("told", ["empty", "low"])
def test_what_tells_that_nothing_was_due_tells_apart_what_is_kept_later(told: str) -> None:
    """What was put off was kept by then, and the other one was not, though it had been called before."""
    low = [
        Op(0, "a", "push", -3, -2, "added", "low", "low", "0", priority=-1),
        Op(1, "a", "claim", 2, 3, "task", "low", id="0"),
    ]
    pushes = [
        Op(3, "b", "push", 0, 1.5, "added", "late", "late", "1", not_before=50.0),
        Op(4, "c", "push", 1, 9, "added", "next", "next", "2"),
    ]
    seen = low if told == "low" else [Op(1, "a", "claim", 2, 3, "empty")]
    first = [Op(5, "d", "claim", 60, 61, "task", "late", id="1"), Op(6, "d", "claim", 62, 63, "task", "next", id="2")]
    other = [Op(5, "d", "claim", 60, 61, "task", "next", id="2"), Op(6, "d", "claim", 62, 63, "task", "late", id="1")]

    assert wgl([*seen, *pushes, *first], Spec()).verdict is True
    assert wgl([*seen, *pushes, *other], Spec()).verdict is False
    assert wgl([*pushes, *other], Spec()).verdict is True


@pytest.mark.parametrize("again", ["x", "y"])
@pytest.mark.parametrize(("not_before", "open"), [(50.0, True), (None, False)])
def test_what_is_handed_out_comes_before_what_was_due_and_overlaps(
    again: str, not_before: float | None, open: bool
) -> None:
    ops = [
        Op(0, "a", "push", 0, 3, "added", "x", "x", "x"),
        Op(1, "b", "push", 1, 2, "added", "y", "y", "y", not_before=not_before),
        Op(2, "a", "claim", 5, 6, "task", "x", id="x"),
        Op(3, "a", "release", 7, 8, "ok", claim=2),
        Op(4, "a", "claim", 60, 61, "task", again, id=again),
    ]

    assert wgl(ops, Spec()).verdict is (open or again == "x")
    assert wgl(ops, Spec(requeue="any")).verdict is True


@pytest.mark.parametrize("id", ["1", None])
def test_a_task_that_was_acked_and_comes_again_is_found_without_a_search(id: str | None) -> None:
    known = [
        Op(0, "a", "push", 0, 1, "added", "x", "x", id),
        Op(1, "a", "claim", 2, 3, "task", "x", id=id, lease=4.0),
        Op(2, "a", "ack", 4, 5, "ok", claim=1),
    ]
    again = Op(60, "b", "claim", 6, 7, "task", "x", id=id, lease=4.0)
    early = replace(again, call=4.5)

    assert wgl([*known, again], Spec(), budget=1).verdict is False
    assert wgl([*known, early], Spec(), budget=1).verdict is None
    if id is None:
        anew = Op(99, "c", "push", 5, 6, "added", "x", "x")
        assert wgl([*known, anew, again], Spec()).verdict is True


def test_a_push_that_was_refused_since_tells_that_the_first_was_kept() -> None:
    ops = [
        Op(0, "a", "push", 0, 9, "added", "x", "x", "1"),
        Op(1, "b", "push", 1, 2, "dup", "x", "x"),
        Op(2, "c", "push", 3, 4, "added", "y", "y", "2"),
        Op(3, "d", "claim", 10, 11, "task", "y", id="2"),
        Op(4, "d", "claim", 12, 13, "task", "x", id="1"),
    ]

    assert wgl(ops, Spec("until_done")).verdict is False
    assert wgl([*ops[:1], *ops[2:]], Spec("until_done")).verdict is True


def test_of_three_pushes_the_last_may_come_after_the_first_though_the_second_overlaps_with_both() -> None:
    pushes = [
        Op(0, "a", "push", 0, 2, "added", "x", "x", "1"),
        Op(1, "b", "push", 1, 9, "added", "y", "y", "2"),
        Op(2, "c", "push", 3, 4, "added", "z", "z", "3"),
    ]
    for order in permutations("xyz"):
        claims = [
            Op(5 + n, "d", "claim", 10 + 2 * n, 11 + 2 * n, "task", work, id=str(" xyz".index(work)))
            for n, work in enumerate(order)
        ]
        assert wgl([*pushes, *claims], Spec()).verdict is (order.index("x") < order.index("z"))


def ambiguous(random: Random) -> tuple[list[Op], Spec]:
    spec, load = varied(
        random,
        bug=random.choice(["", "", *BUGS]),
        ops=random.randint(3, 7),
        processes=random.randint(1, 4),
        drain=random.random() < 0.3,
        kills=random.choice([0.0, 0.05, 0.2]),
        raises=random.choice([0.0, 0.1, 0.3]),
    )
    load = replace(
        load,
        lease=random.choice([load.lease, 2.0, 4.0]),
        works=random.choice([1, 1, 2, 4]),
        unique=random.choice([0.0, 0.0, 0.3]),
        ids=random.random() < 0.5,
    )
    ops = simulate(random, spec, load)
    spec = replace(
        spec,
        due_order=random.choice(["push", "push", "due", None]),
        eps=random.choice([0.0, 0.0, 0.5]),
        requeue=random.choice(["place", "any"]),
        fifo=random.random() < 0.8,
        priority=random.random() < 0.6,
    )
    return (mutated(random, ops) if random.random() < 0.5 else ops), spec


@pytest.mark.parametrize("lost", [0, 1])
def test_a_backlog_of_pushes_that_overlap_is_explained_without_trying_their_orders(lost: int) -> None:
    """Fourteen at once, which came out in an order of their own; none, or one of them, to a claim that is unknown."""
    order = Random(1).sample(range(14), 14)
    pushes = [Op(n, f"p{n}", "push", n / 100, 2, "added", f"w{n}", f"w{n}", f"{n}") for n in range(14)]
    claims = [Op(20 + at, "c", "claim", 3 + at, 3.5 + at, "task", f"w{n}", id=f"{n}") for at, n in enumerate(order)]
    unknown = [Op(40, "u", "claim", 2.5)] * lost
    empty = Op(41, "c", "claim", 20, 21, "empty")

    assert wgl([*pushes, *claims[: 14 - lost], *unknown, empty], Spec(), budget=2_000).verdict is True
    assert wgl([*pushes, *claims[: 13 - lost], *unknown, empty], Spec(), budget=2_000).verdict is False


def test_a_task_that_came_from_nowhere_is_refuted_in_any_history() -> None:
    random = Random(3)
    spec, load = varied(random, ops=80, processes=6, kills=0.1)
    ops = simulate(random, spec, replace(load, works=1, unique=0.0, ids=False))
    when = ops[40].call
    ops.append(Op(1_000, "x", "claim", when, when + 1, "task", "nobody pushed this"))

    assert wgl(ops, spec, budget=2_000).verdict is False


def test_an_unknown_ack_may_be_what_a_push_after_a_refused_one_needs() -> None:
    spec = Spec("until_claimed", fifo=False)
    ops = [
        Op(0, "a", "push", 2, 8, "added", "k", "k"),
        Op(1, "b", "claim", 9, 10, "task", "k", lease=4.0),
        Op(2, "b", "ack", 13, work="k", claim=1),
        Op(3, "a", "push", 19, 23, "dup", "k", "k"),
        Op(4, "a", "push", 24, 25, "added", "k", "k"),
    ]

    assert wgl(ops, spec).verdict is True
    assert wgl([op for op in ops if op.kind != "ack"], spec).verdict is False


def test_an_unknown_claim_may_have_let_another_one_take_what_stands_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second push of y was not refused, so one has taken y, which the other could not leave behind x."""
    monkeypatch.setattr(search, "PATIENCE", 1)
    ops = [
        Op(0, "a", "push", 0, 4, "added", "x", "x"),
        Op(1, "b", "claim", 1, 3, None, lease=40.0),
        Op(2, "c", "push", 5, 6, "added", "y", "y"),
        Op(3, "b", "claim", 7, 9, None, lease=40.0),
        Op(4, "c", "push", 10, 11, "added", "y", "y"),
        Op(5, "a", "push", 10, 12, None, "z", "z"),
    ]

    assert wgl(ops, Spec("until_claimed")).verdict is True
    assert wgl([ops[0], *ops[2:]], Spec("until_claimed")).verdict is False


def test_an_unknown_release_may_have_put_a_task_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was left, long after the lease had ended."""
    monkeypatch.setattr(search, "PATIENCE", 1)
    ops = [
        Op(0, "a", "push", 0, 1, "added", "x", "x", "1"),
        Op(1, "a", "claim", 2, 3, "task", "x", id="1", lease=4.0),
        Op(2, "a", "release", 4, 5, None, claim=1, not_before=90.0),
        Op(3, "b", "claim", 20, 21, "empty", lease=4.0),
        Op(4, "b", "claim", 30, 31, "empty", lease=4.0),
    ]

    assert wgl(ops, Spec(grace=0.0)).verdict is True
    assert wgl([*ops[:2], *ops[3:]], Spec(grace=0.0)).verdict is False
    ops[2].not_before = None
    assert wgl(ops, Spec(grace=0.0)).verdict is False


def test_a_delay_that_is_over_still_leaves_the_order_open_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PATIENCE", 1)
    pushes = [
        Op(0, "a", "push", 0, 1, "added", "late", "late", "1", not_before=2.0),
        Op(1, "a", "push", 3, 4, "added", "next", "next", "2"),
        Op(2, "a", "push", 5, 6, "added", "last", "last", "3"),
    ]
    claims = [Op(5 + n, "b", "claim", 10 + n, 10.5 + n, "task", w, id=i) for n, (w, i) in enumerate(TOLD)]

    assert wgl([*pushes, *claims], Spec(due_order=None)).verdict is True
    assert wgl([*pushes, *claims], Spec(due_order="push")).verdict is False


TOLD = [("next", "2"), ("late", "1"), ("last", "3")]


def test_what_a_sound_queue_did_is_explained() -> None:
    for seed in range(300):
        random = Random(seed)
        spec, load = varied(random)
        ops = simulate(random, spec, load)
        assert wgl(ops, spec, 20_000).verdict is not False, seed


def test_an_order_that_was_found_is_one_of_the_operations_in_real_time() -> None:
    for seed in range(50):
        random = Random(seed)
        spec, load = varied(random, kills=0.0, raises=0.0)
        ops = simulate(random, spec, load)
        order = wgl(ops, spec).order
        assert sorted(op.number for op in order) == sorted(op.number for op in ops)
        latest = 0.0
        for op in order:
            assert op.ret >= latest
            latest = max(latest, op.call)


@pytest.mark.parametrize("part", range(2))
def test_one_after_the_other_the_search_says_what_the_model_says(part: int) -> None:
    bad = 0
    for seed in range(part * 1000, part * 1000 + 400):
        random = Random(seed)
        bug = random.choice(["", *BUGS])
        spec, load = varied(random, bug=bug, ops=25, ids=True, processes=3, kills=0.0, raises=0.0, rounded=False)
        ops = mutated(random, one_after_the_other(simulate(random, spec, load)))
        ops = one_after_the_other(ops)
        spec = replace(spec, due_order=random.choice(["push", "due", None]), eps=random.choice([0.0, 0.5]))
        verdict = wgl(ops, spec).verdict
        assert verdict == accepted(ops, spec), seed
        bad += not verdict
    assert bad > 50


def one_after_the_other(ops: list[Op]) -> list[Op]:
    """The same operations, each at one instant."""
    for op in sorted(ops, key=lambda op: op.call):
        op.call = op.ret = op.call + op.number * 1e-7
    return sorted(ops, key=lambda op: op.call)


def accepted(ops: list[Op], spec: Spec) -> bool:
    """Whether the model has every answer."""
    model = Model(spec)
    holds = {}
    try:
        for op in ops:
            at = Span(op.call, op.ret)
            if op.kind == "push":
                added = op.result == "added"
                model.push(
                    at, op.work, op.equal, added=added, id=op.id, priority=op.priority, not_before=op.not_before
                )
            elif op.result == "empty":
                model.claim_nothing(at)
            elif op.kind == "claim":
                holds[op.number] = model.claim(at, op.work, id=op.id, lease_for=op.lease)
            elif op.kind == "ack":
                model.ack(at, holds[op.claim], taken=op.result == "ok")
            else:
                model.release(at, holds[op.claim], not_before=op.not_before, taken=op.result == "ok")
    except Mismatch:
        return False
    return True


def two(lease: float = 30.0) -> list[Op]:
    return [
        Op(0, "a", "push", 0, 1, "added", "x", "x", "1"),
        Op(1, "b", "claim", 2, 3, "task", "x", id="1", lease=lease),
        Op(2, "c", "claim", 4, 5, "task", "x", id="1", lease=lease),
    ]


def test_one_task_is_not_claimed_twice_within_a_lease() -> None:
    assert wgl(two(), Spec()).verdict is False
    assert wgl(two(lease=1.5), Spec()).verdict is True


def test_a_history_that_is_refuted_says_how_far_an_order_came() -> None:
    found = wgl(two(), Spec())

    assert found.stuck is not None
    assert [op.number for op in found.stuck.placed] == [0, 1]
    assert [op.number for op in found.stuck.impossible] == [2]


def test_a_search_that_gives_up_says_so() -> None:
    assert wgl(two(), Spec(), budget=1).verdict is None
