"""What the tests of workers share: the fixtures, works that their handler obeys, and what is expected of turns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lowq_conformance.contract.outcomes import Broken
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.subject import Subject
from lowq_conformance.subject.workers import Workers, describe_turns, most_at_once

MOMENT = 0.25
"""Seconds in which a worker too many would take a task."""


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """What ends the workers when nobody else does."""
    made = Reaper()
    yield made
    made.close()


@pytest.fixture
def workers(subject: Subject, tmp_path: Path, reaper: Reaper) -> Iterator[Workers]:
    """The workers of the queue under test, none of which is left."""
    place, turns = tmp_path / "place", tmp_path / "turns"
    for each in (place, turns):
        each.mkdir()
    made = Workers(subject, place, turns, reaper)
    yield made
    made.kill()


@pytest.fixture
def q(subject: Subject, workers: Workers) -> Client:
    """A client of the queue that the workers run."""
    return subject.open(workers.place)


def task(number: Any, **does: Any) -> Any:
    """A work like no other."""
    return {"n": number, **does}


def waiting(number: int) -> Any:
    """A work whose handler waits at the gate."""
    return task(number, does="wait", at="gate")


def comes_back(workers: Workers, *works: Any) -> None:
    """What was in hand is run when its lease has run out, where a kill is to lose nothing."""
    if "crash" in workers.subject.promises and workers.undone(works):
        lease_over(workers)
        workers.start()
        workers.run(*works)


def run_after_a_kill(workers: Workers, *works: Any) -> None:
    """What was pushed after a worker was killed is run, by one that was started then. Raises Broken.

    A server may still carry out what the killed one had asked for, so that the task is held in its name for a lease.
    """
    if "server" in workers.subject.promises and not workers.until(lambda: not workers.undone(works)):
        lease_over(workers)
        workers.start()
    workers.run(*works)


def lease_over(workers: Workers) -> None:
    """The leases of workers that are no more have run out."""
    traits = workers.subject.traits
    workers.subject.pass_time(workers.place, lease_span(workers) + traits.grace + traits.resolution)


def lease_span(workers: Workers) -> timedelta:
    """How long a worker holds what it has in hand, as far as anybody outside knows."""
    return workers.subject.lease(workers.subject.traits.shortest_lease)


def expect_at_most(workers: Workers, allowed: int) -> None:
    """At no instant were more turns under way than workers were asked for."""
    most = most_at_once(workers.turns())
    if len(most) > allowed:
        raise Broken(f"{len(most)} turns at once, where {allowed} are asked for:\n{describe_turns(most)}")
