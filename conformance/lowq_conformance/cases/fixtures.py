"""The pytest fixtures of the tests of clauses: a place, the queue under test, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp

import pytest

from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.fork_server import ForkServer
from lowq_conformance.storm.storms import Storms, nobody
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support.scratch import quick_folder
from lowq_conformance.sweep.schedule import Schedule
from lowq_conformance.sweep.sweeps import Sweeps

MANY_CLIENTS = ("threads", "processes", "persistent", "shared_lease")

loaded_key = pytest.StashKey[Subject]()
seed_key = pytest.StashKey[int]()
profile_key = pytest.StashKey[Profile]()
used_key = pytest.StashKey[Subject]()
schedule_key = pytest.StashKey[Schedule | None]()
asked_key = pytest.StashKey[Iterable[str]]()
progress_key = pytest.StashKey[Callable[[str], None]]()
fork_server_key = pytest.StashKey[ForkServer]()


@pytest.fixture(scope="session")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for places: where --basetemp says, else where they are quick."""
    quick = quick_folder()
    if quick is None or request.config.option.basetemp is not None:
        yield tmp_path_factory.mktemp("places")
        return
    with TemporaryDirectory(prefix="lowq-check-", dir=quick, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


@pytest.fixture
def place(places: Path) -> Iterator[Path]:
    """An existing, empty folder, which is removed after the test."""
    made = Path(mkdtemp(dir=places)).resolve()
    yield made
    rmtree(made, ignore_errors=True)


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> Profile:
    """How much is looked at."""
    return request.config.stash[profile_key]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of the run."""
    return request.config.stash[seed_key]


@pytest.fixture
def random(seed: int, request: pytest.FixtureRequest) -> Random:
    """Randomness of this test's own, the same in every run with this seed."""
    return Random(f"{seed} {request.node.name}")


@pytest.fixture
def subject(request: pytest.FixtureRequest, place: Path) -> Iterator[Subject]:  # noqa: ARG001  see below
    """The queue under test, by a harness made for this test; the folder is there when it closes the place."""
    fresh = request.config.stash[loaded_key].fresh()
    request.node.stash[used_key] = fresh
    yield fresh
    fresh.close()


@pytest.fixture
def q(subject: Subject, place: Path) -> Client:
    """A client of the queue at the place."""
    return subject.open(place)


@pytest.fixture
def scout(request: pytest.FixtureRequest, places: Path) -> Iterator[Client]:
    """A client at another place, whose many calls are not shown where a few of them show the same."""
    subject = request.config.stash[loaded_key].fresh()
    with TemporaryDirectory(dir=places, ignore_cleanup_errors=True) as folder:
        yield subject.open(Path(folder).resolve())
        subject.close()


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


@pytest.fixture(scope="session")
def agents(request: pytest.FixtureRequest) -> Iterator[Agents]:
    """Where processes with clients come from."""
    with Agents(request.config.stash.get(fork_server_key, None)) as made:
        yield made


@pytest.fixture(scope="session")
def storms(request: pytest.FixtureRequest, places: Path, agents: Agents) -> Iterator[Storms]:
    """The runs with many clients."""
    stash = request.config.stash
    folder = lambda: Path(mkdtemp(dir=places))  # noqa: E731  where a run is made
    tell = stash.get(progress_key, nobody)
    made = Storms(stash[loaded_key], stash[seed_key], folder, stash[profile_key], agents, tell)
    yield made
    made.close()


@pytest.fixture(scope="session")
def sweeps(request: pytest.FixtureRequest, places: Path, agents: Agents) -> Iterator[Sweeps]:
    """The sweeps, all schedules of two clients."""
    stash = request.config.stash
    made = Sweeps(
        stash[loaded_key],
        lambda: Path(mkdtemp(dir=places)),
        stash[profile_key],
        stash.get(progress_key, nobody),
        stash[schedule_key],
        stash[asked_key],
        agents,
    )
    yield made
    made.close()
