"""LEASE: a claim holds its task for a while and no longer, and only its holder may settle it.

Long: each thing that a lease may be counted from, and each way to lose one, has a test of its own.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest

from lowq_conformance.cases.expect import (
    asks_for_leases,
    expect,
    expect_refusal,
    forgets,
    gives,
    nothing,
    require,
    require_return,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.timing import ZERO, Stopwatch, fall_due, give_back, later, run_out
from lowq_conformance.contract.outcomes import NotObserved, NotPromised, Refused
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.subject import Subject

MANY = 100
"""How often a task comes back at most, where it may be set aside after so many claims or more."""

SOON = timedelta(seconds=0.5)
"""How long after another a lease begins."""


def overtaken(q: Client, other: Client) -> tuple[Held, Held]:
    """A lease of `q` that ran out, and the lease of `other` on the same task, which runs."""
    lease = q.subject.short_lease
    q.push("a")
    old = takes(q, "a", lease_for=lease)
    run_out(q, lease)
    return old, takes(other, "a")


def still_held(q: Client, other: Client, held: Held) -> None:
    """Nobody gets the task that `other` holds, and `other` can settle it."""
    nothing(q)
    other.ack(held)
    nothing(q)


@pytest.mark.clause("LEASE-1")
def test_while_a_lease_runs_nobody_else_gets_the_task(q: Client, other: Client) -> None:
    q.push("a")
    held = takes(q, "a")

    nothing(other)
    nothing(q)
    q.ack(held)


@pytest.mark.clause("LEASE-1")
def test_a_lease_holds_until_shortly_before_its_end(q: Client, other: Client) -> None:
    lease = q.subject.lease(q.subject.short_lease * 2)
    watch = Stopwatch(q)
    q.push("a")
    takes(q, "a", lease_for=lease)
    q.subject.pass_time(q.place, lease * 0.8 if q.subject.can_pass_time else lease / 2)
    early = other.claim()

    watch.within(lease)
    expect(other, early is None, "None, the lease has not run out")


@pytest.mark.clause("LEASE-1")
def test_a_lease_of_days_is_a_lease(q: Client, other: Client) -> None:
    asks_for_leases(q)
    q.push("a")
    try:
        takes(q, "a", lease_for=timedelta(days=2))
    except Refused as refusal:
        raise NotPromised("its leases do not last two days") from refusal
    if q.subject.can_pass_time:
        q.subject.pass_time(q.place, timedelta(days=1))

    nothing(other)


@pytest.mark.clause("LEASE-1")
def test_a_lease_begins_with_its_claim_however_long_the_task_waited(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    run_out(q, lease)
    watch = Stopwatch(q)
    takes(q, "a", lease_for=lease)
    early = other.claim()

    watch.within(lease)
    expect(other, early is None, "None, the lease has not run out")


@pytest.mark.clause("LEASE-1")
@pytest.mark.needs("not_before")
def test_a_lease_begins_with_its_claim_however_long_ago_the_task_fell_due(q: Client, other: Client) -> None:
    q.push("a", not_before=later(q, -timedelta(days=1)))
    held = takes(q, "a")

    nothing(other)
    nothing(q)
    q.ack(held)


@pytest.mark.clause("LEASE-1")
@pytest.mark.needs("release")
def test_a_lease_holds_when_an_earlier_one_of_the_task_would_have_ended(q: Client, other: Client) -> None:
    asks_for_leases(q)
    require_return(q.subject)
    lease = q.subject.short_lease
    longer = lease * 10 if q.subject.can_pass_time else max(MINUTE, lease * 2)
    q.push("a")
    give_back(q, takes(q, "a", lease_for=lease), lease)
    held = takes(q, "a", lease_for=longer)
    run_out(q, lease)

    nothing(other)
    nothing(q)
    q.ack(held)


@pytest.mark.clause("LEASE-2")
def test_when_a_lease_ran_out_somebody_gets_the_task(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)

    other.ack(takes(other, "a"))
    nothing(q)


@pytest.mark.clause("LEASE-2")
def test_a_task_may_run_out_again_and_again(q: Client, other: Client) -> None:
    """As often as it is handed out before it may be set aside, where it may."""
    lease = q.subject.short_lease
    clients: tuple[Client, ...] = (q, other, q)
    if (limit := q.subject.traits.max_deliveries) is not None:
        require_return(q.subject)
        clients = (clients * limit)[: limit - 1 if q.subject.can_pass_time else min(limit - 1, 3)][:MANY]
    q.push("a")
    for client in clients:
        takes(client, "a", lease_for=lease)
        nothing(other)
        run_out(q, lease)

    gives(other, "a")


@pytest.mark.clause("LEASE-2")
def test_leases_that_run_out_one_soon_after_the_other_are_both_handed_on(q: Client, other: Client) -> None:
    """Half a second: less than queues let pass that look for them now and then, which say so by their grace."""
    require_return(q.subject)
    lease, soon = q.subject.short_lease, SOON if q.subject.can_pass_time else SOON / 2
    q.push("a")
    q.push("b")
    something(q, lease_for=lease)
    q.subject.pass_time(q.place, soon)
    something(q, lease_for=lease)
    run_out(q, lease - soon)
    other.ack(something(other))
    q.subject.pass_time(q.place, soon)

    other.ack(something(other))
    nothing(other)


@pytest.mark.clause("LEASE-3")
def test_attempts_count_the_claims(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    last = min(3, q.subject.traits.max_deliveries or 3)
    for number in range(1, last + 1):
        held = takes(other, "a", lease_for=lease)
        expect(other, require(held.attempts, "attempts") == number, f"attempts {number}, not {held.attempts}")
        if number < last:
            run_out(q, lease)


@pytest.mark.clause("LEASE-3")
@pytest.mark.needs("release")
def test_attempts_count_the_claims_after_a_release(q: Client) -> None:
    q.push("a")
    for number in range(1, 1 + min(3, q.subject.traits.max_deliveries or 3)):
        held = takes(q, "a")
        expect(q, require(held.attempts, "attempts") == number, f"attempts {number}, not {held.attempts}")
        q.release(held)


@pytest.mark.clause("LEASE-4")
def test_a_stale_ack_is_refused_and_changes_nothing(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)

    expect_refusal(q.ack, old)
    still_held(q, other, new)


@pytest.mark.clause("LEASE-4")
def test_an_ack_is_refused_when_another_has_done_the_task(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)
    other.ack(new)

    expect_refusal(q.ack, old)
    nothing(other)


@pytest.mark.clause("LEASE-5")
def test_a_stale_release_is_refused_and_changes_nothing(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)

    expect_refusal(q.release, old)
    still_held(q, other, new)


@pytest.mark.clause("LEASE-6")
def test_a_stale_extend_is_refused_and_changes_nothing(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    old = takes(q, "a", lease_for=lease)
    run_out(q, lease)
    takes(other, "a", lease_for=lease)

    expect_refusal(q.extend, old, lease_for=lease * 60)
    run_out(q, lease)
    takes(other, "a")


@pytest.mark.clause("LEASE-7")
def test_after_a_stale_ack_the_holder_can_still_settle(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)
    with suppress(Refused):
        q.ack(old)

    other.ack(new)
    nothing(q)


@pytest.mark.clause("LEASE-7")
@pytest.mark.needs("release")
def test_after_a_stale_release_the_holder_can_still_settle(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)
    with suppress(Refused):
        q.release(old)

    other.ack(new)
    nothing(q)


@pytest.mark.clause("LEASE-7")
@pytest.mark.needs("extend")
def test_after_a_stale_extend_the_holder_can_still_settle(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)
    with suppress(Refused):
        q.extend(old, lease_for=MINUTE)

    other.ack(new)
    nothing(q)


@pytest.mark.clause("LEASE-8")
def test_an_extended_lease_holds_longer(q: Client, other: Client) -> None:
    lease = q.subject.lease(q.subject.short_lease * 2)
    q.push("a")
    held = takes(q, "a", lease_for=lease)
    q.subject.pass_time(q.place, lease * 0.5)
    watch = Stopwatch(q)
    held = q.extend(held, lease_for=lease)
    q.subject.pass_time(q.place, lease * 0.75)
    early = other.claim()

    watch.within(lease)
    expect(other, early is None, "None, the lease was extended")
    q.ack(held)


@pytest.mark.clause("LEASE-8")
def test_an_extended_lease_holds_no_longer_than_that_from_now(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    held = takes(q, "a", lease_for=lease * 10 if q.subject.can_pass_time else lease * 2)
    longer = q.extend(held, lease_for=lease)
    run_out(q, longer.lease)

    takes(other, "a")


@pytest.mark.clause("LEASE-9")
def test_a_second_ack_is_refused_and_harmless(q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    q.ack(held)

    expect_refusal(q.ack, held)
    nothing(q)


@pytest.mark.clause("LEASE-9")
@pytest.mark.needs("release")
def test_a_release_after_ack_resurrects_nothing(q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    q.ack(held)

    expect_refusal(q.release, held)
    nothing(q)


@pytest.mark.clause("LEASE-9")
@pytest.mark.needs("release")
def test_an_ack_after_release_is_refused(q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    q.release(held)

    expect_refusal(q.ack, held)
    gives(q, "a")


@pytest.mark.clause("LEASE-9")
@pytest.mark.needs("release", "not_before")
def test_an_ack_after_release_until_later_is_refused(q: Client) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    q.push("a")
    held, due = takes(q, "a"), later(q)
    q.release(held, not_before=due)

    expect_refusal(q.ack, held)
    fall_due(q, due)
    gives(q, "a")


@pytest.mark.clause("LEASE-9")
@pytest.mark.needs("dead_letter")
def test_an_ack_after_dead_letter_and_redrive_is_refused(q: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a")
    held = takes(q, "a")
    id = require(held.id, "the id of a claimed task")
    q.dead_letter(held)
    expect_refusal(q.ack, held)
    if q.redrive(id) is False:
        raise NotPromised("the task is not redriven")

    expect_refusal(q.ack, held)
    gives(q, "a")


@pytest.mark.clause("LEASE-9")
@pytest.mark.needs("dead_letter")
def test_a_dead_letter_after_ack_is_refused(q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    q.ack(held)

    expect_refusal(q.dead_letter, held)
    nothing(q)


@pytest.mark.clause("LEASE-9")
def test_a_second_ack_does_not_touch_the_next_task_of_an_equal_work(q: Client) -> None:
    forgets(q, "done")
    q.push("a")
    held = takes(q, "a")
    q.ack(held)
    q.push("a")

    expect_refusal(q.ack, held)
    gives(q, "a")


@pytest.mark.clause("LEASE-10")
def test_opening_another_client_ends_nobodys_lease(subject: Subject, q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    another = subject.open(q.place)

    nothing(another)
    q.ack(held)


@pytest.mark.clause("LEASE-10")
@pytest.mark.needs("close")
def test_closing_another_client_ends_nobodys_lease(subject: Subject, q: Client) -> None:
    another = subject.open(q.place)
    q.push("a")
    q.push("b")
    held = something(q)
    something(another)
    another.close()

    nothing(q)
    q.ack(held)


@pytest.mark.clause("LEASE-10")
@pytest.mark.needs("close", "wait")
def test_closing_another_client_does_not_end_the_lease_of_a_claim_that_may_wait(subject: Subject, q: Client) -> None:
    another = subject.open(q.place)
    another.push("a")
    held = q.claim(wait=SOON)
    another.close()

    nothing(q)
    if held is None:
        raise NotObserved("the claim that may wait got nothing")
    q.ack(held)


@pytest.mark.clause("LEASE-11")
@pytest.mark.parametrize("lease", [timedelta(0), -MINUTE], ids=["zero", "negative"])
def test_a_lease_of_zero_or_less_is_refused(q: Client, lease: timedelta) -> None:
    asks_for_leases(q)
    if not lease and q.subject.traits.zero_lease:
        raise NotPromised("a lease of zero can be asked for: zero_lease is True")
    q.push("a")

    try:
        q.claim(lease_for=lease)
    except Refused:
        gives(q, "a")
    else:
        said = "" if lease else " (where such a lease can be asked for and is over at once, say `zero_lease = True`)"
        raise wrong(q, f"it to be refused{said}")


@pytest.mark.clause("LEASE-11")
def test_a_lease_of_zero_that_can_be_asked_for_is_over_at_once(q: Client, other: Client) -> None:
    if not q.subject.traits.zero_lease:
        raise NotPromised("a lease of zero is refused")
    require_return(q.subject)
    q.push("a")

    takes(q, "a", lease_for=ZERO)
    run_out(q, ZERO)
    gives(other, "a")


@pytest.mark.clause("LEASE-13")
def test_a_stale_dead_letter_is_refused_and_changes_nothing(q: Client, other: Client) -> None:
    old, new = overtaken(q, other)

    expect_refusal(q.dead_letter, old)
    still_held(q, other, new)
