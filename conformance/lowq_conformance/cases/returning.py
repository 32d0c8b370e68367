"""The ways in which a task comes to wait again, or for the first time, which change nothing of what it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import nan
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import expect, gives, require, require_return, something
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.client import Client, Held

Pushes = Mapping[str, Mapping[str, Any]]
"""Works, each with what its push is given beside it."""


def push_all(q: Client, pushes: Pushes, **more: Any) -> None:
    """They are pushed in their order."""
    for work, given in pushes.items():
        q.push(work, **given, **more)


def hold_all(q: Client, pushes: Pushes, **given: Any) -> list[Held]:
    """They are pushed, and all in hand."""
    push_all(q, pushes)
    return [something(q, **given) for _ in pushes]


def require_moved_time(q: Client) -> None:
    """Raise NotPromised where time really passes, which one of these ways is enough for."""
    if not q.subject.can_pass_time:
        raise NotPromised("needs a clock that can be moved: pass_time")


def run_all_out(q: Client, pushes: Pushes) -> None:
    """Their leases ran out."""
    require_return(q.subject)
    lease = q.subject.short_lease
    hold_all(q, pushes, lease_for=lease)
    run_out(q, lease)


def run_all_out_extended(q: Client, pushes: Pushes) -> None:
    """Their leases were made longer, and ran out."""
    require_return(q.subject)
    require_moved_time(q)
    lease = q.subject.short_lease
    for held in hold_all(q, pushes, lease_for=lease):
        try:
            q.extend(held, lease_for=lease)
        except Refused as refusal:
            raise NotPromised("a lease is not made longer so soon") from refusal
    run_out(q, lease)


def run_all_out_together(q: Client, pushes: Pushes) -> None:
    """They were claimed in one step, and their leases ran out."""
    require_return(q.subject)
    require_moved_time(q)
    if q.subject.traits.one_at_a_time:
        raise NotPromised("it hands out one task at a time")
    lease = q.subject.short_lease
    push_all(q, pushes)
    if len(q.claim_many(len(pushes), lease_for=lease)) < len(pushes):
        raise NotPromised("it hands out fewer tasks at once")
    run_out(q, lease)


def release_all(q: Client, pushes: Pushes) -> None:
    """They were given back."""
    require_return(q.subject)
    for held in hold_all(q, pushes):
        q.release(held)


def release_all_until_later(q: Client, pushes: Pushes) -> None:
    """They were given back until a time, which has come."""
    require_return(q.subject)
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    every, due = hold_all(q, pushes), later(q)
    for held in every:
        q.release(held, not_before=due)
    fall_due(q, due)


def fall_all_due(q: Client, pushes: Pushes) -> None:
    """They were pushed for a time, which has come."""
    due = later(q)
    push_all(q, pushes, not_before=due)
    fall_due(q, due)


def redrive_all(q: Client, pushes: Pushes) -> None:
    """They were set aside and redriven."""
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    every = hold_all(q, pushes)
    for held in every:
        q.dead_letter(held)
    for held in every:
        try:
            said = q.redrive(require(held.id, "the id of a claimed task"))
        except Refused:
            said = False
        if said is False:
            raise NotPromised("the task is not redriven")


Way = Callable[[Client, Pushes], None]
CLAIMED: Mapping[str, tuple[Way, tuple[str, ...]]] = {
    "ran out": (run_all_out, ("lease",)),
    "extended, ran out": (run_all_out_extended, ("extend",)),
    "claimed together, ran out": (run_all_out_together, ("bulk", "lease")),
    "released": (release_all, ("release",)),
    "released until later": (release_all_until_later, ("release", "not_before")),
}
"""Ways in which a task comes back that was claimed once, each with what must be promised."""
WAYS: Mapping[str, tuple[Way, tuple[str, ...]]] = {
    **CLAIMED,
    "fallen due": (fall_all_due, ("not_before",)),
    "redriven": (redrive_all, ("dead_letter",)),
}


def each_of(
    ways: Mapping[str, tuple[Any, tuple[str, ...]]], *without: str, called: str = "come_back"
) -> pytest.MarkDecorator:
    """The test is made for each of these ways that is promised."""
    return pytest.mark.parametrize(
        called,
        [
            pytest.param(way, marks=pytest.mark.needs(*needs), id=name)
            for name, (way, needs) in ways.items()
            if name not in without
        ],
    )


def ack_one(q: Client, work: str) -> None:
    """It was done."""
    push_all(q, {work: {}})
    gives(q, work)


def cancel_one(q: Client, work: str, **given: Any) -> None:
    """It was taken out."""
    id = require(q.push(work, **given).id, "the id of what was pushed")
    expect(q, q.cancel(id) is not False, "True")


def cancel_one_that_is_not_due(q: Client, work: str) -> None:
    """It was taken out before its time."""
    cancel_one(q, work, not_before=later(q))


def redrive_one(q: Client, work: str) -> None:
    """It was set aside, redriven, and done."""
    redrive_all(q, {work: {}})
    gives(q, work)


def return_one(q: Client, work: str) -> None:
    """Its lease ran out, and it was done."""
    run_all_out(q, {work: {}})
    gives(q, work)


def settle_one_late(q: Client, work: str) -> None:
    """It was done by who had it when its lease had run out, where that is not refused."""
    lease = q.subject.short_lease
    held = hold_all(q, {work: {}}, lease_for=lease)[0]
    run_out(q, lease)
    try:
        q.ack(held)
    except Refused:
        gives(q, work)


def release_one(q: Client, work: str) -> None:
    """It was given back, and done."""
    release_all(q, {work: {}})
    gives(q, work)


def refuse_one(q: Client, work: str) -> None:
    """It was refused as a duplicate, and done."""
    if q.subject.traits.dedupe == "off":
        raise NotPromised("equal works are not refused")
    push_all(q, {work: {}})
    push_all(q, {work: {}})
    gives(q, work)


def refuse_a_batch(q: Client, work: str) -> None:
    """It was in a batch of which another item is refused; where none is, that is not seen here."""
    try:
        q.push_many([Item(work), Item(work + " beside"), Item(nan)])
    except Refused:
        return
    raise NotPromised("the queue takes NaN")


End = Callable[[Client, str], None]
ENDS: Mapping[str, tuple[End, tuple[str, ...]]] = {
    "acked": (ack_one, ()),
    "cancelled": (cancel_one, ("cancel",)),
    "cancelled, not due": (cancel_one_that_is_not_due, ("cancel", "not_before")),
    "redriven, acked": (redrive_one, ("dead_letter",)),
    "ran out, acked": (return_one, ("lease",)),
    "acked late": (settle_one_late, ("lease", "fenced")),
    "released, acked": (release_one, ("release",)),
    "pushed twice, acked": (refuse_one, ()),
    "in a refused batch": (refuse_a_batch, ("batch", "json")),
}
"""Ways in which a task comes and ends, so that all is as if it had never been."""
