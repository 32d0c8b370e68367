"""KEEP, HEADERS, DEAD, LEASE, DEDUPE, more: what a task carries is as it was when many others have come and gone.

A queue may write itself anew meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lowq_conformance.cases.expect import expect, must_list, require, takes
from lowq_conformance.cases.many import BRIEF, in_time
from lowq_conformance.cases.test_dead import is_kept_with_its_reason
from lowq_conformance.cases.test_dedupe import require_refused
from lowq_conformance.cases.test_headers import FIRST, carries
from lowq_conformance.cases.test_keep import listing, tells_the_same
from lowq_conformance.cases.timing import later
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.subject.client import Client

MANY = 250


def low_and_high(q: Client) -> tuple[int, int]:
    """A priority that waits, and one that comes out before it. Raises NotPromised where there are no two."""
    low, high = map(q.subject.traits.bound_priority, (-1, 1))
    if low == high:
        raise NotPromised("there is one priority only")
    return low, high


def come_and_go(q: Client, priority: int = 0) -> None:
    """Many tasks were pushed, claimed and acked, one after the other, which came out before what waits."""
    for work in in_time([f"passing {number}" for number in range(MANY)], BRIEF):
        q.push(work, priority=priority)
        q.ack(takes(q, work))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("priority")
def test_headers_of_a_waiting_task_outlast_many_others(q: Client) -> None:
    low, high = low_and_high(q)
    q.push("a", headers=FIRST, priority=low)
    come_and_go(q, high)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("LEASE-3")
@pytest.mark.needs("release", "priority")
def test_attempts_of_a_waiting_task_outlast_many_others(q: Client) -> None:
    low, high = low_and_high(q)
    q.push("a", priority=low)
    held = takes(q, "a")
    require(held.attempts, "attempts")
    q.release(held)
    come_and_go(q, high)
    held = takes(q, "a")

    expect(q, held.attempts == 2, f"attempts 2, not {held.attempts}")


@pytest.mark.clause("DEAD-2")
@pytest.mark.needs("inspect")
def test_a_dead_task_and_its_reason_outlast_many_others(q: Client) -> None:
    must_list(q, "dead")
    q.push("a")
    q.dead_letter(takes(q, "a"), reason="no such file: 7")
    come_and_go(q)

    is_kept_with_its_reason(q)


@pytest.mark.clause("DEDUPE-6")
@pytest.mark.needs("key")
def test_the_key_of_a_task_in_hand_outlasts_many_others(q: Client) -> None:
    if q.subject.traits.dedupe != "until_done":
        raise NotPromised("what is in hand refuses nothing")
    if q.subject.traits.fixed_lease is not None and not q.subject.can_pass_time:
        raise NotPromised("a lease whose length the queue fixes really runs out meanwhile")
    q.push("a", key="k")
    held = takes(q, "a")
    come_and_go(q)

    require_refused(q, q.push("b", key="k"))
    q.ack(held)


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("inspect")
def test_what_is_told_of_every_task_is_the_same_after_many_others_and_reopening(
    q: Client, reopened: Callable[[Client], Client]
) -> None:
    if "dead_letter" in q.promises:
        q.push("dead")
        q.dead_letter(takes(q, "dead"), reason="no such file: 7")
    if "not_before" in q.promises:
        q.push("scheduled", not_before=later(q, q.subject.traits.max_delay or timedelta(days=1)))
    low, high = low_and_high(q) if "priority" in q.promises else (0, 0)
    if low < high:
        given: dict[str, Any] = {"key": "k"} if "key" in q.promises else {}
        q.push("waiting", priority=low, headers=FIRST, **given)
        if "release" in q.promises:
            q.release(takes(q, "waiting"))
    before = listing(q)
    come_and_go(q, high)
    q = reopened(q)

    tells_the_same(q, before)
