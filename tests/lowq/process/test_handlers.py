"""Errors that a signal's handler raised, told from those of the system."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cutoff import at_instruction
from scenes import VERBS, Scene

from lowq import FakeClock, open_backend
from lowq.location import locate
from lowq.process.handlers import Suppressed, let_through, let_through_hidden

STEP = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 251
STRIKE = partial(signal.raise_signal, signal.SIGUSR1)

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=[TimeoutError, FileNotFoundError, BlockingIOError])
def kind(request: pytest.FixtureRequest) -> Iterator[type[OSError]]:
    """What the handler of SIGUSR1 raises."""

    def alarm(*_: Any) -> None:
        raise request.param("the alarm's")

    before = signal.signal(signal.SIGUSR1, alarm)
    yield request.param
    signal.signal(signal.SIGUSR1, before)


def test_what_a_handler_raises_is_not_suppressed(kind: type[OSError]) -> None:
    with pytest.raises(kind, match="the alarm's"), Suppressed(OSError):
        STRIKE()


def test_what_a_handler_raises_is_let_through(kind: type[OSError]) -> None:
    def call() -> None:
        try:
            STRIKE()
        except OSError as error:
            let_through(error)

    with pytest.raises(kind, match="the alarm's"):
        call()


def hide() -> None:
    """As a client of a server does."""
    try:
        STRIKE()
    except OSError:
        raise KeyError("the server is away") from None


def test_what_a_handler_raised_and_a_library_hid_is_let_through(kind: type[OSError]) -> None:
    def call() -> None:
        try:
            hide()
        except KeyError as error:
            let_through_hidden(error)

    with pytest.raises(kind, match="the alarm's"):
        call()


def test_what_a_handler_raised_before_is_handled_already(kind: type[OSError]) -> None:
    def call() -> None:
        try:
            raise KeyError("the server is away")
        except KeyError as error:
            assert isinstance(error.__context__, kind)  # noqa: PT017
            let_through_hidden(error)

    try:
        STRIKE()
    except kind:
        call()


def test_what_the_system_raises_is_suppressed_and_not_let_through(kind: type[OSError], tmp_path: Path) -> None:
    with Suppressed(KeyError, FileNotFoundError):
        (tmp_path / "none").read_bytes()
    try:
        (tmp_path / "none").read_bytes()
    except FileNotFoundError as error:
        let_through(error)


def test_other_kinds_than_the_suppressed_are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Suppressed(PermissionError, ValueError):
        (tmp_path / "none").read_bytes()


@pytest.mark.parametrize(
    "location",
    [
        "files://{}/q?durability=none",
        "sqlite://{}/q.db?durability=none",
        "memory://{}",
        "lowq_postgres",
        "lowq_valkey",
    ],
)
def test_an_alarm_in_the_middle_of_any_call_is_heard(
    location: str, kind: type[OSError], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    clock = FakeClock()
    scene = Scene(clock=clock, start=clock.now())
    at = location.format(tmp_path) if "{" in location else request.getfixturevalue(location)
    opened = partial(open_backend, at, clock=clock)
    with closing(opened()) as queue:
        queue.push("first")  # what JSON's encoder can do is found out once, whatever is raised meanwhile
        heard = 0
        for name, verb in VERBS.items():
            index, reached = random.randrange(STEP), True
            while reached:
                with closing(opened()) as other:
                    for task in other.tasks():
                        assert other.cancel(task.id)  # what was leased has run out
                clock.move_to(scene["start"], back=True)
                queue.count()  # a whole call: what it leaves to look at is as short as before the first cut
                verb.prepare(queue, scene)
                try:
                    reached = at_instruction(index, partial(verb.call, queue, scene), STRIKE)
                    assert not reached, f"{name}: at instruction {index} the alarm went by unheard"
                except kind:
                    heard += 1
                clock.advance(timedelta(hours=1))
                index += STEP
        assert heard > len(VERBS)  # a short one may be over before the first
        assert queue.push("afterwards").added


@pytest.mark.parametrize(
    "error", [TypeError("the alarm's"), ValueError("the alarm's"), UnicodeEncodeError("utf-8", "\ud800", 0, 1, "")]
)
def test_an_alarm_while_a_location_is_read_is_heard(error: Exception) -> None:
    def alarm(*_: Any) -> None:
        raise error

    before, index, reached = signal.signal(signal.SIGUSR1, alarm), 0, True
    try:
        while reached:
            try:
                reached = at_instruction(index, partial(locate, "sqlite:///srv/q.db?patience=3"), STRIKE)
                assert not reached, f"at instruction {index} the alarm went by unheard"
            except type(error) as found:
                assert found is error, f"at instruction {index} it became {found!r}"  # noqa: PT017
            index += 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert index > 100
