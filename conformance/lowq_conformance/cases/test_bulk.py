"""What holds of one task holds of many that are claimed or acked in one step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from lowq_conformance.cases.expect import (
    asks_for_leases,
    expect,
    gives_all,
    nothing,
    require,
    require_return,
    something,
    wrong,
)
from lowq_conformance.cases.test_deliver import agrees
from lowq_conformance.cases.timing import Stopwatch, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.support.asking import ask_again

MANY = 120
"""More than services take in one step."""


def push_many_works(q: Client, many: int = MANY) -> list[str]:
    """The works that were pushed, one after the other."""
    works = [f"work {number}" for number in range(many)]
    for work in works:
        q.push(work)
    return works


def claim_together(q: Client, many: int, *, lease_for: timedelta = MINUTE) -> list[Held]:
    """So many tasks, claimed together as far as the queue hands them out so."""
    if q.subject.traits.one_at_a_time:
        raise NotPromised("it hands out one task at a time")
    found = list[Held]()
    again = ask_again(q.subject.traits.patience.total_seconds())
    while len(found) < many:
        more = q.claim_many(many - len(found), lease_for=lease_for)
        found += more
        if not more and not (q.subject.may_be_empty_for_now(q.place) and next(again, False)):
            raise wrong(q, f"{many - len(found)} tasks more")
    return found


def expect_all(q: Client, held: list[Held], works: list[str]) -> None:
    """What was claimed are these works, in whichever order."""
    found, wanted = sorted(work_text(each.work) for each in held), sorted(map(work_text, works))
    expect(q, found == wanted, "each of the works that were pushed, once")


@pytest.mark.clause("DELIVER-1")
@pytest.mark.needs("bulk")
def test_what_is_claimed_together_is_what_was_pushed(q: Client) -> None:
    works = push_many_works(q)
    expect_all(q, claim_together(q, len(works)), works)


@pytest.mark.clause("DELIVER-4")
@pytest.mark.needs("bulk")
def test_what_is_acked_together_never_comes_back(q: Client, reopened: Callable[[Client], Client]) -> None:
    works = push_many_works(q)
    q.ack_many(claim_together(q, len(works)))

    if "inspect" in q.promises:
        agrees(q)
    if q.subject.can_pass_time and "lease" in q.promises:
        run_out(q, q.subject.lease(MINUTE))
    nothing(q)
    if "persistent" in q.promises:
        nothing(reopened(q))


@pytest.mark.clause("ORDER-1")
@pytest.mark.needs("bulk")
def test_what_is_claimed_together_comes_in_order(q: Client) -> None:
    works = push_many_works(q)
    held = claim_together(q, len(works))
    expect(
        q, [work_text(each.work) for each in held] == list(map(work_text, works)), "them in the order of their pushes"
    )


@pytest.mark.clause("ORDER-3")
@pytest.mark.needs("bulk")
def test_what_is_claimed_together_has_the_highest_priorities(q: Client) -> None:
    high = q.subject.traits.bound_priority(1)
    if high == 0:
        raise NotPromised("there is no higher priority")
    for number in range(3):
        q.push(f"low {number}")
        q.push(f"high {number}", priority=high)
    held = claim_together(q, 3)

    expect_all(q, held, [f"high {number}" for number in range(3)])


@pytest.mark.clause("LEASE-2")
@pytest.mark.needs("bulk")
def test_what_is_claimed_together_somebody_gets_when_the_lease_ran_out(q: Client, other: Client) -> None:
    require_return(q.subject)
    lease = q.subject.short_lease
    works = push_many_works(q, 3)
    claim_together(q, len(works), lease_for=lease)
    run_out(q, lease)

    gives_all(other, *works)


@pytest.mark.clause("LEASE-1")
@pytest.mark.needs("bulk")
def test_the_lease_of_what_is_claimed_together_holds_as_long_as_was_asked_for(q: Client, other: Client) -> None:
    asks_for_leases(q)
    lease = q.subject.short_lease * 10
    watch = Stopwatch(q)
    claim_together(q, len(push_many_works(q, 3)), lease_for=lease)
    q.subject.pass_time(q.place, lease * 0.8 if q.subject.can_pass_time else q.subject.short_lease)
    early = other.claim()

    watch.within(lease)
    expect(other, early is None, "None, the leases have not run out")


@pytest.mark.clause("LEASE-1")
@pytest.mark.needs("bulk")
def test_what_is_claimed_together_nobody_else_gets(q: Client, other: Client) -> None:
    claim_together(q, len(push_many_works(q, 3)))

    nothing(other)


@pytest.mark.clause("LEASE-3")
@pytest.mark.needs("bulk")
def test_attempts_count_the_claims_of_many(q: Client) -> None:
    lease = q.subject.short_lease
    works = push_many_works(q, 3)
    for number in (1, 2):
        for held in claim_together(q, len(works), lease_for=lease):
            expect(q, require(held.attempts, "attempts") == number, f"attempts {number}, not {held.attempts}")
        run_out(q, lease)


@pytest.mark.clause("LEASE-4")
@pytest.mark.needs("bulk")
def test_who_acks_many_too_late_takes_nothing_from_who_has_them_now(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    stale = claim_together(q, len(push_many_works(q, 2)), lease_for=lease)
    run_out(q, lease)
    newer = something(other)

    with suppress(Refused):  # of all of them, or none is told
        q.ack_many(stale)
    other.ack(newer)
