"""What the tests of clauses are given: a place, the queue under test, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from lowq_conformance.client import Client
from lowq_conformance.harness import Subject

MANY_CLIENTS = ("threads", "processes", "persistent", "shared_lease")

loaded_key = pytest.StashKey[Subject]()
seed_key = pytest.StashKey[int]()
used_key = pytest.StashKey[Subject]()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An existing, empty folder."""
    return tmp_path


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of the run."""
    return request.config.stash[seed_key]


@pytest.fixture
def random(seed: int, request: pytest.FixtureRequest) -> Random:
    """Randomness of this test's own, the same in every run with this seed."""
    return Random(f"{seed} {request.node.name}")


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The queue under test, by a harness made for this test."""
    fresh = request.config.stash[loaded_key].fresh()
    request.node.stash[used_key] = fresh
    yield fresh
    fresh.close()


@pytest.fixture
def q(subject: Subject, place: Path) -> Client:
    """A client of the queue at the place."""
    return subject.open(place)


@pytest.fixture
def other(subject: Subject, place: Path, q: Client) -> Client:
    """A second client of the same queue; the same one where nothing that is promised takes two."""
    return q if subject.promises.isdisjoint(MANY_CLIENTS) else subject.open(place)


@pytest.fixture
def reopened(subject: Subject, place: Path) -> Callable[[Client], Client]:
    """Closes a client, where it can be closed, and opens the queue again."""

    def reopen(client: Client) -> Client:
        if client.has("close"):
            client.close()
        return subject.open(place)

    return reopen
