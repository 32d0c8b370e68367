"""DELIVER-12 and 13: a queue that is full, and a look at what is next; DELIVER-1, where a queue fixes its room."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import (
    expect,
    expect_named_error,
    expect_refusal,
    gives_all,
    nothing,
    something,
    takes,
)
from lowq_conformance.cases.test_others import compare_by
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

ROOM = 3
MUCH = 100
"""Room beyond which it takes too long to see that there is no more."""


@pytest.fixture
def small(subject: Subject, place: Path) -> Client:
    """A client of a queue with room for three."""
    return subject.open(place, capacity=ROOM)


def is_refused(q: Client, work: str) -> None:
    """The queue is full, and says so by a named error."""
    try:
        answer = q.push(work)
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
        return
    expect(q, answer.added is False, "it to be refused: the queue is full")


def takes_more(q: Client, work: str) -> bool:
    """Whether the queue, which has the tasks that it has room for, took one more: it may, or refuses it by name."""
    try:
        return q.push(work).added is not False
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
        return False


def full(q: Client, room: int = ROOM) -> list[str]:
    """The queue is full of these works."""
    works = [f"work {number}" for number in range(room)]
    for work in works:
        q.push(work)
    return works


@pytest.mark.clause("DELIVER-12")
def test_a_full_queue_refuses_a_push_and_drops_nothing(small: Client) -> None:
    works = full(small)
    is_refused(small, "too many")
    is_refused(small, "and again")

    gives_all(small, *works)


@pytest.mark.clause("DELIVER-12")
def test_there_is_room_when_a_task_is_done(small: Client) -> None:
    works = full(small)
    is_refused(small, "too many")
    held = something(small)
    small.ack(held)
    works.remove(held.work)
    small.push("again")

    gives_all(small, *works, "again")


@pytest.mark.clause("DELIVER-12")
@pytest.mark.needs("lease")
def test_what_runs_out_in_a_full_queue_is_not_dropped(small: Client) -> None:
    """Whether what is in hand takes room is left open."""
    lease = small.subject.short_lease
    works = full(small)
    something(small, lease_for=lease)
    if takes_more(small, "one more"):
        works.append("one more")
    run_out(small, lease)

    gives_all(small, *works)


@pytest.mark.clause("DELIVER-12")
@pytest.mark.needs("not_before")
def test_what_falls_due_in_a_full_queue_is_not_dropped(small: Client) -> None:
    """Whether what is scheduled takes room is left open."""
    due = later(small)
    works = [f"later {number}" for number in range(ROOM)]
    for work in works:
        small.push(work, not_before=due)
    while len(works) < 2 * ROOM and takes_more(small, f"now {len(works)}"):
        works.append(f"now {len(works)}")
    fall_due(small, due)

    gives_all(small, *works)


@pytest.mark.clause("DELIVER-12")
@pytest.mark.needs("batch")
def test_a_batch_for_which_there_is_no_room_is_refused_whole(small: Client) -> None:
    """What an equal item is to a full queue is left open: all are different."""
    small.push("first")
    refused = expect_refusal(small.push_many, [Item(f"item {number}") for number in range(ROOM)])
    expect_named_error(small, refused)

    gives_all(small, "first")


@pytest.mark.clause("DELIVER-12")
@pytest.mark.parametrize("room", [1, 5])
def test_the_limit_that_is_given_at_opening_is_the_one_that_holds(subject: Subject, place: Path, room: int) -> None:
    q = subject.open(place, capacity=room)
    works = full(q, room)
    is_refused(q, "too many")

    gives_all(q, *works)


@pytest.mark.clause("DELIVER-12")
@pytest.mark.needs("persistent")
def test_the_limit_holds_after_reopening(subject: Subject, small: Client, place: Path) -> None:
    works = full(small)
    if small.has("close"):
        small.close()
    again = subject.open(place, capacity=ROOM)
    is_refused(again, "too many")

    gives_all(again, *works)


@pytest.mark.clause("DELIVER-1")
def test_where_the_queue_fixes_its_room_that_much_is_there_again_and_again(q: Client) -> None:
    room = q.subject.traits.room
    if room is None:
        raise NotPromised("there is room for all that is pushed")
    for turn in range(2):
        works = [f"{turn}: work {number}" for number in range(min(room, MUCH))]
        for work in works:
            q.push(work)
        if room <= MUCH and takes_more(q, "one more"):
            works.append("one more")

        gives_all(q, *works)


def peeks(q: Client, *works: str) -> None:
    """A look at what is next shows one of these works, or None where there are none."""
    seen = q.peek()
    if not works:
        expect(q, seen is None, "None")
    elif seen is None and "prompt" not in q.promises:
        raise NotPromised("an empty answer may be false")
    else:
        expect(q, seen is not None and work_text(seen.work) in map(work_text, works), f"one of {', '.join(works)}")


def listing(q: Client) -> list[Any]:
    """Every task that is listed, as far as it is promised."""
    return [compare_by(q, task) for task in q.tasks()]


@pytest.mark.clause("DELIVER-13")
def test_peeking_changes_nothing(q: Client, other: Client) -> None:
    for work in ("a", "b", "c"):
        q.push(work)
    listed, counts = (listing(q), q.count()) if "inspect" in q.promises else (None, None)
    for client in (q, other, q, other, q):
        peeks(client, "a", "b", "c")
    if listed is not None:
        expect(q, q.count() == counts, f"{counts}")
        expect(q, listing(q) == listed, "the listing as before")
    held = something(other)
    expect(q, held.attempts in (None, 1), "a first attempt")
    left = {"a", "b", "c"} - {held.work}
    if not q.subject.traits.one_at_a_time:
        peeks(q, *left)
    other.ack(held)

    gives_all(q, *sorted(left))


@pytest.mark.clause("DELIVER-13")
def test_a_look_at_an_empty_queue_shows_nothing(q: Client) -> None:
    peeks(q)
    q.push("a")
    peeks(q, "a")
    q.ack(takes(q, "a"))

    peeks(q)
    nothing(q)


@pytest.mark.clause("DELIVER-13")
@pytest.mark.needs("fifo")
def test_a_look_keeps_nobodys_place(q: Client, other: Client) -> None:
    q.push("a")
    q.push("b")
    peeks(q, "a", "b")
    q.push("c")

    for work in ("a", "b", "c"):
        other.ack(takes(other, work))


@pytest.mark.clause("DELIVER-13")
@pytest.mark.needs("not_before")
def test_a_look_shows_nothing_that_is_not_due(q: Client) -> None:
    q.push("a", not_before=later(q, q.subject.traits.max_delay or timedelta(days=1)))
    peeks(q)
    q.push("b")

    peeks(q, "b")


@pytest.mark.clause("DELIVER-13")
@pytest.mark.needs("priority")
def test_a_look_shows_what_has_the_higher_priority(q: Client) -> None:
    high = q.subject.traits.bound_priority(1)
    if high == 0:
        raise NotPromised("there is no higher priority")
    q.push("low")
    q.push("high", priority=high)

    peeks(q, "high")
