"""RELEASE: a claimed task is given back."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest

from lowq_conformance.cases.expect import expect, gives, nothing, require, takes
from lowq_conformance.cases.timing import fall_due, give_back, later, not_yet, run_out
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.subject.client import Client


@pytest.mark.clause("RELEASE-1")
def test_a_released_task_is_claimable_at_once(q: Client, other: Client) -> None:
    q.push("a")
    q.release(takes(q, "a"))

    gives(other, "a")
    nothing(q)


@pytest.mark.clause("RELEASE-2")
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-5))], ids=str)
def test_a_task_released_until_a_time_is_not_claimable_before(q: Client, zone: timezone) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    q.push("a")
    held = takes(q, "a")
    due = later(q)
    q.release(held, not_before=due.astimezone(zone))
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


@pytest.mark.clause("RELEASE-2")
def test_the_time_of_a_release_counts_also_where_the_push_had_one(q: Client) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    first = later(q)
    q.push("a", not_before=first)
    fall_due(q, first)
    held = takes(q, "a")
    due = later(q)
    q.release(held, not_before=due)
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


@pytest.mark.clause("RELEASE-2")
@pytest.mark.needs("lease")
def test_the_end_of_the_lease_that_was_given_back_changes_nothing(q: Client) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    lease, traits = q.subject.short_lease, q.subject.traits
    wait = 2 * (lease + traits.grace + traits.resolution)
    if traits.max_delay is not None and wait > traits.max_delay:
        raise NotPromised(f"its longest delay is {traits.max_delay}, and its leases are as long")
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    due = later(q, wait)
    give_back(q, held, lease, not_before=due)
    run_out(q, lease)

    not_yet(q, due)
    if q.subject.can_pass_time:
        fall_due(q, due)
        takes(q, "a")


@pytest.mark.clause("RELEASE-3")
def test_a_released_task_keeps_its_work(q: Client) -> None:
    q.push({"lines": [1]})
    held = takes(q, {"lines": [1]})
    if "json" in q.promises:
        held.work["lines"].append(2)
    q.release(held)

    gives(q, {"lines": [1]})


@pytest.mark.clause("RELEASE-3")
@pytest.mark.needs("priority")
def test_a_released_task_keeps_its_priority(q: Client) -> None:
    q.push("high", priority=3)
    q.push("middle", priority=2)
    q.push("low", priority=-1)
    q.release(takes(q, "high"))
    gives(q, "high", "middle")
    q.release(takes(q, "low"))
    q.push("without")

    gives(q, "without", "low")


@pytest.mark.clause("RELEASE-3")
@pytest.mark.needs("key")
def test_a_released_task_keeps_its_key(q: Client) -> None:
    if q.subject.traits.dedupe == "off":
        raise NotPromised("nothing tells of a key where nothing is deduped")
    q.push("a", key="k")
    q.release(takes(q, "a"))
    q.push("b", key="k")
    gives(q, "a")

    nothing(q)


@pytest.mark.clause("RELEASE-3")
@pytest.mark.needs("inspect", "key")
def test_a_released_task_is_listed_with_its_key(q: Client) -> None:
    q.push("a", key="k")
    q.release(takes(q, "a"))
    (task,) = q.tasks()
    if not hasattr(task, "key"):
        raise NotPromised("tasks are listed without their keys")

    expect(q, task.key == "k", f"the key 'k', not {task.key!r}")


@pytest.mark.clause("RELEASE-3")
def test_a_released_task_keeps_its_attempts(q: Client) -> None:
    q.push("a")
    first = takes(q, "a")
    require(first.attempts, "attempts")
    q.release(first)
    again = takes(q, "a")

    expect(q, again.attempts == 2, f"attempts 2, not {again.attempts}")
