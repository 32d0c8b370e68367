"""The fake clock of a test: one instant for lowq, for the application's code, and for every process of the test."""

from __future__ import annotations

import asyncio
import datetime as dt
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from types import ModuleType

import pytest
from freezegun import freeze_time

from lowq import FakeClock
from lowq.clock import SystemClock
from lowq.testing import ClockError, fake_clock
from lowq.testing.clock import START

HOUR = timedelta(hours=1)


def at_depth(depth: int) -> float:
    """The time as code sees it that is called through `depth` functions."""
    return at_depth(depth - 1) if depth else time.time()


def in_a_thread(function: Callable[[], float]) -> float:
    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.append(function()))
    thread.start()
    thread.join(30)
    return seen[0]


def tell(clock: FakeClock, pipe: object) -> None:
    """Send this process's idea of now whenever asked."""
    while pipe.recv():  # type: ignore[attr-defined]
        pipe.send((clock.now(), time.time(), datetime.now(UTC).timestamp()))  # type: ignore[attr-defined]


def test_lowq_and_the_application_read_one_instant() -> None:
    with fake_clock() as clock:
        assert clock.now() == datetime.now(UTC) == dt.datetime.now(UTC) == START
        assert time.time() == START.timestamp()

        clock.advance(HOUR)

        assert clock.now() == datetime.now(UTC) == START + HOUR
        assert time.time() == (START + HOUR).timestamp()


def test_afterwards_time_is_real_again() -> None:
    before = (time.time, time.monotonic, dt.datetime, dt.date, datetime)

    with pytest.raises(KeyError), fake_clock():
        raise KeyError

    assert (time.time, time.monotonic, dt.datetime, dt.date, datetime) == before
    with fake_clock() as clock:
        assert clock.now() == START


@pytest.mark.parametrize("depth", range(8))
def test_a_thread_sees_the_instant_at_any_depth(depth: int) -> None:
    with fake_clock():
        assert in_a_thread(lambda: at_depth(depth)) == START.timestamp()


@pytest.mark.parametrize("depth", range(4))
def test_an_executor_sees_the_instant_at_any_depth(depth: int) -> None:
    with fake_clock(), ThreadPoolExecutor(1) as executor:
        assert executor.submit(at_depth, depth).result(30) == START.timestamp()
        assert executor.submit(time.time).result(30) == START.timestamp()


def test_a_coroutine_sees_the_instant_wherever_it_runs() -> None:
    async def look() -> list[float]:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        task = asyncio.create_task(asyncio.to_thread(at_depth, 0))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        return [time.time(), await task, await loop.run_in_executor(None, time.time)]

    with fake_clock():
        assert asyncio.run(look()) == [START.timestamp()] * 3


