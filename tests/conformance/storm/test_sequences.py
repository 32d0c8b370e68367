"""A schedule of a change is explained where one order of its calls has all answers, and what is open stays open."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lowq_conformance.storm.execution import Execution
from lowq_conformance.storm.recorder import RecordedCall, Recording
from lowq_conformance.storm.sequences import (
    charge_changed_works,
    charge_unexplained,
    find_changed_works,
    orders_of,
)
from lowq_conformance.storm.to_history import build_history
from lowq_conformance.subject.loading import load
from lowq_conformance.sweep.scenes import clauses_about
from lowq_conformance.sweep.schedule import Scene

HOUR = 3_600_000_000_000
JOURNAL = "lowq_conformance.queues.sound.journal:Journal"
UNFENCED = "lowq_conformance.queues.sound.reluctant:Unfenced"

Told = tuple[str, str, int, int, Any, dict[str, Any]]


def push(who: str, at: int, ret: int, added: bool | None = True) -> Told:
    return who, "push", at, ret, {"added": added, "id": "1"}, {"work": "mine", "priority": 0, "not_before": None}


def claim(who: str, at: int, ret: int, found: bool = True) -> Told:
    return who, "claim", at, ret, {"work": "mine", "id": "1", "attempts": 1} if found else None, {"lease": HOUR}


def change(who: str, kind: str, at: int, ret: int, result: Any = True, number: int = 0) -> Told:
    return who, kind, at, ret, result, {"id": "1", "work": "mine", "claim": number}


def run_of(*told: Told, target: str = JOURNAL) -> Execution:
    """A run of these calls; one whose result is an error's text was refused."""
    numbers: dict[str, int] = {}
    calls = []
    start = time.monotonic_ns()
    for who, kind, at, ret, result, args in told:
        numbers[who] = numbers.get(who, -1) + 1
        error = result if isinstance(result, str) else None
        shown = None if error else result
        calls.append(RecordedCall(who, numbers[who], kind, args, start + at, start + ret, shown, error))
    return Execution(load(target), timedelta(hours=1), False, start, datetime.now(UTC), Recording(calls))


def found(scene: Scene, *told: Told, target: str = JOURNAL) -> list[tuple[str, str]]:
    """What is charged."""
    run = run_of(*told, target=target)
    return [(charge.clause, charge.said) for charge in charge_unexplained(run, clauses_about(scene, "processes"))]


CANCEL = Scene("cancel", "claim")


@pytest.mark.parametrize("answer", [False, "LookupError: no waiting task has the id 1", None])
def test_who_says_no_or_nothing_may_have_done_nothing(answer: Any) -> None:
    cancel = change("a", "cancel", 10, 20, answer)

    assert found(CANCEL, push("a", 1, 2), cancel, claim("b", 12, 14), change("b", "ack", 21, 22)) == []


@pytest.mark.parametrize(("claimed", "clause"), [((12, 14), "CANCEL-2"), ((12, 25), "CANCEL-1")])
def test_the_clause_is_that_of_who_returned_last(claimed: tuple[int, int], clause: str) -> None:
    ((broken, _),) = found(CANCEL, push("a", 1, 2), change("a", "cancel", 10, 20), claim("b", *claimed))

    assert broken == clause


def test_a_task_that_nobody_took_is_lost() -> None:
    said = "claim found nothing, but 'mine' is due: it is waiting"

    assert found(CANCEL, push("a", 1, 2), change("a", "cancel", 10, 20, False), claim("b", 21, 22, False)) == [
        ("RACE-3", said)
    ]


def test_whether_what_is_dead_refuses_an_equal_work_is_another_clauses_to_ask() -> None:
    dead = [push("a", 1, 2), claim("a", 3, 4), change("a", "dead_letter", 5, 6, number=1)]
    redriven = change("a", "redrive", 10, 20)

    assert found(Scene("redrive", "repush"), *dead, redriven, push("b", 21, 22, False)) == []
    assert found(Scene("redrive", "repush"), *dead, push("b", 7, 8, False), redriven) == []


