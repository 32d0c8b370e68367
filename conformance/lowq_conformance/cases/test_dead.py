"""DEAD: a claimed task is set aside for a person."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from lowq import State
from lowq_conformance.cases.expect import expect, gives, must_list, nothing, require, takes
from lowq_conformance.cases.timing import run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.answers import field
from lowq_conformance.subject.client import Client


def bury(q: Client) -> Any:
    """The id of a dead task whose work is "a"; a queue that cannot redrive it promises nothing of it."""
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a")
    held = takes(q, "a")
    id = require(held.id, "the id of a claimed task")
    q.dead_letter(held)
    return id


def states_told(listed: list[Any]) -> list[Any]:
    """The listed tasks. Raises NotPromised where their states are not told in the contract's words."""
    if any(field(task, "state") not in tuple(State) for task in listed):
        raise NotPromised("tasks are listed without their states, or in other words")
    return listed


@pytest.mark.clause("DEAD-1")
def test_a_dead_task_is_not_claimed(q: Client, other: Client) -> None:
    q.push("a")
    q.dead_letter(takes(q, "a"))

    nothing(q)
    nothing(other)


@pytest.mark.clause("DEAD-1")
@pytest.mark.needs("lease")
def test_a_dead_task_is_not_claimed_when_its_lease_would_have_run_out(q: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    q.dead_letter(takes(q, "a", lease_for=lease))
    run_out(q, lease)

    nothing(q)


def is_kept_with_its_reason(q: Client) -> None:
    """The one dead task is "a", for the reason "no such file: 7"."""
    dead = [task for task in states_told(q.tasks()) if field(task, "state") == "dead"]

    expect(q, [field(task, "work") for task in dead] == ["a"], "a dead task 'a'")
    if not q.takes("dead_letter", "reason"):
        raise NotPromised("dead_letter takes no reason")
    if not hasattr(dead[0], "reason"):
        raise NotPromised("dead tasks are listed without a reason")
    expect(q, "no such file: 7" in str(dead[0].reason), f"the reason 'no such file: 7', not {dead[0].reason!r}")


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_a_dead_task_is_kept_with_its_reason(q: Client) -> None:
    must_list(q, "dead")
    q.push("a")
    q.dead_letter(takes(q, "a"), reason="no such file: 7")

    is_kept_with_its_reason(q)


def tell_reasons(q: Client) -> dict[Any, str]:
    """The reasons of the dead tasks, by their works. Raises NotPromised where they are not told."""
    must_list(q, "dead")
    dead = [task for task in states_told(q.tasks()) if field(task, "state") == "dead"]
    if not q.takes("dead_letter", "reason") or not all(hasattr(task, "reason") for task in dead):
        raise NotPromised("dead tasks are listed without a reason")
    return {field(task, "work"): str(task.reason) for task in dead}


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_each_dead_task_is_kept_with_its_own_reason(q: Client) -> None:
    reasons = {"a": "no such file: 1", "b": "a longer one: no such file: 2", "c": "3", "d": "no such file: 4"}
    for work, reason in reasons.items():
        q.push(work)
        q.dead_letter(takes(q, work), reason=reason)
    told = tell_reasons(q)

    expect(q, told.keys() == reasons.keys(), "the dead tasks a, b, c and d")
    for work, reason in reasons.items():
        expect(q, reason in told[work], f"the reason {reason!r} of {work!r}, not {told[work]!r}")


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_a_task_that_is_set_aside_again_has_its_new_reason(q: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a")
    held = takes(q, "a")
    q.dead_letter(held, reason="no such file: 1")
    if q.redrive(require(held.id, "the id of a claimed task")) is False:
        raise NotPromised("the task is not redriven")
    q.dead_letter(takes(q, "a"), reason="no such file: 2")
    told = tell_reasons(q)

    expect(q, "no such file: 2" in told.get("a", ""), f"the reason 'no such file: 2', not {told.get('a')!r}")


@pytest.mark.clause("DEAD-3")
def test_a_redriven_task_waits_again(q: Client) -> None:
    expect(q, q.redrive(bury(q)) is not False, "True")

    gives(q, "a")


@pytest.mark.clause("DEAD-3")
def test_a_redriven_task_waits_once(q: Client) -> None:
    id = bury(q)
    q.redrive(id)
    with suppress(Refused):
        expect(q, q.redrive(id) is not True, "False, it is not dead any more")

    gives(q, "a")
    nothing(q)


@pytest.mark.clause("DEAD-3")
@pytest.mark.needs("inspect")
def test_a_redriven_task_is_not_dead_any_more(q: Client) -> None:
    q.redrive(bury(q))

    listed = [str(field(task, "state")) for task in states_told(q.tasks())]
    expect(q, listed == ["ready"], "one task, ready")


@pytest.mark.clause("DEAD-3")
def test_a_redriven_task_counts_its_attempts_anew_or_on(q: Client) -> None:
    q.redrive(bury(q))
    held = takes(q, "a")

    expect(q, require(held.attempts, "attempts") in (1, 2), f"attempts 1, or 2 of all, not {held.attempts}")


@pytest.mark.clause("DEAD-3")
def test_a_task_is_not_redriven_beside_an_equal_one(q: Client) -> None:
    """Whatever redrive says, and whether the dead task is dropped, stays dead or waits until the other is done."""
    if q.subject.traits.dedupe == "off":
        raise NotPromised("equal works are not refused")
    if q.subject.traits.redriven == "any":
        raise NotPromised("the harness does not say that a task is redriven beside no equal one: redriven = 'alone'")
    id = bury(q)
    if q.push("a").added is False:
        raise NotPromised("what is dead refuses an equal work")
    with suppress(Refused):
        q.redrive(id)
    held = takes(q, "a")

    nothing(q)
    q.ack(held)
