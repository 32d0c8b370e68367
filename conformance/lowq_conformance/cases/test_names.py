"""NAMES: what is apart stays apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowq_conformance.cases.expect import expect, gives_all, nothing
from lowq_conformance.contract.outcomes import ACCIDENTS, Refused
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject

NAMES = ["mail", "mail-1", "mail1", "mail_1", "Mail", "mail 1", "mail.1", "a.mail"]


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
    queues = {name: q for name in NAMES if (q := open_named(subject, place, name)) is not None}
    for name, q in queues.items():
        q.push(f"for {name}")

    for name, q in queues.items():
        gives_all(q, f"for {name}")


@pytest.mark.clause("NAMES-2")
def test_names_in_one_place_hold_equal_works(subject: Subject, place: Path) -> None:
    one, two = subject.open(place, "one"), subject.open(place, "two")
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
