"""The clock: one instant for threads, forked and spawned processes, and no move of it that is lost."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq.clock import LAST_MICROS, Clock, FakeClock, SystemClock, deadline, span, to_datetime, to_micros

START = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001  to be refused
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

ADVANCE = """
import sys
from datetime import timedelta
from lowq import FakeClock
clock = FakeClock(path=sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
for _ in range(int(sys.argv[2])):
    clock.advance(timedelta(microseconds=1))
print(clock.now().isoformat())
"""


def in_threads(number: int, work: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert not any(thread.is_alive() for thread in threads)


def in_forks(number: int, work: Callable[[], Any]) -> None:
    children = []
    for _ in range(number):
        child = os.fork()
        if child == 0:
            try:
                work()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * number


def step(clock: FakeClock, times: int) -> None:
    for _ in range(times):
        clock.advance(MICROSECOND)


def test_a_fake_clock_stands_still_at_an_instant_with_microseconds() -> None:
    clock = FakeClock()

    assert clock.now() == clock.now() == START
    assert clock.now().tzinfo is UTC


def test_a_fake_clock_moves_when_it_is_told_to() -> None:
    clock = FakeClock(START)

    assert clock.advance(SECOND) == START + SECOND == clock.now()
    assert clock.advance(timedelta(0)) == START + SECOND
    assert clock.move_to(START + HOUR) == START + HOUR == clock.now()
    assert clock.move_to(START, back=True) == START == clock.now()


def test_an_instant_of_another_zone_is_the_same_instant() -> None:
    clock = FakeClock(START.astimezone(timezone(timedelta(hours=-7))))

    assert clock.now() == START
    assert clock.now().tzinfo is UTC


def test_time_goes_back_only_where_it_is_asked_to() -> None:
    clock = FakeClock(START)

    with pytest.raises(
        ValueError, match="advance: expected zero or more, got -1 day, 23:59:59, which goes back; use move_to"
    ):
        clock.advance(-SECOND)
    with pytest.raises(ValueError, match=r"expected 2030-01-01 12:00:00\.123456.*say back=True"):
        clock.move_to(START - SECOND)

    assert clock.now() == START


def test_a_move_out_of_the_calendar_is_refused_and_moves_nothing() -> None:
    clock = FakeClock(START)

    with pytest.raises(
        ValueError, match=r"advance: expected an end before the year 10000, got 4000000 days.* after 2030-01-01"
    ):
        clock.advance(timedelta(days=4_000_000))
    with pytest.raises(TypeError, match=r"advance: expected a timedelta, got int; say timedelta\(seconds="):
        clock.advance(60)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"instant: expected a time of 1970 to 9999 .*, got 1969-01-01 00:00:00"):
        clock.move_to(datetime(1969, 1, 1, tzinfo=UTC), back=True)

    assert clock.now() == START
    clock.advance(SECOND)
    assert clock.now() == START + SECOND


def test_naive_instants_are_refused() -> None:
    with pytest.raises(
        ValueError, match="start: expected an aware datetime, got 2030-01-01 00:00:00, which has no time zone"
    ):
        FakeClock(NAIVE)
    with pytest.raises(TypeError, match="instant: expected an aware datetime, got str"):
        FakeClock().move_to("2030-01-01")  # type: ignore[arg-type]


def test_clocks_of_one_file_are_one_clock_whose_start_is_the_first_ones(tmp_path: Path) -> None:
    one = FakeClock(START, path=tmp_path / "clock")
    other = FakeClock(START + HOUR, path=str(tmp_path / "clock"))

    one.advance(SECOND)

    assert other.now() == one.now() == START + SECOND


def test_a_file_outlives_its_clocks(tmp_path: Path) -> None:
    FakeClock(START, path=tmp_path / "clock").advance(HOUR)

    assert FakeClock(path=tmp_path / "clock").now() == START + HOUR


def test_threads_share_the_instant_and_lose_no_move() -> None:
    clock = FakeClock(START)

    in_threads(8, lambda: step(clock, 1000))

    assert clock.now() == START + 8000 * MICROSECOND


def test_forked_processes_share_the_instant_and_lose_no_move() -> None:
    clock = FakeClock(START)

    in_forks(4, lambda: step(clock, 1000))

    assert clock.now() == START + 4000 * MICROSECOND


def test_forked_processes_with_threads_lose_no_move(tmp_path: Path) -> None:
    clock = FakeClock(START, path=tmp_path / "clock")

    in_forks(2, lambda: in_threads(3, lambda: step(clock, 500)))

    assert clock.now() == START + 3000 * MICROSECOND


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_moves_the_clock_leaves_it_usable() -> None:
    clock = FakeClock(START)
    done = threading.Event()

    def move() -> None:
        while not done.is_set():
            clock.advance(MICROSECOND)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(20):
            in_forks(1, lambda: step(clock, 10))
    finally:
        done.set()
        mover.join(BOUND)

    assert clock.now() >= START + 200 * MICROSECOND


def test_other_interpreters_share_the_instant_and_lose_no_move(tmp_path: Path) -> None:
    clock = FakeClock(START, path=tmp_path / "clock")
    others = [python(ADVANCE, tmp_path / "clock", 1000) for _ in range(2)]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"

    for other in others:
        assert other.stdin is not None
        other.stdin.close()
        other.stdin = None
    step(clock, 1000)
    for other in others:
        answer(other)

    assert clock.now() == START + 3000 * MICROSECOND


def test_letting_one_clock_go_does_not_let_others_in_while_its_twin_moves(tmp_path: Path) -> None:
    clock, twin = FakeClock(START, path=tmp_path / "clock"), FakeClock(path=tmp_path / "clock")
    attempt = """
        import fcntl, sys
        with open(sys.argv[1], "r+b") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                print("let in")
            except OSError:
                print("kept out")
    """

    with clock._alone():
        del twin
        said = answer(python(attempt, tmp_path / "clock"))

    assert said == "kept out"


def test_a_clock_of_a_file_can_be_sent_to_a_spawned_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clock = FakeClock(START, path="clock")
    monkeypatch.chdir("/")

    child = multiprocessing.get_context("spawn").Process(target=step, args=(clock, 100))
    child.start()
    child.join(BOUND)

    assert child.exitcode == 0
    assert clock.now() == START + 100 * MICROSECOND


def test_a_clock_without_a_file_cannot_be_sent_and_says_so() -> None:
    with pytest.raises(
        TypeError, match="a FakeClock without a path cannot be sent to another process: give it path="
    ):
        pickle.dumps(FakeClock())


def test_clocks_without_a_file_are_apart() -> None:
    one, other = FakeClock(START), FakeClock(START)

    one.advance(SECOND)

    assert other.now() == START


def test_a_countdown_ends_when_the_clock_was_moved_that_far() -> None:
    clock = FakeClock(START)
    left = clock.countdown(HOUR)

    assert HOUR - SECOND < left() <= HOUR
    clock.advance(HOUR - SECOND)
    assert timedelta(0) < left() <= SECOND
    clock.advance(SECOND)
    assert left() <= timedelta(0)


def test_a_countdown_ends_by_itself_so_that_one_thread_alone_never_hangs() -> None:
    clock = FakeClock(START)

    began = monotonic()
    assert not clock.wait(threading.Event().wait, timedelta(seconds=0.05))

    assert 0.04 < monotonic() - began < BOUND


@pytest.mark.parametrize("make", [SystemClock, FakeClock])
def test_waiting_ends_with_the_event(make: Callable[[], Clock]) -> None:
    event = threading.Event()
    timer = threading.Timer(0.05, event.set)
    timer.start()

    assert make().wait(event.wait, HOUR)
    timer.join(BOUND)


@pytest.mark.parametrize("make", [SystemClock, FakeClock])
@pytest.mark.parametrize("timeout", [timedelta(0), -SECOND])
def test_waiting_for_no_time_looks_once(make: Callable[[], Clock], timeout: timedelta) -> None:
    event = threading.Event()
    assert not make().wait(event.wait, timeout)

    event.set()
    assert make().wait(event.wait, timeout)


def test_waiting_ends_when_another_thread_moves_the_clock() -> None:
    clock = FakeClock(START)
    timer = threading.Timer(0.05, clock.advance, [HOUR])
    timer.start()

    assert not clock.wait(threading.Event().wait, HOUR)
    timer.join(BOUND)


def test_waiting_ends_when_another_process_moves_the_clock(tmp_path: Path) -> None:
    clock = FakeClock(START, path=tmp_path / "clock")
    other = python(ADVANCE.replace("microseconds=1", "hours=1"), tmp_path / "clock", 1)
    assert other.stdin is not None
    other.stdin.close()
    other.stdin = None

    assert not clock.wait(threading.Event().wait, HOUR)
    answer(other)


def test_the_system_clock_tells_this_instant_in_utc() -> None:
    before, now, after = datetime.now(UTC), SystemClock().now(), datetime.now(UTC)

    assert before <= now <= after
    assert now.tzinfo is UTC


@pytest.mark.parametrize(
    ("instant", "micros"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (START, 1_893_499_200_123_456),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime.max.replace(tzinfo=UTC), LAST_MICROS),
    ],
)
def test_an_instant_is_whole_microseconds_and_back(instant: datetime, micros: int) -> None:
    assert to_micros(instant) == micros
    assert to_datetime(micros) == instant


def test_the_hour_that_comes_twice_is_two_instants() -> None:
    zoneinfo = pytest.importorskip("zoneinfo")
    try:
        berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")
    first = datetime(2030, 10, 27, 2, 30, tzinfo=berlin)

    assert to_micros(first.replace(fold=1)) - to_micros(first) == 3600 * 1_000_000


@pytest.mark.parametrize(
    ("instant", "error", "said"),
    [
        (
            NAIVE,
            ValueError,
            "not_before: expected an aware datetime, got 2030-01-01 00:00:00, which has no time zone; use",
        ),
        (
            datetime(1969, 12, 31, 23, tzinfo=UTC),
            ValueError,
            "not_before: expected a time of 1970 to 9999 .* got 1969-12-31",
        ),
        (
            datetime.max.replace(tzinfo=timezone(-HOUR)),
            ValueError,
            "not_before: expected a time of 1970 to 9999 .* got 9999-12-31",
        ),
        (
            datetime.min.replace(tzinfo=timezone(HOUR)),
            ValueError,
            "not_before: expected a time of 1970 to 9999 .* got 0001-01-01",
        ),
        (1234567890, TypeError, "not_before: expected an aware datetime, got int"),
        (START.date(), TypeError, "not_before: expected an aware datetime, got date"),
    ],
)
def test_what_is_no_instant_is_refused(instant: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        to_micros(instant, "not_before")


@pytest.mark.parametrize(
    ("lease_for", "error", "said"),
    [
        (timedelta(0), ValueError, "lease_for: expected more than zero"),
        (-SECOND, ValueError, "lease_for: expected zero or more, got -1 day, 23:59:59, which is negative"),
        (30, TypeError, r"lease_for: expected a timedelta, got int; say timedelta\(seconds=…\)"),
        (
            timedelta.max,
            ValueError,
            "lease_for: expected a lease that ends before the year 10000, got 999999999 days",
        ),
    ],
)
def test_what_is_no_lease_is_refused(lease_for: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        deadline(0, lease_for)


def test_the_shortest_lease_is_a_microsecond() -> None:
    assert deadline(5, MICROSECOND) == 6
    assert span(timedelta(0), "wait") == 0
