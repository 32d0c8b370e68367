"""What is left of a subject that was closed, and what it calls the places of its program."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.queues.sound import less
from lowq_conformance.subject.loading import load


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage is looked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("queue", [less.SQLite, less.Memory])
def test_a_client_without_close_is_forgotten_with_its_files(queue: type[less.Less], tmp_path: Path) -> None:
    """Else a process that runs hundreds of tests has them all open, and a queue is accused of opening no more."""
    subject = load(less.lacking(queue, ["close"])).fresh()
    client = subject.open(tmp_path)
    client.push("a")
    raw = weakref.ref(client.raw)

    del client
    subject.close()

    assert raw() is None


def test_a_program_tells_its_places_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    subject = load("memory").fresh()
    try:
        for place in (one, two, one):
            subject.open(place)
        subject.pass_time(two, timedelta(seconds=1))
        assert subject.journal.program().splitlines() == [
            "q = open(place)",
            "q2 = open(place2)",
            "q3 = open(place)",
            "pass_time(place2, timedelta(seconds=1))",
        ]
    finally:
        subject.close()


class Meanwhile(datetime):
    """An instant at which, when it is looked at, somebody else claims."""

    claim: Callable[[], None]

    def __le__(self, other: Any) -> bool:
        self.claim()
        return super().__le__(other)

    def __gt__(self, other: Any) -> bool:
        self.claim()
        return super().__gt__(other)


@pytest.mark.parametrize("look", ["serves_nobody", "_pass"])
def test_what_is_in_hand_is_looked_at_while_others_claim(look: str, tmp_path: Path) -> None:
    subject = load("lowq_conformance.queues.sound.strangers:OneAtATime").fresh()
    hands = [object() for _ in range(30)]
    until = Meanwhile.now(UTC) - timedelta(hours=1)
    until.claim = lambda: subject.took(hands.pop(), tmp_path, timedelta(0))
    subject._hands = dict.fromkeys(range(3), (tmp_path, until, hands[0]))

    getattr(subject, look)(tmp_path)

    assert len(hands) < 30
