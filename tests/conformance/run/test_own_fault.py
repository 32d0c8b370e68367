"""What fails in the suite's own code is never told of a queue."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.contract.outcomes import Broken, Refused
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.history.work_text import work_text
from lowq_conformance.run.own_fault import own_fault
from lowq_conformance.run.runner import run
from lowq_conformance.storm.fork_server import AgentFailed
from lowq_conformance.subject.turn_log import TurnLog, depth

HARNESSES = Path(__file__).parents[1] / "harnesses.py"


def raised_by(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_of_the_suites_own_code_is_its_own() -> None:
    assert (own_fault(raised_by(lambda: TurnLog("/nowhere").end("turn"))) or "").startswith("in subject/turn_log.py:")


def test_an_error_of_pythons_library_that_the_suite_called_is_its_own() -> None:
    assert (own_fault(raised_by(lambda: TurnLog("\0").begin("a"))) or "").startswith("in subject/turn_log.py:")


def test_an_error_of_a_stranger_that_the_suite_called_is_not() -> None:
    class Strange(dict[str, Any]):
        def values(self) -> Any:
            raise KeyError("a stranger's")

    assert own_fault(raised_by(lambda: depth([Strange(a=1)]))) is None


@pytest.mark.parametrize("error", [Broken("x"), Refused("x", None), AssertionError("x"), AgentFailed("a stranger's")])
def test_what_a_test_says_of_the_queue_is_not(error: Exception) -> None:
    assert own_fault(error) is None


def test_an_agent_tells_where_the_suite_failed() -> None:
    assert own_fault(AgentFailed("x", "in storm/performer.py:1")) == "in storm/performer.py:1"


def test_a_queue_that_fails_before_anything_can_be_judged_is_accused() -> None:
    (report,) = run([f"{HARNESSES}:Unfinished"], only=["DELIVER-1", "DELIVER-4"], seed=1, jobs=2)

    assert report["DELIVER-1"].verdict == Verdict.BROKEN
    assert "NameError" in report["DELIVER-1"].evidence


def test_a_queue_whose_own_code_fails_is_accused() -> None:
    (report,) = run([f"{HARNESSES}:Unreadable"], only=["DELIVER-1"], seed=1)

    assert report["DELIVER-1"].verdict == Verdict.BROKEN
    assert "KeyError" in report["DELIVER-1"].evidence


@pytest.mark.parametrize("kind", ["lists", "objects"])
def test_a_work_of_any_depth_has_a_text(kind: str) -> None:
    work: Any = "core"
    for _ in range(100_000):
        work = [work] if kind == "lists" else {"in": work}

    text = work_text(work)

    assert text.count("core") == 1
    assert len(text) == 6 + 100_000 * (2 if kind == "lists" else 7)


def test_a_text_without_recursion_is_the_same_text() -> None:
    work = {"b": [1, 2.5, "é", None, {"y": [], "x": {}}], "a": [[True], "\0"]}
    deep: Any = work
    for _ in range(2000):
        deep = [deep]

    assert work_text(deep) == "[" * 2000 + json.dumps(work, sort_keys=True, separators=(",", ":")) + "]" * 2000


def test_a_work_that_is_no_json_has_a_text_that_no_work_has() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)

    assert [work_text(work).partition(":")[0] for work in (b"x", {1, 2}, cycle, object())] == ["no JSON"] * 4


def test_integers_of_any_length_have_texts_of_their_own() -> None:
    assert len({work_text([10**5000 + more]) for more in (0, 1)} | {work_text([10**4000])}) == 3


def test_a_turn_at_a_work_too_deep_to_be_written_down_is_told_all_the_same(tmp_path: Path) -> None:
    work: Any = "core"
    for _ in range(5000):
        work = [work]
    log = TurnLog(tmp_path)

    log.end(log.begin(work))
    log.end(log.begin([10**5000]))
    log.end(log.begin("a"))

    assert [(turn.work, turn.untold, turn.done) for turn in log.turns()] == [
        (None, True, True),
        (None, True, True),
        ("a", False, True),
    ]
