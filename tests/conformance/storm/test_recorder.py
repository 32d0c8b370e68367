"""The recording of what clients do: nothing that was begun is missing, and what came back is what was answered."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.storm.recorder import SUFFIX, Log, Recorder
from lowq_conformance.storm.recorder import load as loaded
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.loading import load
from lowq_conformance.subject.subject import Subject

from lowq import Item

MINUTE = timedelta(minutes=1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.fixture
def subject() -> Iterator[Subject]:
    subject = load("memory")
    yield subject
    subject.close()


@pytest.fixture
def client(subject: Subject, place: Path) -> Client:
    return subject.open(place)


@pytest.fixture
def recorder(client: Client, tmp_path: Path) -> Recorder:
    return Recorder(client, Log(tmp_path, "a"))


def test_each_call_is_there_with_its_answer_and_both_of_its_times(recorder: Recorder, tmp_path: Path) -> None:
    recorder.push(Item({"x": 1}))
    held = recorder.claim(lease_for=MINUTE)
    assert held is not None
    recorder.ack(held)
    assert recorder.claim(lease_for=MINUTE) is None

    calls = loaded(tmp_path).calls

    assert [(call.number, call.kind, call.result) for call in calls] == [
        (0, "push", {"added": True, "id": held.id}),
        (1, "claim", {"work": {"x": 1}, "id": held.id, "name": held.id, "attempts": 1, "headers": {}}),
        (2, "ack", True),
        (3, "claim", None),
    ]
    assert calls[2].args == {"claim": 1}
    times = [time for call in calls for time in (call.call, call.ret or 0)]
    assert times == sorted(times)


def test_a_batch_is_one_call(recorder: Recorder, tmp_path: Path) -> None:
    recorder.push_many([Item("x"), Item("x"), Item("y", priority=3)])

    (call,) = loaded(tmp_path).calls

    assert [item["work"] for item in call.args["items"]] == ["x", "x", "y"]
    assert [item["priority"] for item in call.args["items"]] == [0, 0, 3]
    assert [answer["added"] for answer in call.result] == [True, False, True]


def test_what_was_refused_is_there_with_what_was_raised(recorder: Recorder, tmp_path: Path) -> None:
    recorder.push(Item("x"))
    held = recorder.claim(lease_for=MINUTE)
    assert held is not None
    recorder.ack(held)

    with pytest.raises(Refused):
        recorder.ack(held)

    last = loaded(tmp_path).calls[-1]
    assert (last.kind, last.result) == ("ack", None)
    assert last.error is not None
    assert last.error.startswith("LeaseLost: ")


def test_a_call_is_written_down_before_it_is_made(
    recorder: Recorder, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int | None]] = []
    monkeypatch.setattr(client, "push", lambda *_, **__: seen.extend((c.kind, c.ret) for c in loaded(tmp_path).calls))

    with pytest.raises(AttributeError):
        recorder.push(Item("x"))

    assert seen == [("push", None)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_that_a_kill_has_cut_is_no_line(recorder: Recorder, tmp_path: Path, cut: int) -> None:
    recorder.push(Item("x"))
    file = tmp_path / f"a{SUFFIX}"
    os.truncate(file, file.stat().st_size - cut)

    (call,) = loaded(tmp_path, {"a": 7}).calls

    assert (call.kind, call.ret, call.dead) == ("push", None, 7)


def test_the_logs_of_several_threads_are_one_recording_in_the_order_of_their_calls(
    subject: Subject, place: Path, tmp_path: Path
) -> None:
    a, b = (Recorder(subject.open(place), Log(tmp_path, name)) for name in "ab")
    for recorder in (a, b, b, a):
        recorder.push(Item(recorder.log.process))

    calls = loaded(tmp_path).calls

    assert [call.process for call in calls] == ["a", "b", "b", "a"]
