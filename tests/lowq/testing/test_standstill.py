"""A loop up to a time that never comes, because the clock stands still, ends with what to do."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lowq.clock import SystemClock
from lowq.testing import ClockError, fake_clock, standstill
from lowq.testing.clock import Patch

SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "PATIENCE", timedelta(seconds=0.3))


def by_datetime(nap: float) -> None:
    end = datetime.now(UTC) + SECOND
    while datetime.now(UTC) < end:
        time.sleep(nap)


def by_time(nap: float) -> None:
    end = time.time() + 1
    while time.time() < end:
        time.sleep(nap)


def by_a_helper(nap: float) -> None:
    def left() -> float:
        return end - time.time_ns()

    end = time.time_ns() + 10**9
    while left() > 0:
        time.sleep(nap)


def by_two_reads(nap: float) -> None:
    end = dt.datetime.now(UTC) + SECOND
    while dt.datetime.now(UTC) < end:
        time.sleep(nap)
        str(dt.datetime.now(UTC))


@pytest.mark.parametrize("patch", ["freezegun", "time-machine"])
@pytest.mark.parametrize("loop", [by_datetime, by_time, by_a_helper, by_two_reads])
@pytest.mark.parametrize("nap", [0.0, 0.01])
def test_a_loop_up_to_a_time_ends(loop: Callable[[float], None], patch: Patch, nap: float) -> None:
    if patch == "time-machine":
        pytest.importorskip("time_machine")

    with (
        fake_clock(patch=patch),
        pytest.raises(ClockError, match=rf"{__file__}:\d+ has read the time .* stands still"),
    ):
        loop(nap)


def test_a_loop_ends_where_somebody_moves_the_clock() -> None:
    with fake_clock() as clock:
        mover = threading.Timer(0.1, clock.advance, [SECOND])
        mover.start()

        by_datetime(0.01)
        mover.join()


def test_many_calls_that_ask_for_the_time_are_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that is called again and again, as a log's is, asks from one place, and each call ends."""

    def created() -> float:
        return written()

    def written() -> float:
        return stamp()

    def stamp() -> float:
        return time.time()

    with fake_clock() as clock:
        left = SystemClock().countdown(timedelta(seconds=1.2))
        while left() > timedelta(0):
            assert created() == clock.now().timestamp()
            time.sleep(0.005)
