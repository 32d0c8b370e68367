"""LEASE and RELEASE, more: lengths and times hold to the millisecond where a queue's clock can be moved and read."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lowq_conformance.cases.expect import asks_for_leases, nothing, require_return, takes
from lowq_conformance.cases.timing import not_yet, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.contract.promises import FINE
from lowq_conformance.subject.client import Client

PART = timedelta(milliseconds=750)
"""Of a second: what is cut to seconds or rounded to them is another."""
SHORT_OF = timedelta(milliseconds=250)


def require_exact(q: Client) -> None:
    """Raise NotPromised where nobody can tell to the millisecond."""
    subject = q.subject
    if subject.resolution > FINE:
        raise NotPromised(f"its resolution is {subject.resolution}")
    if not (subject.can_pass_time and subject.knows_now):
        raise NotPromised("needs a clock that can be moved and read: pass_time and now")


def odd_lease(q: Client) -> timedelta:
    """A lease that is no number of seconds."""
    asks_for_leases(q)
    require_exact(q)
    require_return(q.subject)
    return timedelta(seconds=-(-q.subject.traits.shortest_lease // timedelta(seconds=1))) + PART


@pytest.mark.clause("LEASE-1")
def test_a_lease_is_not_cut_to_whole_seconds(q: Client, other: Client) -> None:
    lease = odd_lease(q)
    q.push("a")
    takes(q, "a", lease_for=lease)
    q.subject.pass_time(q.place, lease - SHORT_OF)

    nothing(other)


@pytest.mark.clause("LEASE-2")
def test_a_lease_is_not_rounded_up_to_whole_seconds(q: Client, other: Client) -> None:
    lease = odd_lease(q)
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)

    takes(other, "a")


@pytest.mark.clause("LEASE-8")
def test_an_extension_is_cut_or_rounded_to_no_whole_seconds(q: Client, other: Client) -> None:
    lease = odd_lease(q)
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    try:
        q.extend(held, lease_for=lease)
    except Refused as refusal:
        raise NotPromised("a lease is not made longer so soon") from refusal
    q.subject.pass_time(q.place, lease - SHORT_OF)
    nothing(other)
    run_out(q, SHORT_OF)

    takes(other, "a")


@pytest.mark.clause("RELEASE-2")
@pytest.mark.needs("not_before")
def test_the_time_of_a_release_is_cut_or_rounded_to_no_whole_seconds(q: Client) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    require_exact(q)
    require_return(q.subject)
    q.push("a")
    held = takes(q, "a")
    due = q.subject.now(q.place).replace(microsecond=0) + timedelta(seconds=1) + PART
    q.release(held, not_before=due)
    q.subject.pass_time(q.place, due - q.subject.now(q.place) - SHORT_OF)
    not_yet(q, due)
    q.subject.pass_time(q.place, due - q.subject.now(q.place))

    takes(q, "a")
