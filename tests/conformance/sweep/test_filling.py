"""Two push at once where there is room for one task more: who takes it twice is found, and nobody else is accused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
from lowq_conformance.contract.profile import DEFAULT
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.subject.loading import load
from lowq_conformance.sweep.filling import in_doubt
from lowq_conformance.sweep.schedule import How, parse
from lowq_conformance.sweep.sweep import Sweep

Made = Callable[[str, How], Sweep]


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Made]:
    """A sweep of pushes over a target that has room for one task more."""
    folders = (tmp_path / f"{number}" for number in range(10_000))

    def folder() -> Path:
        made = next(folders)
        made.mkdir()
        return made

    with Agents() as agents:
        profile = replace(DEFAULT, sweeping=inf)
        yield lambda target, how: Sweep(load(target), agents, folder, how, profile, asked=["DELIVER-12"], full=True)


@pytest.mark.parametrize("how", ["processes", "threads"])
def test_a_sound_queue_gives_the_last_room_to_one_or_to_nobody(sweep: Made, how: How) -> None:
    swept = sweep("lowq_conformance.queues.sound.bounded:WithRoom", how).run(print)

    assert swept.found == {}
    assert all(swept.made.values())
    assert {scene.full for scene in swept.made} == {True}


def test_two_that_take_the_last_room_do_so_again(sweep: Made) -> None:
    target = BROKEN["CountsBeforeItPushes"].target
    charge, schedule = sweep(target, "processes").run(print).found["DELIVER-12"]

    assert charge.said.endswith(": 4 tasks are in a queue with room for 3")
    assert str(schedule).endswith(",push,full")
    assert "DELIVER-12" in sweep(target, "processes").again(parse(str(schedule))).found


@pytest.mark.parametrize("added", [True, None])
def test_what_was_not_refused_is_in_no_doubt(added: bool | None) -> None:
    call = RecordedCall("first", 0, "push", {"work": "a"}, 0, 1, {"added": added, "id": "1"})

    assert in_doubt(call) == call


def test_of_a_push_that_was_refused_it_is_open_whether_it_was_kept() -> None:
    refused = {"added": False, "id": None}
    one = RecordedCall("first", 0, "push", {"work": "a"}, 0, 1, refused)
    many = RecordedCall("first", 0, "push_many", {"items": []}, 0, 1, [refused])

    assert [in_doubt(call).error for call in (one, many)] == ["no room", "no room"]
