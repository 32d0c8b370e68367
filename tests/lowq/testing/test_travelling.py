"""The fake clock with time-machine: the same instant for lowq and for the application, and none left behind."""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.context import ForkContext, SpawnContext
from typing import Any

import pytest
from freezegun import freeze_time

from lowq.testing import ClockError, fake_clock
from lowq.testing.clock import START

time_machine: Any = pytest.importorskip("time_machine")
HOUR = timedelta(hours=1)


def tell(clock: Any, pipe: Any) -> None:
    """Send this process's idea of now whenever asked."""
    while pipe.recv():
        pipe.send((clock.now(), time.time(), datetime.now(UTC).timestamp()))


def test_lowq_and_the_application_read_one_instant() -> None:
    with fake_clock(patch="time-machine") as clock:
        assert clock.now() == datetime.now(UTC) == dt.datetime.now(UTC) == START
        assert time.time() == START.timestamp()

        clock.advance(HOUR)

        assert clock.now() == datetime.now(UTC) == START + HOUR
        assert time.time() == (START + HOUR).timestamp()


def test_afterwards_time_is_real_again() -> None:
    with pytest.raises(KeyError), fake_clock(patch="time-machine"):
        raise KeyError

    assert not time_machine.escape_hatch.is_travelling()
    assert datetime.now(UTC) != START


def test_threads_and_executors_see_the_instant() -> None:
    seen: list[float] = []
    with fake_clock(patch="time-machine"), ThreadPoolExecutor(1) as executor:
        thread = threading.Thread(target=lambda: seen.append(time.time()))
        thread.start()
        thread.join(30)
        seen.append(executor.submit(time.time).result(30))

    assert seen == [START.timestamp()] * 2


@pytest.mark.parametrize("context", [multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_process_follows_every_move(context: ForkContext | SpawnContext) -> None:
    with fake_clock(patch="time-machine") as clock:
        ours, theirs = context.Pipe()
        child = context.Process(target=tell, args=(clock, theirs), daemon=True)
        child.start()
        try:
            for _ in range(3):
                ours.send(True)
                assert ours.poll(30)
                assert ours.recv() == (clock.now(), clock.now().timestamp(), clock.now().timestamp())
                clock.advance(HOUR)
        finally:
            ours.send(False)
            child.join(30)
            child.close()


def test_waiting_still_ends_and_durations_are_real() -> None:
    before = time.perf_counter()
    with fake_clock(patch="time-machine") as clock:
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.05, check=False)
        assert not threading.Event().wait(0.01)
        asyncio.run(asyncio.sleep(0.01))
        clock.advance(HOUR)

        assert 0.05 < time.perf_counter() - before < HOUR.total_seconds()


@pytest.mark.parametrize("patch", ["freezegun", "time-machine"])
@pytest.mark.parametrize("theirs", [freeze_time("2025-05-05"), time_machine.travel("2025-05-05T00:00Z", tick=False)])
def test_a_clock_inside_somebody_else_s_is_refused(patch: Any, theirs: Any) -> None:
    with (
        theirs,
        pytest.raises(ClockError, match=r"at 2025-05-05 00:00.*two instants cannot"),
        fake_clock(patch=patch),
    ):
        pass


@pytest.mark.parametrize("patch", ["freezegun", "time-machine"])
def test_a_journey_inside_is_told_when_the_queue_asks_for_the_time(patch: Any) -> None:
    with fake_clock(patch=patch) as clock:
        theirs = freeze_time if patch == "freezegun" else partial(time_machine.travel, tick=False)
        with (
            theirs("2025-05-05T00:00Z"),
            pytest.raises(ClockError, match=r"two instants cannot both be now.* at 2025-05-05"),
        ):
            clock.now()
        assert clock.now() == START


def test_a_journey_left_on_inside_does_not_reach_the_next_test() -> None:
    with pytest.raises(ClockError, match="still on"), fake_clock(patch="time-machine"):
        time_machine.travel("2025-05-05T00:00Z").start()

    assert not time_machine.escape_hatch.is_travelling()
