"""What may have become of a task when a client was killed within a call that changes it, and what may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from lowq_conformance.storm.execution import AGAIN, END, Execution
from lowq_conformance.storm.fates import find_blocked, find_changed, follow_up, push_again
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.storm.to_history import build_history
from lowq_conformance.subject.loading import load

HOUR = timedelta(hours=1)
VERBS = ["extend", "dead_letter", "redrive", "cancel"]


class Told:
    """Calls that are written down as they are told."""

    def __init__(self) -> None:
        self.run = Execution(load("sqlite"), HOUR, False, 0, datetime(2026, 1, 1, tzinfo=UTC))

    def call(self, process: str, kind: str, args: dict[str, Any], result: Any = None, *, cut: bool = False) -> int:
        """A call of the process; its number."""
        calls = self.run.recording.calls
        number = sum(call.process == process for call in calls)
        at = 1000 * len(calls)
        if kind == "push":
            args = {"priority": 0, "not_before": None, **args}
        calls.append(RecordedCall(process, number, kind, args, at, None if cut else at + 1, result))
        return number

    def change(self, verb: str, *, cut: bool = True) -> None:
        """A client pushes a task and was killed within the call, or after it."""
        self.call("v0", "push", {"work": "g1"}, {"added": True, "id": "7"})
        if verb == "cancel":
            self.call("v0", "cancel", {"id": "7", "work": "g1"}, None if cut else True, cut=cut)
            return
        claim = self.call("v0", "claim", {}, {"work": "g1", "id": "7", "name": "7"})
        if verb == "extend":
            self.call("v0", "extend", {"claim": claim}, None if cut else True, cut=cut)
            return
        buried = verb == "dead_letter" and cut
        self.call("v0", "dead_letter", {"claim": claim, "id": "7"}, None if buried else True, cut=buried)
        if verb == "redrive":
            self.call("v0", "redrive", {"id": "7"}, None if cut else True, cut=cut)

    def come_out(self, who: str = END, *, acked: bool = True) -> None:
        """The task came out at the end."""
        claim = self.call(who, "claim", {}, {"work": "g1", "id": "7", "name": "7"})
        if acked:
            self.call(who, "ack", {"claim": claim}, True)

    def end(self, first: int, then: int, added: bool = True) -> set[str]:
        """The clauses that are broken where it came out so often before it was redriven, and so often afterwards."""
        for _ in range(first):
            self.come_out()
        for word, *arguments in follow_up(self.run.recording.calls):
            if word == "redrive":
                self.call(END, "redrive", {"id": arguments[0]}, not first)
        for _ in range(then):
            self.come_out()
        self.call(END, "push", {"work": "g1"}, {"added": added, "id": "8"})
        self.come_out()
        self.call(END, "push", {"work": "last"}, {"added": True, "id": "9"})
        return {charge.clause for charge in find_changed(self.run)}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_task_that_comes_out_once_is_as_before_or_as_after(
    told: Told, verb: str, when: Literal["before", "after"], cut: bool
) -> None:
    told.change(verb, cut=cut)

    assert told.end(int(when == "before"), int(when == "after")) == set()


@pytest.mark.parametrize(
    ("verb", "clauses"),
    [
        ("extend", {"CRASH-4", "CRASH-7"}),
        ("dead_letter", {"CRASH-4", "CRASH-7"}),
        ("redrive", {"CRASH-1", "CRASH-7"}),
        ("cancel", set()),
    ],
)
def test_a_task_that_never_comes_out_is_lost_unless_cancelled(told: Told, verb: str, clauses: set[str]) -> None:
    told.change(verb)

    assert told.end(0, 0) == clauses


@pytest.mark.parametrize("verb", VERBS)
def test_a_task_that_comes_out_twice_is_there_twice(told: Told, verb: str) -> None:
    told.change(verb)

    assert told.end(1, 1) == {"CRASH-5", "CRASH-7"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_task_that_is_gone_refuses_no_equal_one(told: Told, verb: str) -> None:
    told.change(verb)

    assert told.end(int(verb != "cancel"), 0, added=False) == {"CRASH-6"}


def test_a_task_whose_ack_was_not_taken_at_the_end_accuses_nobody(told: Told) -> None:
    told.change("extend")
    told.come_out(acked=False)

    assert told.end(1, 0) == set()


def test_nothing_is_lost_where_the_end_was_not_come_to(told: Told) -> None:
    told.change("extend")

    assert list(find_changed(told.run)) == []


def test_nothing_is_lost_where_the_last_client_was_refused_a_claim(told: Told) -> None:
    told.change("extend")
    told.call(END, "claim", {})
    told.run.recording.calls[-1].error = "OSError: no space"

    assert told.end(0, 0) == set()


def test_a_dead_task_whose_id_nobody_can_tell_may_stay_dead(told: Told) -> None:
    told.change("dead_letter")
    told.run.recording.calls[-1].args["id"] = None

    assert told.end(0, 0) == set()


CUT_OFF = {
    "push": {"CRASH-2", "CRASH-6", "CRASH-7"},
    "push_many": {"CRASH-3", "CRASH-6", "CRASH-7"},
    "ack": {"CRASH-6", "CRASH-7"},
    "claim": {"CRASH-6", "CRASH-7"},
}


def cut_off(told: Told, verb: str) -> None:
    """A client was killed within a call about the work."""
    if verb == "push_many":
        told.call("v0", verb, {"items": [{"work": "g1"}]}, cut=True)
        return
    told.call("v0", "push", {"work": "g1"}, {"added": True, "id": "7"}, cut=verb == "push")
    if verb != "push":
        claim = told.call("v0", "claim", {}, {"work": "g1", "id": "7", "name": "7"}, cut=verb == "claim")
    if verb == "ack":
        told.call("v0", "ack", {"claim": claim}, cut=True)


def push_what_was_cut_off(told: Told, *, added: bool | None, comes_out: bool) -> set[str]:
    """The clauses that are broken where what was cut off is pushed again after all."""
    told.call(END, "push", {"work": "last"}, {"added": True, "id": "9"})
    for word, *arguments in push_again(told.run.recording.calls):
        if word == "push":
            told.call(AGAIN, "push", {"work": arguments[0]}, {"added": added, "id": "8"})
    if comes_out:
        told.come_out(AGAIN)
    return {charge.clause for charge in find_blocked(told.run)}


@pytest.mark.parametrize("added", [False, None])
@pytest.mark.parametrize("verb", CUT_OFF)
def test_what_was_cut_off_keeps_no_equal_work_away(told: Told, verb: str, added: bool | None) -> None:
    cut_off(told, verb)

    assert push_what_was_cut_off(told, added=added, comes_out=False) == CUT_OFF[verb]


@pytest.mark.parametrize("added", [False, None, True])
@pytest.mark.parametrize("verb", CUT_OFF)
def test_a_work_that_comes_out_when_it_is_pushed_again_is_kept_away_by_nothing(
    told: Told, verb: str, added: bool | None
) -> None:
    cut_off(told, verb)

    assert push_what_was_cut_off(told, added=added, comes_out=True) == set()


def hold(told: Told, key: str | None = None) -> None:
    """A client has the task in hand, and is killed; another one acks it in the end."""
    told.call("v0", "push", {"work": "g1", **({} if key is None else {"key": key})}, {"added": True, "id": "7"})
    told.call("v0", "claim", {}, {"work": "g1", "id": "7", "name": "7"})
    for call in told.run.recording.calls:
        call.dead = 5000
    told.come_out()


def test_what_a_killed_client_had_in_hand_keeps_no_equal_work_away(told: Told) -> None:
    hold(told)

    assert push_what_was_cut_off(told, added=False, comes_out=False) == {"CRASH-6", "CRASH-7"}


def test_what_was_not_acked_in_the_end_may_keep_equal_works_away(told: Told) -> None:
    hold(told)
    told.run.recording.calls[-1].error = "LeaseLost: it ran out"

    assert push_what_was_cut_off(told, added=False, comes_out=False) == set()


def test_of_one_key_one_work_is_pushed_again(told: Told) -> None:
    hold(told, key="k")
    told.call("v1", "push", {"work": "g2", "key": "k"}, cut=True)

    assert push_again(told.run.recording.calls)[:-1] == [["push", "g2", 0, None, "k"]]


def test_without_leases_a_killed_client_may_keep_equal_works_away(told: Told) -> None:
    told.run = Execution(load("lowq_conformance.queues.sound.less:SQLite.lease"), HOUR, False, 0, told.run.now)
    cut_off(told, "ack")

    assert push_what_was_cut_off(told, added=False, comes_out=False) == set()


def test_what_is_pushed_again_after_all_excuses_no_loss(told: Told) -> None:
    told.call("v0", "push", {"work": "g1"}, {"added": True, "id": "7"})
    told.call("v0", "claim", {"lease": 60}, cut=True)

    push_what_was_cut_off(told, added=True, comes_out=True)

    works = [op.work for op in build_history(told.run).ops if op.kind == "claim"]
    assert '"g1"' not in works
