"""DELIVER-10, more: counts and listings do not drift by what was refused, failed, undone, or done by others."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import nan

import pytest

from lowq import Item, State
from lowq_conformance.cases.expect import claim, expect, must_list, require, require_return, something, takes
from lowq_conformance.cases.many import BRIEF, in_time
from lowq_conformance.cases.test_deliver import agrees
from lowq_conformance.cases.timing import run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.client import Client


@pytest.mark.clause("DELIVER-10")
def test_counts_do_not_drift_by_what_is_refused(q: Client, other: Client) -> None:
    """What is no JSON, and what is settled twice; where that is not refused, it is not tried."""
    q.push("a")
    if "json" in q.promises:
        for work in (nan, {"a": b""}):
            with suppress(Refused):
                q.push(work)
    held = takes(q, "a")
    q.ack(held)
    if "fenced" in q.promises:
        with suppress(Refused):
            other.ack(held)
    agrees(q)
    q.push("b")

    agrees(other, ready=["b"])
    agrees(q, ready=["b"])


@pytest.mark.clause("DELIVER-10")
def test_counts_do_not_drift_by_refused_duplicates(q: Client, other: Client) -> None:
    if q.subject.traits.dedupe == "off":
        raise NotPromised("equal works are not refused")
    q.push("a")
    for client in (q, other, q):
        client.push("a")

    agrees(other, ready=["a"])
    agrees(q, ready=["a"])


@pytest.mark.clause("DELIVER-10")
def test_counts_tell_of_what_another_client_did(q: Client, other: Client) -> None:
    agrees(q)
    other.push("a")
    agrees(q, ready=["a"])
    held = takes(other, "a")
    agrees(q, leased=["a"])
    other.ack(held)

    agrees(q)


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("batch")
def test_counts_do_not_drift_by_a_batch_that_fails(q: Client, other: Client) -> None:
    if "json" not in q.promises:
        raise NotPromised("needs json")
    q.push("a")
    with suppress(Refused):
        q.push_many([Item("b"), Item("c"), Item(nan)])
    agrees(other, ready=["a"])
    q.push_many([])

    agrees(q, ready=["a"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("cancel")
def test_counts_do_not_drift_by_cancelling_again(q: Client, other: Client) -> None:
    id = require(q.push("a").id, "the id of what was pushed")
    q.push("b")
    for client in (other, q, other):
        with suppress(Refused):
            client.cancel(id)

    agrees(q, ready=["b"])
    agrees(other, ready=["b"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("dead_letter")
def test_counts_do_not_drift_by_what_died_and_was_redriven(q: Client, other: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a")
    held = takes(q, "a")
    id = require(held.id, "the id of a claimed task")
    q.dead_letter(held)
    agrees(other, dead=["a"])
    if other.redrive(id) is not True:
        raise NotPromised("redrive does not say that it did")
    with suppress(Refused):
        q.redrive(id)
    agrees(other, ready=["a"])
    q.ack(takes(q, "a"))

    agrees(q)
    agrees(other)


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("persistent")
def test_counts_do_not_drift_by_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    q.push("a")
    q.push("b")
    agrees(q, ready=["a", "b"])
    for _ in range(3):
        q = reopened(q)
    agrees(q, ready=["a", "b"])
    held = something(q)
    q.ack(held)

    agrees(reopened(q), ready=["b" if held.work == "a" else "a"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("lease")
def test_a_task_whose_lease_ran_out_counts_once(q: Client) -> None:
    """As ready, or as leased until somebody claims it: when a queue notices is its own affair."""
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)
    counts = q.count()
    if counts is None or not {"ready", "leased"} <= counts.keys():
        raise NotPromised("ready and leased are not both counted")
    told = [counts[state] for state in State if state in counts]
    expect(q, sum(told) < 2, "it to be counted once, as ready or as leased")
    expect(q, sum(told) == 1 or len(told) < len(State), "it to be counted, as ready or as leased")
    expect(q, len(q.tasks()) == 1, "one task")
    held = takes(q, "a")
    agrees(q, leased=["a"])
    q.ack(held)

    agrees(q)


def count_living(q: Client) -> int:
    """How many tasks are counted that are not dead."""
    counts = q.count() or {}
    return sum(counts.get(state, 0) for state in State if state != State.DEAD)


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("lease")
def test_counts_do_not_drift_by_an_ack_that_comes_late(q: Client, other: Client) -> None:
    """Whether it is refused, or settles the task, since nobody has claimed it: what is counted is there."""
    lease = q.subject.short_lease
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    run_out(q, lease)
    count_living(other)
    with suppress(Refused):
        q.ack(held)
    told = count_living(other)
    again = claim(other)
    if again is None:
        expect(other, told == 0, f"the task that was counted: {told}")
    else:
        other.ack(again)

    agrees(other)


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("extend")
def test_counts_do_not_drift_by_an_extension_that_comes_late(q: Client, other: Client) -> None:
    """Whether it is refused, or the task is in hand again, since nobody has claimed it."""
    require_return(q.subject)
    lease = q.subject.short_lease
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    run_out(q, lease)
    count_living(other)
    try:
        held = q.extend(held, lease_for=lease)
    except Refused:
        held = takes(q, "a")
    agrees(other, leased=["a"])
    q.ack(held)

    agrees(other)


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("lease", "fenced")
def test_counts_do_not_drift_by_an_ack_of_what_somebody_else_has_done(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    q.push("b")
    held = something(q, lease_for=lease)
    run_out(q, lease)
    for _ in range(2):
        other.ack(something(other))
    agrees(other)
    with suppress(Refused):
        q.ack(held)

    agrees(other)
    agrees(q)


MANY = 150


def many(q: Client) -> list[str]:
    """Works that are all told apart, as many as there is room for."""
    return [f"work {number}" for number in range(min(MANY, q.subject.traits.room or MANY))]


@pytest.mark.clause("DELIVER-10")
def test_every_one_of_many_waiting_tasks_is_counted_and_listed(q: Client) -> None:
    pushed = []
    for work in in_time(many(q), BRIEF):
        q.push(work)
        pushed.append(work)

    agrees(q, ready=pushed)


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_every_one_of_many_dead_tasks_is_counted_and_listed(q: Client) -> None:
    must_list(q, "dead")
    dead = []
    for work in in_time(many(q), BRIEF):
        q.push(work)
        q.dead_letter(takes(q, work))
        dead.append(work)

    agrees(q, dead=dead)
