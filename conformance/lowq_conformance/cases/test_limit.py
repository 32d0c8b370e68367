"""A task that comes back too often, where the queue sets such a task aside by itself (`max_deliveries`).

It comes out so often at least, whatever else is done with it; and what is set aside is dead, where tasks may be.
"""

from __future__ import annotations

from typing import Any

import pytest

from lowq_conformance.cases.expect import claim, gives, require, require_return, takes, wrong
from lowq_conformance.cases.test_dead import states_told
from lowq_conformance.cases.timing import run_out
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import field
from lowq_conformance.subject.client import Client

MANY, FEW = 100, 3
"""How often a task is handed out at most: where time is moved or does not matter, and where it really passes."""


def limit_of(q: Client) -> int:
    """After how many claims a task may be set aside. Raises NotPromised where it never is."""
    if (limit := q.subject.traits.max_deliveries) is None:
        raise NotPromised("no task is set aside by itself: max_deliveries is not stated")
    return limit


def wear_out(q: Client, work: Any) -> Any:
    """The task is handed out as often as may be, and comes back each time; its id, or None."""
    limit, traits = limit_of(q), q.subject.traits
    by_release = "release" in q.promises and traits.counts_release
    if not by_release and "lease" not in q.promises:
        raise NotPromised("what counts for max_deliveries comes back by no call")
    if limit > (MANY if by_release or q.subject.can_pass_time else FEW):
        raise NotPromised(f"it would take too long: max_deliveries is {limit}")
    id = None
    for _ in range(limit):
        held = takes(q, work, lease_for=q.subject.short_lease)
        id = held.id
        if by_release:
            q.release(held)
        else:
            run_out(q, q.subject.short_lease)
    return id


def set_aside(q: Client, work: Any) -> Any:
    """The id of a task that the queue has set aside. Raises NotPromised where it hands it out once more."""
    q.push(work)
    id = wear_out(q, work)
    if (held := claim(q)) is not None:
        q.ack(held)
        raise NotPromised("a task is handed out more often than max_deliveries says")
    return id


@pytest.mark.clause("RELEASE-1")
def test_a_task_may_be_given_back_again_and_again(q: Client, other: Client) -> None:
    """As often as it is handed out before it may be set aside, where giving back counts for that."""
    limit, counts = q.subject.traits.max_deliveries, q.subject.traits.counts_release
    if counts:
        require_return(q.subject)
    q.push("a")
    for _ in range(3 if limit is None else min(MANY, limit - 1 if counts else limit + 2)):
        q.release(takes(q, "a"))

    gives(other, "a")


@pytest.mark.clause("LEASE-2")
def test_claims_of_what_was_done_before_do_not_count(q: Client, other: Client) -> None:
    limit = limit_of(q)
    require_return(q.subject)
    for _ in range(min(limit, MANY)):
        q.push("a")
        gives(q, "a")
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)

    gives(other, "a")


@pytest.mark.clause("LEASE-8")
def test_making_a_lease_longer_is_not_handing_out_the_task(q: Client, other: Client) -> None:
    limit = limit_of(q)
    require_return(q.subject)
    lease = q.subject.short_lease
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    for _ in range(min(limit, MANY)):
        held = q.extend(held, lease_for=lease)
    run_out(q, lease)

    gives(other, "a")


@pytest.mark.clause("DELIVER-6")
def test_what_is_set_aside_keeps_nobody_waiting(q: Client) -> None:
    q.push("a")
    wear_out(q, "a")
    q.push("b")
    held = claim(q)
    if held is not None and work_text(held.work) == work_text("a"):
        raise NotPromised("a task is handed out more often than max_deliveries says")

    if held is None or work_text(held.work) != work_text("b"):
        raise wrong(q, "'b', or 'a' once more", sure=True)


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_what_the_queue_sets_aside_is_kept_dead(q: Client) -> None:
    set_aside(q, "a")
    works = [field(task, "work") for task in q.tasks()]
    if works != ["a"]:
        raise wrong(q, "a dead task 'a'", sure=True)
    states = [str(field(task, "state")) for task in states_told(q.tasks())]

    if states != ["dead"]:
        raise wrong(q, "a dead task 'a'", sure=True)


@pytest.mark.clause("DEAD-3")
def test_what_the_queue_set_aside_is_redriven_like_any_dead_task(q: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    id = require(set_aside(q, "a"), "the id of a claimed task")
    if q.redrive(id) is False:
        raise wrong(q, "True", sure=True)
    held = claim(q)

    if held is None or work_text(held.work) != work_text("a"):
        raise wrong(q, "'a', which was redriven", sure=True)
