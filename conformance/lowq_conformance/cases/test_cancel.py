"""CANCEL: a waiting task is taken out."""

from __future__ import annotations

import pytest

from lowq_conformance.cases.expect import expect, gives, nothing, require, something, takes
from lowq_conformance.cases.timing import fall_due, later
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.client import Client


def push_for_id(q: Client, work: str) -> object:
    """The id of a work that was pushed."""
    return require(q.push(work).id, "the id of what was pushed")


def says_no(q: Client, id: object) -> None:
    """Cancelling is refused: by False, or by raising."""
    try:
        answer = q.cancel(id)
    except Refused:
        return
    if answer is None:
        raise NotPromised("cancel does not say whether it did")
    expect(q, not answer, "False")


@pytest.mark.clause("CANCEL-1")
def test_a_cancelled_task_is_not_claimed(q: Client, other: Client) -> None:
    q.push("a")
    id = push_for_id(q, "b")
    q.push("c")
    expect(other, other.cancel(id) is not False, "True")

    left = {str(something(q).work), str(something(q).work)}
    expect(q, left == {"a", "c"}, "only 'a' and 'c'")
    nothing(q)


@pytest.mark.clause("CANCEL-1")
@pytest.mark.needs("not_before")
def test_a_cancelled_task_does_not_fall_due(q: Client) -> None:
    due = later(q)
    id = require(q.push("a", not_before=due).id, "the id of what was pushed")
    q.cancel(id)
    fall_due(q, due)

    nothing(q)


@pytest.mark.clause("CANCEL-2")
def test_a_leased_task_is_not_cancelled_under_its_worker(q: Client, other: Client) -> None:
    id = push_for_id(q, "a")
    held = takes(q, "a")

    says_no(other, id)
    q.ack(held)


@pytest.mark.clause("CANCEL-3")
def test_cancelling_a_task_that_is_done_says_so(q: Client) -> None:
    id = push_for_id(q, "a")
    gives(q, "a")

    says_no(q, id)


@pytest.mark.clause("CANCEL-3")
def test_cancelling_twice_says_so(q: Client) -> None:
    id = push_for_id(q, "a")
    q.cancel(id)

    says_no(q, id)
