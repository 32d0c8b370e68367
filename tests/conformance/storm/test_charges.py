"""Which clauses a storm's bad history breaks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.operation import Op
from lowq_conformance.storm.charges import clauses_of, find_altered
from lowq_conformance.storm.execution import Execution
from lowq_conformance.storm.recorder import RecordedCall, Recording
from lowq_conformance.storm.to_history import RunHistory
from lowq_conformance.subject.loading import load


def push(number: int, work: str) -> Op:
    return Op(number, f"p{number}", "push", number, number + 0.5, "added", work, work, work)


def claim(number: int, work: str, lease: float = 1000.0) -> Op:
    return Op(number, f"c{number}", "claim", number, number + 0.5, "task", work, work, work, lease=lease)


def release(number: int, claimed: Op, result: Any) -> Op:
    return Op(number, claimed.process, "release", number, number + 0.5, result, claimed.work, claim=claimed.number)


FIRST, SECOND = push(0, "a"), push(1, "b")
OVERTAKES, COMES_LATER = claim(2, "b"), claim(3, "a")


def told(*ops: Op, dead: tuple[Op, ...] = ()) -> RunHistory:
    """A history; of whose calls `dead` are cut off by a kill."""
    calls: Any = {op.number: SimpleNamespace(dead=9 if op in dead else None) for op in ops}
    return RunHistory(list(ops), calls=calls)


def fault(kind: str, *proof: Op) -> Counterexample:
    return Counterexample(kind, "", "", proof, "")


@pytest.mark.parametrize(
    ("kind", "clauses"),
    [
        ("order", ["ORDER-2"]),
        ("priority", []),
        ("dedupe", ["DEDUPE-9"]),
        ("lost", ["DELIVER-6"]),
        ("false empty", ["DELIVER-6"]),
        ("claimed twice", ["RACE-1", "DELIVER-3"]),
        ("history", []),
    ],
)
def test_each_kind_of_fault_has_its_clauses(kind: str, clauses: list[str]) -> None:
    ops = FIRST, SECOND, OVERTAKES, COMES_LATER

    assert clauses_of(fault(kind, *ops), told(*ops), deadly=False) == clauses
    assert clauses_of(fault(kind, *ops), told(*ops), deadly=True) == []


@pytest.mark.parametrize("kind", ["order", "lost", "false empty", "priority"])
def test_a_task_that_never_came_is_lost_by_whatever_it_was_noticed(kind: str) -> None:
    ops = FIRST, SECOND, OVERTAKES

    assert clauses_of(fault(kind, *ops), told(*ops), deadly=False) == ["RACE-2"]
    assert clauses_of(fault(kind, *ops), told(*ops), deadly=True) == ["CRASH-1"]


@pytest.mark.parametrize(
    ("result", "clauses"),
    [(None, ["CRASH-4"]), ("ok", [])],
    ids=["cut off in the release", "released"],
)
def test_a_task_that_never_came_again_is_lost_with_its_holder(result: Any, clauses: list[str]) -> None:
    held = claim(2, "a")
    ops = FIRST, held, release(3, held, result)

    assert clauses_of(fault("lost", *ops), told(*ops, dead=(held,)), deadly=True) == clauses


@pytest.mark.parametrize(("kind", "clause"), [("done", "CRASH-5"), ("invented", "CRASH-2")])
def test_what_comes_again_or_from_nowhere_after_a_kill(kind: str, clause: str) -> None:
    ops = FIRST, OVERTAKES

    assert clauses_of(fault(kind, *ops), told(*ops), deadly=True) == [clause]


HEADERS = {"of": "a"}


def altered(came: Any, ret: int | None = 1) -> dict[bool, list[str]]:
    """The clauses that are broken where a task came out with these headers, with kills and without."""
    answer = None if ret is None else {"added": True, "id": "1"}
    args = {"work": "a", "priority": 0, "not_before": None, "headers": HEADERS}
    task = {"work": "a", "id": "1", "name": "1", "attempts": 1, "headers": came}
    calls = [RecordedCall("p", 0, "push", args, 0, ret, answer), RecordedCall("c", 0, "claim", {}, 2, 3, task)]
    run = Execution(load("memory"), timedelta(hours=1), True, 0, datetime(2026, 1, 1, tzinfo=UTC), Recording(calls))
    return {deadly: [charge.clause for charge in find_altered(run, deadly=deadly)] for deadly in (True, False)}


def test_a_task_comes_out_with_the_headers_of_its_push() -> None:
    assert altered(HEADERS) == altered(None) == {True: [], False: []}
    assert altered({"of": "b"}) == altered({}) == {True: ["CRASH-1", "CRASH-7"], False: ["RACE-3"]}
    assert altered({}, None) == {True: ["CRASH-2", "CRASH-7"], False: ["RACE-3"]}
