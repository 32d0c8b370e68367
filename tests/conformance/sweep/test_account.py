"""A schedule is told in one sentence: who stood still, and what each client came to, in turn."""

from __future__ import annotations

from typing import Any

import pytest
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.sweep.account import account_of
from lowq_conformance.sweep.schedule import parse


def claimed(work: str | None) -> RecordedCall:
    """A claim that came to a work, or found nothing."""
    return RecordedCall("first", 0, "claim", {}, 0, ret=1, result=None if work is None else {"work": work})


@pytest.mark.parametrize(
    ("schedule", "works", "waits", "said"),
    [
        (
            "claim@7,claim",
            ["a", "b"],
            {},
            'another client\'s `claim()` returned "b"; the first went on and returned "a"',
        ),
        (
            "claim@7,claim",
            ["a", "a"],
            {"waited": True},
            'another client\'s `claim()` waited for it; the first went on and returned "a", and the other returned'
            ' "a", too',
        ),
        (
            "claim@7,claim,claim",
            ["a", "b", "a"],
            {},
            'another client\'s `claim()` returned "b", a third client\'s `claim()` returned "a"; the first went'
            ' on and returned "a", too',
        ),
        (
            "claim@7,claim,claim",
            ["a", "b", "b"],
            {"waited": True, "third_waited": True},
            "another client's `claim()` waited for it, a third client's `claim()` waited; the first went on and"
            ' returned "a", and the second returned "b", and then the third returned "b", too',
        ),
        (
            "claim@7,claim@9,claim",
            ["a", "a", "b"],
            {},
            "another client's `claim()` stood still before `q.py:9`, a third client's `claim()` returned \"b\"; the"
            ' first went on and returned "a", and then the second returned "a", too',
        ),
        (
            "claim@7,claim@9,claim",
            ["a", "b", None],
            {"third_waited": True},
            "another client's `claim()` stood still before `q.py:9`, a third client's `claim()` waited; the first"
            ' went on and returned "a", and then the second returned "b", and then the third found nothing',
        ),
    ],
)
def test_each_client_is_told_of_in_turn(schedule: str, works: list[str | None], waits: Any, said: str) -> None:
    told = account_of(parse(schedule), [claimed(work) for work in works], "q.py", "so it is broken", **waits)

    assert told == f"`claim()` stood still before `q.py:7`; {said}: so it is broken"


def test_that_many_tasks_had_gone_through_is_told() -> None:
    told = account_of(parse("claim@7,claim,worn=99"), [claimed("a"), claimed("b")], "q.py", "so it is broken")

    assert told.startswith("`claim()` stood still before `q.py:7` (when 99 tasks had gone through); another client's")
