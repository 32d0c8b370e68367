"""NAMES: what is apart stays apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest

from lowq_conformance.cases.expect import expect, gives_all, nothing, takes
from lowq_conformance.cases.test_deliver import agrees
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import ACCIDENTS, Broken, Refused
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

NAMES = ["*", "mail*", "mail%", "mai?", "mail.", "mail", "mail-1", "mail1", "mail_1", "Mail", "mail 1", "mail "]
NAMES += ["mail.1", "a.mail", "\u00e9", "e\u0301", "m" * 100 + "1", "m" * 100 + "2"]
"""Those that may be taken for patterns come first, so that the others still have their tasks."""


def places(place: Path, *names: str) -> list[Path]:
    """Empty folders beside each other."""
    folders = [place / name for name in names]
    for folder in folders:
        folder.mkdir()
    return folders


def open_named(subject: Subject, place: Path, name: str) -> Client | None:
    """A client of the queue of that name, or None where an error says that this is no name for a queue."""
    try:
        return subject.open(place, name)
    except Refused as refused:
        if isinstance(refused.cause, ACCIDENTS):
            raise
        return None


@pytest.fixture
def one(subject: Subject, place: Path) -> Client:
    """A client of a queue that has a name."""
    return subject.open(place, "one")


@pytest.fixture
def two(subject: Subject, place: Path, one: Client) -> Client:  # noqa: ARG001  opened before it
    """A client of a queue of another name in the same place."""
    return subject.open(place, "two")


@pytest.mark.clause("NAMES-1")
def test_two_places_share_no_tasks(subject: Subject, place: Path) -> None:
    one, two = (subject.open(folder) for folder in places(place, "one", "two"))
    one.push("a")

    nothing(two)
    two.push("b")
    gives_all(one, "a")
    gives_all(two, "b")


@pytest.mark.clause("NAMES-1")
def test_two_places_hold_equal_works(subject: Subject, place: Path) -> None:
    one, two = (subject.open(folder) for folder in places(place, "one", "two"))
    one.push("a")
    answer = two.push("a")

    expect(two, answer.added is not False, "added, as it is another place")
    gives_all(one, "a")
    gives_all(two, "a")


@pytest.mark.clause("NAMES-2")
def test_names_in_one_place_share_no_tasks(subject: Subject, place: Path) -> None:
    """Where they do, it is shown by two of them, if two are enough."""
    try:
        share_no_tasks(subject, place, NAMES)
    except Broken:
        calls = list(subject.journal.calls)
        for number, pair in enumerate(combinations(NAMES, 2)):
            subject.journal.calls.clear()
            (folder,) = places(place, f"pair {number}")
            share_no_tasks(subject, folder, pair)
        subject.journal.calls[:] = calls
        raise


def share_no_tasks(subject: Subject, place: Path, names: Sequence[str]) -> None:
    """What is pushed under each of the names comes out under that one only."""
    queues = {name: q for name in names if (q := open_named(subject, place, name)) is not None}
    for name, q in queues.items():
        q.push(f"for {name}")

    for name, q in queues.items():
        gives_all(q, f"for {name}")
    for q in queues.values():
        if q.has("close"):
            q.close()


@pytest.mark.clause("NAMES-2")
def test_names_in_one_place_hold_equal_works(one: Client, two: Client) -> None:
    one.push("a")
    answer = two.push("a")

    expect(two, answer.added is not False, "added, as it is another queue")
    gives_all(one, "a")
    gives_all(two, "a")


@pytest.mark.clause("NAMES-2")
def test_a_named_queue_is_apart_from_the_one_without_a_name(q: Client, subject: Subject, place: Path) -> None:
    named = subject.open(place, "mail")
    q.push("a")

    nothing(named)
    gives_all(q, "a")


@pytest.mark.clause("NAMES-2")
@pytest.mark.needs("inspect")
def test_counts_and_listings_are_of_one_name(one: Client, two: Client) -> None:
    states = {"leased": ["in hand"], "ready": ["waiting"]}
    if "dead_letter" in one.promises:
        one.push("dead")
        one.dead_letter(takes(one, "dead"))
        states["dead"] = ["dead"]
    if "not_before" in one.promises:
        one.push("scheduled", not_before=later(one))
        states["scheduled"] = ["scheduled"]
    one.push("in hand")
    takes(one, "in hand")
    one.push("waiting")

    agrees(two)
    two.push("a")
    agrees(two, ready=["a"])
    agrees(one, **states)


@pytest.mark.clause("NAMES-2")
@pytest.mark.needs("lease")
def test_what_runs_out_in_one_name_waits_in_that_one(one: Client, two: Client) -> None:
    lease = one.subject.short_lease
    one.push("a")
    two.push("b")
    takes(one, "a", lease_for=lease)
    run_out(one, lease)

    gives_all(two, "b")
    gives_all(one, "a")


@pytest.mark.clause("NAMES-2")
@pytest.mark.needs("not_before")
def test_what_falls_due_in_one_name_waits_in_that_one(one: Client, two: Client) -> None:
    due = later(one)
    one.push("a", not_before=due)
    two.push("b")
    fall_due(one, due)

    gives_all(two, "b")
    gives_all(one, "a")
