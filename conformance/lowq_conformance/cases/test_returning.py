"""What a task carries, and what ends with it, is the same in whichever way it came to wait.

Where tasks of each state are in a table, list or file of their own they are moved, and something may stay behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import (
    expect,
    expect_refusal,
    forgets,
    gives,
    gives_all,
    nothing,
    require,
    require_return,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.returning import (
    CLAIMED,
    ENDS,
    WAYS,
    End,
    Way,
    each_of,
    fall_all_due,
    redrive_all,
)
from lowq_conformance.cases.test_capacity import ROOM, full, is_refused
from lowq_conformance.cases.timing import later, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

MANY = 120
"""More than queues move in one step."""


@pytest.mark.clause("ORDER-3")
@each_of(WAYS)
def test_priority_decides_however_tasks_came_to_wait(q: Client, come_back: Way) -> None:
    middle, high = (q.subject.traits.bound_priority(priority) for priority in (1, 2))
    if not 0 < middle < high:
        raise NotPromised("there are no two priorities above the default")
    come_back(q, {"low": {}, "middle": {"priority": middle}})
    q.push("high", priority=high)

    gives(q, "high", "middle", "low")


@pytest.mark.clause("ORDER-3")
@each_of({name: WAYS[name] for name in ("ran out", "released until later", "fallen due")})
def test_priority_decides_among_many_that_came_to_wait_at_once(q: Client, come_back: Way) -> None:
    high = q.subject.traits.bound_priority(1)
    if high == 0:
        raise NotPromised("there is no higher priority")
    come_back(q, {**{f"low {number}": {} for number in range(MANY)}, "high": {"priority": high}})

    takes(q, "high")


@pytest.mark.clause("LEASE-3")
@each_of(CLAIMED)
def test_attempts_count_the_claims_however_a_task_came_back(q: Client, come_back: Way) -> None:
    come_back(q, {"a": {}})
    held = takes(q, "a")

    expect(q, require(held.attempts, "attempts") == 2, f"attempts 2, not {held.attempts}")


@pytest.mark.clause("LEASE-3")
@pytest.mark.needs("extend")
def test_an_extension_is_no_attempt_and_takes_none_back(q: Client) -> None:
    require_return(q.subject, 2)
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)
    held = takes(q, "a", lease_for=lease)
    try:
        q.extend(held, lease_for=lease)
    except Refused as refusal:
        raise NotPromised("a lease is not made longer so soon") from refusal
    run_out(q, lease)
    held = takes(q, "a")

    expect(q, require(held.attempts, "attempts") == 3, f"attempts 3, not {held.attempts}")


def refuse_equal(q: Client, work: str) -> None:
    """An equal work is not added."""
    if q.push(work).added is True:
        raise wrong(q, "not added")


@pytest.mark.clause("DEDUPE-12")
@each_of(CLAIMED)
def test_what_came_back_stands_however_it_did(q: Client, other: Client, come_back: Way) -> None:
    come_back(q, {"a": {}})
    refuse_equal(other, "a")
    gives(q, "a")

    nothing(q)


@pytest.mark.clause("DEDUPE-1")
@each_of({"fallen due": (fall_all_due, ("not_before",)), "redriven": (redrive_all, ("dead_letter",))})
def test_what_waits_stands_however_it_came_to(q: Client, other: Client, come_back: Way) -> None:
    if come_back is redrive_all and q.subject.traits.redriven == "any":
        raise NotPromised("what is redriven may wait beside equals")
    come_back(q, {"a": {}})
    refuse_equal(other, "a")
    gives(q, "a")

    nothing(q)


def may_be_pushed_again(q: Client, work: Any) -> None:
    """The work is added, comes out, and is done."""
    if q.push(work).added is False:
        raise wrong(q, "added")
    gives(q, work)


@pytest.mark.clause("DEDUPE-5")
@each_of(WAYS)
def test_after_ack_the_work_may_be_pushed_again_however_it_came_to_wait(q: Client, come_back: Way) -> None:
    forgets(q, "done")
    come_back(q, {"a": {}})
    gives(q, "a")

    may_be_pushed_again(q, "a")
    nothing(q)


@pytest.mark.clause("DEDUPE-7")
@pytest.mark.needs("dead_letter")
@each_of(WAYS)
def test_after_dead_letter_the_work_may_be_pushed_again_however_it_came_to_wait(q: Client, come_back: Way) -> None:
    forgets(q, "dead", "done")
    come_back(q, {"a": {}})
    q.dead_letter(takes(q, "a"))

    may_be_pushed_again(q, "a")
    nothing(q)


@pytest.mark.clause("DEDUPE-7")
@pytest.mark.needs("cancel")
@each_of(WAYS, "redriven")
def test_after_cancel_the_work_may_be_pushed_again_however_it_came_to_wait(q: Client, come_back: Way) -> None:
    """What was redriven may have another id."""
    forgets(q, "cancelled", "done")
    come_back(q, {"a": {}})
    cancel_by_duplicate(q)

    may_be_pushed_again(q, "a")
    nothing(q)


@pytest.mark.clause("DEDUPE-7")
@pytest.mark.needs("cancel", "not_before")
def test_after_cancel_before_its_time_the_work_may_be_pushed_again(q: Client) -> None:
    forgets(q, "cancelled", "done")
    id = require(q.push("a", not_before=later(q)).id, "the id of what was pushed")
    expect(q, q.cancel(id) is not False, "True")

    may_be_pushed_again(q, "a")
    nothing(q)


def cancel_by_duplicate(q: Client) -> None:
    """What waits is cancelled, by the id that a refused duplicate tells. Raises NotPromised where it is not."""
    answer = q.push("a")
    if answer.added is True:
        raise wrong(q, "not added")
    try:
        done = q.cancel(require(answer.id, "the id of what stands"))
    except Refused:
        done = False
    if done is not True:
        raise NotPromised("what came back is not cancelled")


def use(q: Client) -> None:
    """Some tasks that stood together have ended, out of their order."""
    works = [f"used {number}" for number in range(4)]
    for work in works:
        q.push(work)
    held = [something(q) for _ in works]
    for index in (1, 3, 0, 2):
        q.ack(held[index])


@pytest.mark.clause("DELIVER-1")
@each_of(ENDS, called="end")
def test_what_is_pushed_when_others_have_ended_is_all_there(q: Client, other: Client, end: End) -> None:
    """Who keeps tasks in slots or under numbers that are used again frees what has ended once, and not more often."""
    for number in range(3):
        end(q, f"gone {number}")
    works = [f"work {number}" for number in range(7)]
    for number, work in enumerate(works):
        (q if number < 4 else other).push(work)

    gives_all(other, *works)


@pytest.mark.clause("ORDER-1")
def test_what_is_pushed_when_others_have_ended_keeps_its_order(q: Client) -> None:
    use(q)
    works = [f"work {number}" for number in range(7)]
    for work in works:
        q.push(work)

    gives(q, *works)


@pytest.mark.clause("ORDER-10")
def test_a_batch_that_is_pushed_when_others_have_ended_keeps_its_order(q: Client) -> None:
    use(q)
    works = [f"work {number}" for number in range(7)]
    q.push_many([Item(work) for work in works])

    gives(q, *works)


@pytest.mark.clause("DELIVER-12")
@each_of(ENDS, called="end")
def test_there_is_as_much_room_as_before_when_others_have_ended(subject: Subject, place: Path, end: End) -> None:
    """No more and no less: how many there are is not counted beside them, or rightly."""
    q = subject.open(place, capacity=ROOM)
    for number in range(2 * ROOM):
        end(q, f"gone {number}")

    has_room_as_before(q)


@pytest.mark.clause("DELIVER-12")
@pytest.mark.needs("batch")
def test_there_is_as_much_room_as_before_when_a_batch_did_not_fit(subject: Subject, place: Path) -> None:
    q = subject.open(place, capacity=ROOM)
    q.push("first")
    for _ in range(2):
        expect_refusal(q.push_many, [Item(f"item {number}") for number in range(ROOM)])
    gives(q, "first")

    has_room_as_before(q)


def has_room_as_before(q: Client) -> None:
    """ROOM tasks find room, one more is refused, and all of them come out."""
    works = full(q)
    is_refused(q, "too many")

    gives_all(q, *works)


@pytest.mark.clause("BATCH-1")
@pytest.mark.needs("capacity")
def test_a_batch_that_did_not_fit_leaves_its_works_to_be_pushed(subject: Subject, place: Path) -> None:
    """Nothing of it stays behind that would refuse them."""
    q = subject.open(place, capacity=ROOM)
    q.push("first")
    expect_refusal(q.push_many, [Item(f"item {number}") for number in range(ROOM)])
    gives(q, "first")
    for number in range(ROOM):
        if q.push(f"item {number}").added is False:
            raise wrong(q, "added")

    gives_all(q, *(f"item {number}" for number in range(ROOM)))