@pytest.mark.parametrize(
    "name", ["queues", "queue_of_mails", "threads.threading", "subprocesses", "gifts", "lowqueue"]
)
def test_a_module_sees_the_instant_whatever_its_name_begins_with(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """freezegun leaves out what begins like a module that it leaves out: `gifts` like `gi`."""
    module = ModuleType(name)
    exec(
        "import time\nfrom datetime import UTC, datetime\ndef now(): return time.time(), datetime.now(UTC)",
        vars(module),
    )
    monkeypatch.setitem(sys.modules, name, module)

    with fake_clock():
        assert vars(module)["now"]() == (START.timestamp(), START)
    assert vars(module)["datetime"] is datetime


@pytest.mark.parametrize("context", [multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_process_follows_every_move(context: ForkContext | SpawnContext) -> None:
    with fake_clock() as clock:
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


def advance_often(clock: FakeClock, times: int) -> None:
    for _ in range(times):
        clock.advance(timedelta(seconds=1))


def test_80_000_moves_by_many_threads_lose_none() -> None:
    with fake_clock() as clock:
        threads = [threading.Thread(target=advance_often, args=(clock, 10_000)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

        assert clock.now() == START + timedelta(seconds=80_000)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_moves_by_many_processes_lose_none() -> None:
    fork = multiprocessing.get_context("fork")
    with fake_clock() as clock:
        children = [fork.Process(target=advance_often, args=(clock, 1000)) for _ in range(4)]
        for child in children:
            child.start()
        advance_often(clock, 1000)
        for child in children:
            child.join(120)

        assert clock.now() == START + timedelta(seconds=5000)


def test_waiting_by_the_real_time_still_ends() -> None:
    with fake_clock():
        with pytest.raises(subprocess.TimeoutExpired):
            subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.05, check=False)
        assert not threading.Event().wait(0.01)
        asyncio.run(asyncio.sleep(0.01))


@pytest.mark.parametrize("read", ["monotonic", "perf_counter", "monotonic_ns", "perf_counter_ns"])
def test_a_loop_up_to_a_deadline_ends_by_the_real_time_and_by_a_move(read: str) -> None:
    second = 10**9 if read.endswith("_ns") else 1
    left = SystemClock().countdown(timedelta(seconds=30))
    with fake_clock() as clock:
        end = getattr(time, read)() + 0.05 * second
        while getattr(time, read)() < end:
            assert left() > timedelta(0), "the loop would never end"

        end = getattr(time, read)() + 3600 * second
        clock.advance(HOUR)
        assert getattr(time, read)() >= end


def test_monotonic_never_goes_back() -> None:
    with fake_clock() as clock:
        clock.advance(HOUR)
        before = time.monotonic()

        clock.move_to(START, back=True)

        assert datetime.now(UTC) == START
        assert time.monotonic() >= before


def test_going_back_is_refused_unless_asked_for() -> None:
    with fake_clock() as clock:
        with pytest.raises(ValueError, match="back=True"):
            clock.move_to(START - HOUR)
        with pytest.raises(ValueError, match="goes back"):
            clock.advance(-HOUR)

        assert clock.now() == START


def test_a_naive_instant_is_refused() -> None:
    with fake_clock() as clock:
        with pytest.raises(ValueError, match="no time zone"):
            clock.move_to(datetime(2031, 1, 1))  # noqa: DTZ001 - the naive datetime is the subject

        assert clock.now() == START
    with pytest.raises(ValueError, match="no time zone"), fake_clock(datetime(2031, 1, 1)):  # noqa: DTZ001
        pass


def test_a_clock_inside_a_frozen_time_is_refused() -> None:
    with (
        freeze_time("2025-05-05"),
        pytest.raises(ClockError, match="two instants cannot both be now"),
        fake_clock(),
    ):
        pass


def test_a_freeze_inside_is_told_when_the_queue_asks_for_the_time() -> None:
    with fake_clock() as clock:
        with freeze_time("2025-05-05"), pytest.raises(ClockError, match="two instants cannot both be now"):
            clock.now()
        assert clock.now() == START


def test_a_freeze_left_running_inside_does_not_reach_the_next_test() -> None:
    before = (time.time, dt.datetime, datetime)
    with pytest.raises(ClockError, match="still running"), fake_clock():
        freeze_time("2025-05-05").start()

    assert (time.time, dt.datetime, datetime) == before


def test_one_clock_at_a_time() -> None:
    with fake_clock() as clock:
        with pytest.raises(ClockError, match="running already"), fake_clock():
            pass
        assert clock.now() == START


def test_without_a_patch_only_lowq_stands_still() -> None:
    with fake_clock(patch="none") as clock:
        assert clock.now() == START
        assert datetime.now(UTC) != START


def test_the_instant_lives_in_the_file_that_was_named(tmp_path: Path) -> None:
    with fake_clock(path=tmp_path / "instant") as clock:
        clock.advance(HOUR)
        assert FakeClock(path=tmp_path / "instant").now() == START + HOUR
    assert os.listdir(tmp_path) == ["instant"]
