"""A history can be written down in any language, read back whole, and is refused by name where it makes no sense."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from random import Random

import pytest
from conformance.checker.simulator import simulate, varied
from lowq_conformance.checker.judge import check
from lowq_conformance.history.jsonlines import load, read, write
from lowq_conformance.history.operation import BadHistory
from lowq_conformance.history.spec import Spec

PUSH = {"process": "a", "op": "push", "call": 0, "ret": 3, "work": {"y": 1, "x": 2}, "added": True, "id": 7}
CLAIM = {"process": "b", "op": "claim", "call": 4, "ret": 5, "lease": 30, "work": {"x": 2, "y": 1}, "id": "7"}
ACK = {"process": "b", "op": "ack", "call": 6, "ret": 8, "claim": 2, "taken": True}
EMPTY = {"process": "a", "op": "claim", "call": 9, "ret": 9.5, "empty": True}


def lines(*told: object) -> list[str]:
    return [json.dumps(line) for line in told]


def test_a_history_written_by_hand_is_read_and_judged() -> None:
    ops, spec = read(lines(PUSH, CLAIM, ACK, EMPTY))

    assert spec is None
    assert [op.result for op in ops] == ["added", "task", "ok", "empty"]
    assert ops[0].work == ops[1].work
    assert check(ops, Spec()).verdict == "proved"


def test_a_claim_that_may_end_early_or_never_is_read_as_it_was_written() -> None:
    ops, _ = read(lines(PUSH, {**CLAIM, "at_most": None}))

    again, _ = read(write(ops))

    assert (again[1].lease, again[1].at_most) == (ops[1].lease, ops[1].at_most) == (30, inf)


def test_the_first_line_may_say_what_the_queue_promises() -> None:
    _, spec = read(lines({"spec": {"dedupe": "until_done", "grace": 5}}, PUSH))

    assert spec == Spec("until_done", grace=5)


def test_a_settle_names_its_claim_by_its_line_or_by_a_name() -> None:
    for name, line in (("mine", {**CLAIM, "name": "mine"}), (2, CLAIM)):
        ops, _ = read(lines(PUSH, line, {**ACK, "claim": name}))
        assert ops[2].claim == ops[1].number


def test_what_never_returned_or_is_said_to_be_unknown_has_no_answer() -> None:
    ops, _ = read(lines({**PUSH, "ret": None}, {**CLAIM, "unknown": True, "call": 5, "ret": 6}))

    assert [(op.result, op.ret) for op in ops] == [(None, float("inf")), (None, 6)]


def test_an_explicit_key_decides_what_is_equal() -> None:
    ops, _ = read(lines({**PUSH, "key": "k"}, {**PUSH, "work": 5, "key": "k", "call": 4, "ret": 5, "added": False}))

    assert ops[0].equal == ops[1].equal
    assert check(ops, Spec("until_done")).verdict == "proved"


def test_reading_what_was_written_gives_the_same_history(tmp_path: Path) -> None:
    for seed in range(12):
        random = Random(seed)
        spec, drawn = varied(random, kills=0.05)
        ops = simulate(random, spec, drawn)
        for op in ops:
            op.work = json.dumps(op.work) if op.work and op.result != "empty" else ""
            op.equal = op.work if op.kind == "push" else ""
        file = tmp_path / "history"
        file.write_text("\n".join(write(ops, spec)))

        again, told = load(file)

        assert told == spec
        assert [(op.kind, op.call, op.ret, op.result, op.id) for op in again] == [
            (op.kind, op.call, op.ret, op.result, op.id) for op in ops
        ]
        assert check(again, spec).verdict == check(ops, spec).verdict


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ([["push"]], "line 1: expected an object"),
        ([{**PUSH, "op": "peek"}], "line 1: op: expected push, claim"),
        ([{**PUSH, "call": "0"}], "line 1: call: expected a number, got '0'"),
        ([{"process": "a", "op": "push", "call": 0, "ret": 1, "work": 1}], "line 1: it has no 'added'"),
        ([PUSH, CLAIM, {**ACK, "claim": 9}], "line 3: claim: no line before this one has the name 9"),
        ([PUSH, {**CLAIM, "ret": 3}], "call <= ret"),
        ([PUSH, {**CLAIM, "process": "a", "call": 1}], "called it while its line 1 was open"),
        ([PUSH, CLAIM, {**ACK, "call": 4.5}], "was open"),
        ([PUSH, CLAIM, {**ACK, "process": "c", "call": 4.5}], "before that returned"),
        ([PUSH, {"spec": {}}], "line 2: the spec belongs in the first line"),
        ([{"spec": {"speed": 3}}], "line 1: spec: expected an object with some of"),
    ],
)
def test_a_history_that_makes_no_sense_is_refused_by_name(told: list[object], says: str) -> None:
    with pytest.raises(BadHistory) as caught:
        read(lines(*told))

    assert says in str(caught.value)
