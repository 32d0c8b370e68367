"""INTERRUPT: an exception raised in the middle of a call, at every line where a signal handler could raise it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import pytest

from lowq_conformance.cases.fixtures import loaded_key, profile_key, seed_key
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.interruptions import Interruptions


@pytest.fixture(scope="session")
def interruptions(request: pytest.FixtureRequest, places: Path, agents: Agents) -> Iterator[Interruptions]:
    """The calls that are interrupted, all when the first clause is asked about."""
    stash = request.config.stash
    subject = stash[loaded_key].fresh()
    random = Random(f"{stash[seed_key]} interruptions")
    folder = lambda: Path(mkdtemp(dir=places))  # noqa: E731  where calls are interrupted
    yield Interruptions(subject, folder, stash[profile_key], random, agents)
    subject.close()


@pytest.mark.clause("INTERRUPT-1")
@pytest.mark.together("interruptions")
def test_a_call_that_is_interrupted_is_whole_or_absent(interruptions: Interruptions) -> None:
    interruptions.keeps("INTERRUPT-1")


@pytest.mark.clause("INTERRUPT-2")
@pytest.mark.together("interruptions")
def test_its_client_works_on_or_refuses_by_name(interruptions: Interruptions) -> None:
    interruptions.keeps("INTERRUPT-2")


@pytest.mark.clause("INTERRUPT-3")
@pytest.mark.together("interruptions")
def test_nobody_else_is_locked_out(interruptions: Interruptions) -> None:
    interruptions.keeps("INTERRUPT-3")
