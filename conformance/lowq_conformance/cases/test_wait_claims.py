"""LEASE, HEADERS, DEDUPE, ORDER, WAIT, more: what a claim that waited gets is claimed as by one that did not.

A queue may hand a task to who waits, past the line in which it would have stood, and forget there what it does else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from lowq import Item
from lowq_conformance.cases.expect import claim, expect_refusal, require, require_return
from lowq_conformance.cases.test_capacity import ROOM
from lowq_conformance.cases.test_headers import FIRST, read_headers
from lowq_conformance.cases.timing import later, run_out
from lowq_conformance.cases.waiting import WAIT, InThread, Missed, Passing, Stage, confirm_scene
from lowq_conformance.contract.outcomes import NotObserved, NotPromised
from lowq_conformance.storm.agents import Agents
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.subject import Subject

pytestmark = [pytest.mark.waits, pytest.mark.needs("wait"), pytest.mark.needs("threads")]

Confirmed = Callable[[Callable[[Stage], None]], None]
SHORT = timedelta(seconds=0.3)
CALLS = 300
"""More than one byte numbers."""


@pytest.fixture
def confirm(subject: Subject, place: Path, agents: Agents) -> Confirmed:
    """Carries out a scene, and again where it fails."""
    return lambda scene: confirm_scene(subject, place, agents, scene)


def wait_for(stage: Stage, q: Client, push: Callable[[], object], lease: timedelta = MINUTE) -> tuple[InThread, Held]:
    """Who waited while something was pushed, and what it got. Raises NotObserved where it got nothing."""
    waiter = stage.waiter(
        "threads", WAIT + 4 * (lease if q.subject.can_pass_time else timedelta(0)), stage.open(), lease
    )
    assert isinstance(waiter, InThread)
    push()
    if not stage.returns(waiter) or waiter.held is None:
        raise NotObserved("the claim that waited got nothing")
    return waiter, waiter.held


def run_out_after_a_wait(stage: Stage) -> tuple[Held, Held]:
    """What a claim that waited got, and the next claim of it, when the lease was over."""
    q = stage.open()
    require_return(q.subject)
    lease = q.subject.short_lease
    waiter, first = wait_for(stage, q, lambda: q.push("a"), lease)
    run_out(q, lease)
    again = claim(q)
    if again is None:
        raise Missed(f"{waiter.name} got the task for {lease}, which is over, and nobody else gets it")
    q.ack(again)
    return first, again


@pytest.mark.clause("LEASE-2")
def test_the_lease_of_a_claim_that_waited_runs_out(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        run_out_after_a_wait(stage)

    confirm(scene)


@pytest.mark.clause("LEASE-3")
def test_attempts_count_a_claim_that_waited(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        told = [require(held.attempts, "attempts") for held in run_out_after_a_wait(stage)]
        if told != [1, 2]:
            raise Missed(f"attempts were {told[0]} for the claim that waited and {told[1]} for the next, not 1 and 2")

    confirm(scene)


@pytest.mark.clause("HEADERS-1")
def test_headers_arrive_at_a_claim_that_waited(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter, held = wait_for(stage, q, lambda: q.push("a", headers=FIRST))
        found = read_headers(q, held.raw, FIRST)
        if found != FIRST:
            raise Missed(f"{waiter.name} got the task with the headers {found!r}, not {FIRST!r}")
        waiter.settle()

    confirm(scene)


@pytest.mark.clause("DEDUPE-6")
def test_while_a_claim_that_waited_has_its_task_the_declared_window_holds(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter, _ = wait_for(stage, q, lambda: q.push("a"))
        refused = q.subject.traits.dedupe == "until_done"
        added = require(q.push("a").added, "whether it added")
        if added is refused:
            raise Missed(f"while {waiter.name} had the task, an equal work was {'' if added else 'not '}added")
        waiter.settle()

    confirm(scene)


@pytest.mark.clause("ORDER-3")
@pytest.mark.needs("batch")
def test_who_waits_gets_the_highest_priority_of_a_batch(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        high = q.subject.traits.bound_priority(1)
        if high == 0:
            raise NotPromised("there is no higher priority")
        items = [Item("low"), Item("high", priority=high)]
        waiter, held = wait_for(stage, q, lambda: q.push_many(items))
        if held.work != "high":
            raise Missed(f"{waiter.name} got {held.work!r} of a batch in which 'high' has a higher priority")
        waiter.settle()

    confirm(scene)


@pytest.mark.clause("BATCH-1")
@pytest.mark.needs("capacity")
def test_who_waits_gets_nothing_of_a_batch_that_does_not_fit(confirm: Confirmed) -> None:
    """It is so large that what is handed over at once leaves too much."""

    def scene(stage: Stage) -> None:
        q, client = (stage.subject.open(stage.place, capacity=ROOM) for _ in range(2))
        waiter = stage.waiter("threads", client=client)
        expect_refusal(q.push_many, [Item(f"item {number}") for number in range(2 * ROOM)])
        waiter.asleep()
        if waiter.is_over():
            got = waiter.work()
            said = "came back with nothing" if got is None else f"got {got[0]!r}"
            raise Missed(f"{waiter.name} {said} when a batch was refused")
        q.push("a")
        stage.require_woken(waiter, q, "a")

    confirm(scene)


@pytest.mark.clause("WAIT-4")
@pytest.mark.parametrize("more", [False, True], ids=["nobody waits on", "another waits on"])
def test_who_gave_up_waiting_gets_nothing_afterwards(confirm: Confirmed, more: bool) -> None:
    """The time that is moved is moved when as much has really passed, so that any clock it waits by says so."""

    def scene(stage: Stage) -> None:
        q = stage.open()
        wait = max(SHORT, 4 * q.subject.resolution)
        first = stage.waiter("threads", wait)
        other = stage.waiter("threads", WAIT + 4 * wait) if more else None
        timer = Passing(stage, wait)
        try:
            over = stage.returns(first, wait + q.subject.resolution)
        finally:
            timer.close()
        if not over or first.work() is not None:
            raise NotObserved("the claim that waits did not come back with nothing when its time was over")
        q.push("a")
        if other is not None:
            stage.require_woken(other, q, "a")
        elif (held := claim(q)) is None:
            raise Missed(f"nobody gets the task that was pushed when {first.name} had given up")
        else:
            q.ack(held)

    confirm(scene)


@pytest.mark.clause("WAIT-5")
@pytest.mark.needs("not_before")
def test_a_client_works_on_while_it_waits(confirm: Confirmed) -> None:
    def scene(stage: Stage) -> None:
        q = stage.open()
        waiter = stage.waiter("threads", client=q)
        due, end = later(q, timedelta(hours=1) if q.subject.traits.max_delay is None else None), time.monotonic() + 1
        for number in range(CALLS):
            q.push(f"later {number}", not_before=due)
            if waiter.is_over() or time.monotonic() > end:
                break
        if waiter.is_over():
            raise Missed(f"{waiter.name} came back when nothing was due, long before its time was over")
        q.push("a")
        stage.require_woken(waiter, q, "a")

    confirm(scene)
