"""Pushes that fail half-way: the limit is on the call alone, and a queue that is refused nothing is not asked."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.halfway import Halfway
from lowq_conformance.subject.loading import load
from lowq_conformance.support.file_limit import LimitedClient, find_largest


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    """Where the client comes from."""
    with Agents() as agents:
        yield agents


def look(target: str, agents: Agents, folder: Path) -> Halfway:
    return Halfway(load(target), agents, lambda: Path(mkdtemp(dir=folder)))


@pytest.mark.parametrize("target", ["sqlite", "files", "lowq_conformance.queues.sound.strangers:Async"])
def test_a_sound_queue_is_refused_room_and_accused_of_nothing(target: str, agents: Agents, tmp_path: Path) -> None:
    halfway = look(target, agents, tmp_path)

    halfway.keeps()
    assert halfway.refused >= 3


def test_what_writes_no_file_is_not_asked(agents: Agents, tmp_path: Path) -> None:
    with pytest.raises(NotPromised, match="writes to a file of this process"):
        look("memory", agents, tmp_path).keeps()


def test_what_is_said_fits_into_a_line(agents: Agents, tmp_path: Path) -> None:
    with pytest.raises(Broken) as error:
        look(BROKEN["KnowsWhatItCouldNotWrite"].target, agents, tmp_path).keeps()

    assert error.value.said.startswith("100 kB were pushed while no file could grow by more than 0 bytes: ")
    assert len(error.value.said) < 200
    assert error.value.program is not None
    assert len(error.value.program) < 2000


def test_no_file_grows_past_the_limit_in_a_call_and_any_does_after_it(tmp_path: Path) -> None:
    class Client:
        def push(self, text: str) -> int:
            return (tmp_path / "file").write_text(text)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limited = LimitedClient(Client(), 10)

    assert limited.push("ten bytes!") == 10
    with pytest.raises(OSError, match="File too large"):
        limited.push("eleven bytes")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    assert find_largest(tmp_path) == 10
    assert Client().push("eleven byte") == 11