def test_what_settles_too_late_without_a_fence_leaves_all_open() -> None:
    late = [push("a", 1, 2), claim("a", 3, 4), ("a", "pass", 5, 6, None, {"by": 2 * HOUR})]
    calls = [
        *late,
        claim("b", 7, 8),
        change("a", "ack", 9, 10, number=1),
        change("b", "ack", 11, 12, "LeaseLost: gone"),
    ]

    assert found(Scene("release", "cancel"), *calls, target=UNFENCED) == []
    assert [clause for clause, _ in found(Scene("release", "cancel"), *calls)] == ["RACE-3"]


def test_a_run_in_which_somebody_was_in_the_way_says_nothing() -> None:
    busy = change("a", "cancel", 10, 20, "OperationalError: database is locked")

    assert found(CANCEL, push("a", 1, 2), busy, claim("b", 21, 22, False)) == []


def test_what_did_not_overlap_has_one_order() -> None:
    calls = [RecordedCall("a", number, "push", {}, 10 * number, 10 * number + 5) for number in range(3)]
    between = RecordedCall("b", 0, "claim", {}, 11, 22)

    assert [[call.call for call in order] for order in orders_of([*calls, between])] == [
        [0, 10, 11, 20],
        [0, 10, 20, 11],
        [0, 11, 10, 20],
    ]


def found_in_a_storm(*told: Told) -> list[str]:
    """What is charged for the works of a storm that somebody changed; its history has none of these."""
    run = run_of(*told)
    changed = find_changed_works(run)
    assert changed.keys() >= {'"mine"'}
    assert not {op.work for op in build_history(run, changed).ops} & changed.keys()
    return [charge.said for charge in charge_changed_works(run, changed)]


OF_ANOTHER: Told = (
    "b", "push", 8, 9, {"added": True, "id": "1"}, {"work": "yours", "priority": 0, "not_before": None}
)  # fmt: skip


def test_in_a_storm_each_task_that_somebody_changed_is_explained_alone() -> None:
    mine = push("a", 1, 2), change("a", "cancel", 10, 20)

    assert found_in_a_storm(*mine, claim("b", 12, 14)) == ["cancel of 'mine' said True, but it is leased"]
    assert found_in_a_storm(*mine, claim("end", 30, 40, False)) == []


def test_in_a_storm_a_task_that_was_not_cancelled_comes_out() -> None:
    calls = push("a", 1, 2), change("a", "cancel", 10, 20, False)

    assert found_in_a_storm(*calls, claim("b", 12, 14), change("b", "ack", 15, 16)) == []
    assert found_in_a_storm(*calls, claim("end", 30, 40, False)) == [
        "claim found nothing, but 'mine' is due: it is waiting"
    ]


def test_in_a_storm_a_cancel_of_an_id_that_is_given_again_says_nothing() -> None:
    done = push("a", 1, 2), claim("b", 3, 4), change("b", "ack", 5, 6)

    assert found_in_a_storm(*done, OF_ANOTHER, change("a", "cancel", 10, 20)) == []


@pytest.mark.parametrize("error", ["TimeoutError: it took too long", "OperationalError: database is locked"])
def test_in_a_storm_what_a_cancel_has_done_that_failed_is_open(error: str) -> None:
    calls = push("a", 1, 2), change("a", "cancel", 10, 20, error)

    assert found_in_a_storm(*calls, claim("end", 30, 40, False)) == []
    assert found_in_a_storm(*calls, claim("b", 30, 40)) == []


def test_in_a_storm_an_extend_is_taken_from_who_has_the_task_only() -> None:
    mine = push("a", 1, 2), claim("a", 3, 4)
    passes: Told = ("a", "pass", 5, 6, None, {"by": HOUR * 2})
    calls = *mine, passes, change("a", "extend", 10, 20, number=1), claim("b", 12, 14)

    assert found_in_a_storm(*calls) == ["extend of 'mine' was taken from a lease that is no longer its holder's"]
    assert found_in_a_storm(*mine, passes, change("a", "extend", 10, 20, "LeaseLost: gone", 1), calls[-1]) == []
