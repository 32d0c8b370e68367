"""A schedule is spelled in one way, and read again as it was."""

from __future__ import annotations

import pytest
from lowq_conformance.sweep.schedule import BadSchedule, Point, Scene, Schedule, parse


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("claim@212,claim", Schedule(Scene("claim", "claim"), Point("", 212))),
        ("claim,claim", Schedule(Scene("claim", "claim"), None)),
        ("ack@rows.py:61#2+1,claim,late", Schedule(Scene("ack", "claim", True), Point("rows.py", 61, 2, 1))),
        ("cancel@40,claim", Schedule(Scene("cancel", "claim"), Point("", 40))),
        ("extend@50,claim,late", Schedule(Scene("extend", "claim", True), Point("", 50))),
        ("claim@40,release,claim", Schedule(Scene("claim", "release", third="claim"), Point("", 40))),
        ("claim@40,claim@51,claim,late,threads", Schedule(
            Scene("claim", "claim", True, "claim"), Point("", 40), Point("", 51), "threads"
        )),
        ("ack@40,ack,worn=99", Schedule(Scene("ack", "ack", worn=99), Point("", 40))),
        ("push@40,push,full", Schedule(Scene("push", "push", full=True), Point("", 40))),
        ("rekey@40,claim", Schedule(Scene("rekey", "claim"), Point("", 40))),
        ("ack@40,claim,stopped", Schedule(Scene("ack", "claim"), Point("", 40), stopped=True)),
        ("push@a/__init__.py:7,repush@9,threads", Schedule(
            Scene("push", "repush"), Point("a/__init__.py", 7), Point("", 9), "threads"
        )),
    ],
)  # fmt: skip
def test_a_schedule_is_read_as_it_is_spelled(text: str, schedule: Schedule) -> None:
    assert parse(text) == schedule
    assert str(schedule) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "claim", "claim@x,claim", "claim@1,steal", "claim@1,claim,often", "claim@,claim"),
        *("claim,claim,stopped", "claim@1,claim@2,stopped", "claim@1,claim,threads,stopped"),
        "cancel@1,claim,stopped",
        "push@1,claim,full",
        *("ack@1,ack,worn", "ack@1,ack,worn=-1", "ack@1,ack,worn=x"),
        *("claim@1,claim,claim@2", "claim@1,claim,close", "extend@1,claim,claim", "claim@1,claim,claim,claim"),
        *("claim@1,claim,claim,stopped", "claim@1,claim,claim,fork", "claim@1,claim,claim,coroutines"),
    ],
)
def test_what_is_no_schedule_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadSchedule, match="is no schedule"):
        parse(text)
