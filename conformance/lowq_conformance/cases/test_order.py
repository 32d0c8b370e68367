"""ORDER: which task comes next."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import expect, gives, require, something, takes
from lowq_conformance.cases.many import in_time, push_together
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import NotObserved
from lowq_conformance.subject.client import Client

HOUR = timedelta(hours=1)
THOUSAND = 1000
"""So many works wrap around what has three digits."""


@pytest.mark.clause("ORDER-1")
def test_first_in_first_out(q: Client) -> None:
    for work in ("b", "c", "a"):
        q.push(work)

    gives(q, "b", "c", "a")


@pytest.mark.clause("ORDER-1")
def test_first_in_first_out_of_many(q: Client) -> None:
    works = [f"work {number}" for number in range(120)]
    for work in works:
        q.push(work)

    gives(q, *works)


@pytest.mark.clause("ORDER-1")
def test_what_is_pushed_between_claims_waits_its_turn(q: Client) -> None:
    q.push("a")
    q.push("b")
    gives(q, "a")
    q.push("c")
    gives(q, "b")
    q.push("d")

    gives(q, "c", "d")


@pytest.mark.clause("ORDER-2")
def test_what_was_pushed_first_comes_out_first_whoever_pushed(q: Client, other: Client) -> None:
    q.push("a")
    other.push("b")
    q.push("c")
    other.push("d")

    gives(other, "a", "b")
    gives(q, "c", "d")


@pytest.mark.clause("ORDER-3")
def test_the_higher_priority_comes_first(q: Client) -> None:
    for priority in (1, 10, 5, 9, 2):
        q.push(f"priority {priority}", priority=priority)

    gives(q, *(f"priority {priority}" for priority in (10, 9, 5, 2, 1)))


@pytest.mark.clause("ORDER-3")
def test_a_priority_pushed_later_comes_before_what_waits(q: Client) -> None:
    q.push("waits", priority=1)
    q.push("waits too", priority=1)
    something(q)
    q.push("urgent", priority=2)

    gives(q, "urgent")


@pytest.mark.clause("ORDER-3")
@pytest.mark.needs("cancel")
def test_the_higher_priority_comes_first_where_others_were_cancelled(q: Client, random: Random) -> None:
    """A line that is kept as a heap has the low ones on one side here, where some are cancelled: what fills their
    gaps from its end is of the high ones."""
    waiting = dict[str, tuple[int, Any]]()
    for level in range(6):
        for place in range(2**level):
            work, high = f"work {level}.{place}", 2 * place >= 2**level or level == 0
            priority = q.subject.traits.bound_priority(50 * high - level)
            waiting[work] = priority, require(q.push(work, priority=priority).id, "the id of what was pushed")
    low = [work for work, (priority, _) in waiting.items() if priority < -2]
    for work in random.sample(low, min(len(low), 12)):
        q.cancel(waiting.pop(work)[1])
    while waiting:
        held = something(q)
        highest = max(priority for priority, _ in waiting.values())
        found, _ = waiting.pop(held.work, (None, None))
        expect(q, found == highest, f"a task of the priority {highest}, which waits")
        q.ack(held)


@pytest.mark.clause("ORDER-4")
@pytest.mark.parametrize("priority", [0, 3, -3])
def test_push_order_within_a_priority(q: Client, priority: int) -> None:
    q.push("last", priority=priority - 1)
    for work in ("b", "c", "a"):
        q.push(work, priority=priority)
    q.push("first", priority=priority + 1)

    gives(q, "first", "b", "c", "a", "last")


@pytest.mark.clause("ORDER-4")
@pytest.mark.parametrize("priority", [2**31 - 1, -(2**31)], ids=["the highest", "the lowest"])
def test_push_order_within_an_extreme_priority(q: Client, priority: int) -> None:
    """More than ten, whose numbers are in another order as text."""
    works = [f"work {number}" for number in range(12)]
    for work in works:
        q.push(work, priority=q.subject.traits.bound_priority(priority))

    gives(q, *works)


@pytest.mark.clause("ORDER-5")
def test_every_priority_counts(q: Client, random: Random) -> None:
    priorities = [2**31 - 1, 2**31 - 2, 2**24 + 1, 2**24, 65536, 2, 1, 0, -1, -2, -65536, -(2**31) + 1, -(2**31)]
    for turn, order in enumerate((priorities[::-1], random.sample(priorities, len(priorities)))):
        for priority in order:
            q.push(f"{turn}: priority {priority}", priority=priority)

        gives(q, *(f"{turn}: priority {priority}" for priority in priorities))


@pytest.mark.clause("ORDER-5")
def test_no_priority_is_zero(q: Client) -> None:
    q.push("below", priority=-1)
    q.push("without")
    q.push("above", priority=1)

    gives(q, "above", "without", "below")


@pytest.mark.clause("ORDER-6")
def test_a_released_task_keeps_its_place(q: Client) -> None:
    for work in ("a", "b", "c"):
        q.push(work)
    q.release(takes(q, "a"))

    gives(q, "a", "b", "c")


@pytest.mark.clause("ORDER-6")
def test_several_released_tasks_keep_their_places(q: Client) -> None:
    for work in ("a", "b", "c"):
        q.push(work)
    first, second = takes(q, "a"), takes(q, "b")
    q.release(first)
    q.release(second)

    gives(q, "a", "b", "c")


@pytest.mark.clause("ORDER-7")
def test_a_task_whose_lease_ran_out_keeps_its_place(q: Client) -> None:
    lease = q.subject.short_lease
    for work in ("a", "b", "c"):
        q.push(work)
    takes(q, "a", lease_for=lease)
    run_out(q, lease)

    gives(q, "a", "b", "c")


@pytest.mark.clause("ORDER-8")
def test_order_survives_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    for work in ("c", "a", "d", "b"):
        q.push(work)
    q = reopened(q)
    q.push("e")
    gives(q, "c", "a")
    q = reopened(q)

    gives(q, "d", "b", "e")


@pytest.mark.clause("ORDER-8")
@pytest.mark.needs("priority")
def test_the_order_of_priorities_survives_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    q.push("c", priority=1)
    q.push("a", priority=2)
    q.push("b", priority=1)
    q = reopened(q)

    gives(q, "a", "c", "b")


@pytest.mark.clause("ORDER-9")
def test_a_clock_that_steps_back_does_not_change_the_order(q: Client) -> None:
    q.push("a")
    q.subject.pass_time(q.place, -HOUR)
    q.push("b")

    gives(q, "a", "b")


@pytest.mark.clause("ORDER-9")
@pytest.mark.needs("not_before")
def test_a_clock_that_steps_back_takes_nothing_back_that_was_due(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)
    fall_due(q, due)
    q.push("b", not_before=due)
    held = something(q)  # the queue has looked at its clock
    q.subject.pass_time(q.place, -HOUR)

    gives(q, "b" if held.work == "a" else "a")


@pytest.mark.clause("ORDER-10")
def test_a_batch_keeps_its_order(q: Client) -> None:
    q.push("before")
    q.push_many([Item("c"), Item("a"), Item("b")])
    q.push("after")

    gives(q, "before", "c", "a", "b", "after")


@pytest.mark.clause("ORDER-11")
def test_many_pushed_within_a_moment_keep_their_order(q: Client) -> None:
    works = [f"work {number}" for number in range(2100)]
    pushed = list[str]() if push_together(q, [Item(work) for work in works]) is None else works
    if not pushed:
        for work in in_time(works):
            q.push(work)
            pushed.append(work)

    through = 0
    for work in in_time(pushed):
        q.ack(takes(q, work))  # so that there is less to look through
        through += 1
    if through < THOUSAND:
        raise NotObserved(f"the machine or the queue was too slow: {through:,} works went through")
