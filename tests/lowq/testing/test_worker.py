"""The worker of a test: what one step, a drain, and the passing of time leave behind.

Long: each call of that worker has a class of its own.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from lowq import FakeClock, Retry, State
from lowq.testing import (
    ClockError,
    CrashMissed,
    NothingDue,
    SyncWorker,
    TempQueue,
    TooManyRuns,
    UnknownQueue,
    fake_clock,
    temp_queue,
)
from lowq.testing.clock import START
from lowq.testing.queues import OpenAt

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def fail(_: object) -> None:
    raise ZeroDivisionError("division by zero")


def ignore(_: object) -> None:
    pass


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_clock(patch="none") as clock:
        yield clock


@pytest.fixture
def store(clock: FakeClock, open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        store.backend()
        yield store


@pytest.fixture
def worker(store: TempQueue) -> SyncWorker:
    return SyncWorker(store)


@pytest.fixture
def ran(store: TempQueue) -> list[Any]:
    """The works that the only queue's handler was called with."""
    works: list[Any] = []
    store.handle(None, works.append)
    return works


class TestRunOne:
    def test_it_runs_the_most_urgent_task(self, store: TempQueue, worker: SyncWorker, ran: list[Any]) -> None:
        store.backend().push("b")
        store.backend().push("a", priority=1)

        run = worker.run_one()

        assert (run.task.work, run.outcome, run.error, run.at) == ("a", "done", None, START)
        assert ran == ["a"]
        assert [task.work for task in store.backend().tasks()] == ["b"]

    @pytest.mark.usefixtures("ran")
    def test_nothing_due_says_when_the_next_is(self, store: TempQueue, worker: SyncWorker) -> None:
        with pytest.raises(NothingDue, match=r"^nothing is due in queue.db, and nothing will be$"):
            worker.run_one()

        store.backend().push(1, not_before=START + MINUTE)

        with pytest.raises(
            NothingDue, match=r"task 1 falls due at 2030-01-01 12:01:00.123456 UTC, in 0:01:00: advance"
        ):
            worker.run_one()

    @pytest.mark.usefixtures("ran")
    def test_a_lease_that_will_end_is_named(self, store: TempQueue, worker: SyncWorker) -> None:
        store.backend().push(1)
        store.backend().claim(lease_for=MINUTE)

        with pytest.raises(NothingDue, match="a lease ends at 2030-01-01 12:01:00"):
            worker.run_one()

    def test_a_failure_is_retried_later_and_told(self, store: TempQueue, worker: SyncWorker) -> None:
        store.handle(None, fail, retry=Retry(first=10 * SECOND))
        store.backend().push(1)

        run = worker.run_one()

        assert run.outcome == "retry"
        assert isinstance(run.error, ZeroDivisionError)
        assert run.next_due is not None
        assert 5 * SECOND <= run.next_due - START <= 10 * SECOND
        (task,) = store.backend().tasks()
        assert (task.state, task.attempts) == (State.SCHEDULED, 1)
        assert task.reason is not None
        assert "ZeroDivisionError" in task.reason

    def test_a_queue_without_a_handler_is_named(self, store: TempQueue, worker: SyncWorker) -> None:
        store.backend().push(1)

        with pytest.raises(UnknownQueue, match=r"nobody knows how to run the tasks of queue\.db"):
            worker.run_one()


class TestDrain:
    def test_it_runs_children_too_and_moves_no_clock(
        self, store: TempQueue, worker: SyncWorker, clock: FakeClock
    ) -> None:
        def handler(work: int) -> None:
            if work < 3:
                store.backend().push(work + 1)

        store.handle(None, handler)
        store.backend().push(0)
        store.backend().push(100, not_before=START + HOUR)

        runs = worker.drain()

        assert [run.task.work for run in runs] == [0, 1, 2, 3]
        assert clock.now() == START
        assert worker.runs == runs

    def test_queues_take_turns(self, store: TempQueue, worker: SyncWorker) -> None:
        seen: list[str] = []
        for name in ("a.db", "b.db"):
            store.backend(name).push_many([])
            store.handle(name, seen.append)
            for number in range(2):
                store.backend(name).push(f"{name} {number}")

        worker.drain()

        assert seen == ["a.db 0", "b.db 0", "a.db 1", "b.db 1"]

    def test_one_queue_can_be_drained_alone(self, store: TempQueue, worker: SyncWorker) -> None:
        for name in ("a.db", "b.db"):
            store.handle(name, ignore)
            store.backend(name).push(name)

        assert [run.task.work for run in worker.drain("b.db")] == ["b.db"]

    def test_shuffled_queues_keep_their_own_order(self, store: TempQueue) -> None:
        orders = set()
        for seed in range(10):
            seen: list[str] = []
            for name in ("a.db", "b.db"):
                store.handle(name, seen.append)
                for number in range(3):
                    store.backend(name).push(f"{name} {number}")
            SyncWorker(store, random=Random(seed), shuffle=True).drain()
            orders.add(tuple(seen))
            assert [each for each in seen if each.startswith("a")] == ["a.db 0", "a.db 1", "a.db 2"]

        assert len(orders) > 1

    def test_a_task_that_pushes_itself_is_found_out(self, store: TempQueue) -> None:
        worker = SyncWorker(store, max_runs=20)
        store.handle(None, lambda work: store.backend().push(work + 1))
        store.backend().push(0)

        with pytest.raises(TooManyRuns) as error:
            worker.drain()

        lines = str(error.value).splitlines()
        assert lines[:3] == [
            "more than 20 runs, and still tasks are due: does a task push itself again? If it is to, end with "
            "run_until_idle(until=…); if so many are right, allow more with max_runs",
            "  21 in queue.db",
            "the latest:",
        ]
        assert lines[-1] == "  2030-01-01 12:00:00.123456 UTC  queue.db  task 21  done in attempt 1  20"
        assert len(lines) == 13


class TestRunUntilIdle:
    def test_each_task_sees_its_own_instant(self, store: TempQueue, worker: SyncWorker, clock: FakeClock) -> None:
        seen = []
        store.handle(None, lambda work: seen.append((work, clock.now() - START)))
        store.backend().push("later", not_before=START + HOUR)
        store.backend().push("now")
        store.backend().push("soon", not_before=START + MINUTE)

        worker.run_until_idle()

        assert seen == [("now", 0 * MINUTE), ("soon", MINUTE), ("later", HOUR)]
        assert clock.now() == START + HOUR

    def test_retries_are_run_to_their_end(self, store: TempQueue, worker: SyncWorker) -> None:
        store.handle(None, fail, retry=Retry(max_attempts=3))
        store.backend().push(1)

        runs = worker.run_until_idle()

        assert [(run.outcome, run.task.attempts) for run in runs] == [("retry", 1), ("retry", 2), ("dead", 3)]
        assert [run.next_due for run in runs[:2]] == [run.at for run in runs[1:]]

    def test_until_is_where_the_clock_stands_afterwards(
        self, store: TempQueue, worker: SyncWorker, clock: FakeClock, ran: list[Any]
    ) -> None:
        store.backend().push(1, not_before=START + MINUTE)
        store.backend().push(2, not_before=START + HOUR)

        worker.run_until_idle(until=30 * MINUTE)

        assert ran == [1]
        assert clock.now() == START + 30 * MINUTE

    @pytest.mark.usefixtures("ran")
    def test_without_advancing_it_is_a_drain(self, store: TempQueue, worker: SyncWorker, clock: FakeClock) -> None:
        store.backend().push(1, not_before=START + MINUTE)

        assert worker.run_until_idle(advance=False) == []
        assert clock.now() == START

    def test_a_task_that_comes_back_for_ever_is_found_out(
        self, store: TempQueue, worker: SyncWorker, clock: FakeClock
    ) -> None:
        store.handle(None, lambda work: store.backend().push(work + 1, not_before=clock.now() + MINUTE))
        store.backend().push(0)

        with pytest.raises(TooManyRuns, match="more than 5 runs"):
            worker.run_until_idle(max_runs=5)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"until": datetime(2031, 1, 1)}, "until: expected an aware datetime, got 2031-01-01 00:00:00"),  # noqa: DTZ001
            ({"until": 5}, "until: expected an aware datetime or a timedelta, got int"),
            ({"until": -SECOND}, "until: expected no earlier than now, 2030-01-01 12:00:00.123456"),
            ({"max_runs": 0}, "max_runs: expected 1 or more, got 0"),
            ({"max_runs": "9"}, "max_runs: expected an int, got str"),
        ],
    )
    def test_misuse_is_told_before_anything_runs(
        self, store: TempQueue, worker: SyncWorker, ran: list[Any], options: Any, said: str
    ) -> None:
        store.backend().push(1)

        with pytest.raises((TypeError, ValueError), match=said):
            worker.run_until_idle(**options)
        assert ran == []

    def test_the_real_clock_cannot_be_moved(self) -> None:
        with temp_queue() as store, pytest.raises(ClockError, match="ask for lowq_clock"):
            SyncWorker(store).run_until_idle()


class TestPerform:
    def test_it_runs_a_handler_alone(self, store: TempQueue, worker: SyncWorker) -> None:
        seen: list[Any] = []

        run = worker.perform(seen.append, {"a": (1, 2)})

        assert (run.outcome, run.task.attempts, seen) == ("done", 1, [{"a": [1, 2]}])
        assert store.backend().tasks() == []

    def test_the_attempt_decides_what_becomes_of_a_failure(self, worker: SyncWorker) -> None:
        def handler(work: object) -> None:
            raise ValueError(work)

        assert worker.perform(handler, 1).outcome == "retry"
        assert worker.perform(handler, 1, attempt=5).outcome == "dead"
        assert worker.perform(handler, 1, attempt=2, retry=Retry(max_attempts=2)).outcome == "dead"

    def test_a_queue_stands_for_its_handler(self, store: TempQueue, worker: SyncWorker, ran: list[Any]) -> None:
        assert worker.perform(store.backend(), 7).outcome == "done"
        assert ran == [7]


class TestCrash:
    @pytest.fixture
    def charges(self, store: TempQueue) -> list[str]:
        """A handler that charges, and then writes the receipt."""
        done: list[str] = []

        def handler(work: str) -> None:
            done.append(f"charged {work}")
            done.append(f"receipt {work}")

        store.handle(None, handler)
        return done

    @pytest.mark.parametrize(
        ("at", "left"),
        [("before", []), ("during", ["charged ann"]), ("after", ["charged ann", "receipt ann"])],
    )
    def test_nothing_is_settled_and_the_task_comes_again(
        self, store: TempQueue, worker: SyncWorker, clock: FakeClock, charges: list[str], at: Any, left: list[str]
    ) -> None:
        store.backend().push("ann")

        lease = worker.crash(at=at)

        assert charges == left
        assert [(task.state, task.attempts) for task in store.backend().tasks()] == [(State.LEASED, 1)]
        with pytest.raises(NothingDue, match="a lease ends"):
            worker.run_one()
        clock.move_to(lease.expires)
        assert worker.run_one().task.attempts == 2
        assert charges == [*left, "charged ann", "receipt ann"]

    def test_the_line_of_the_crash_can_be_chosen(
        self, store: TempQueue, worker: SyncWorker, charges: list[str]
    ) -> None:
        store.backend().push("ann")

        worker.crash(at="during", lines=0)

        assert charges == []

    def test_what_a_collection_of_garbage_calls_is_not_taken_for_the_handler(
        self, store: TempQueue, worker: SyncWorker, charges: list[str]
    ) -> None:
        store.backend().push("ann")

        def called(phase: str, _: dict[str, int]) -> None:
            """As Hypothesis measures the time of collections."""

        before = gc.get_threshold()
        gc.callbacks.append(called)
        gc.set_threshold(1, 1, 1)
        try:
            worker.crash(at="during", lines=1)
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(called)

        assert charges == ["charged ann"]
        assert gc.isenabled()

    @pytest.mark.usefixtures("charges")
    def test_a_crash_that_is_never_reached_is_told(self, store: TempQueue, worker: SyncWorker) -> None:
        store.backend().push("ann")

        with pytest.raises(CrashMissed, match="returned before its line 10"):
            worker.crash(at="during", lines=9)

    def test_a_handler_that_swallows_everything_is_told(self, store: TempQueue, worker: SyncWorker) -> None:
        def handler(work: object) -> None:
            try:
                store.backend().count()
            except BaseException:
                store.backend().count()

        store.handle(None, handler)
        store.backend().push(1)

        with pytest.raises(CrashMissed, match="caught the crash"):
            worker.crash(at="during", lines=1)

    @pytest.mark.parametrize("lines", range(10))
    def test_what_the_handler_was_handling_is_forgotten(
        self, store: TempQueue, worker: SyncWorker, lines: int
    ) -> None:
        def handler(work: object) -> None:
            with suppress(ValueError):
                raise ValueError
            try:
                raise KeyError
            except KeyError:
                pass
            finally:
                store.backend().count()
            for _ in range(3):
                store.backend().count()

        store.handle(None, handler)
        store.backend().push(1)

        worker.crash(at="during", lines=lines)

        assert sys.exc_info() == (None, None, None)

    def test_what_the_handler_raises_before_that_line_comes_out_as_it_is(
        self, store: TempQueue, worker: SyncWorker
    ) -> None:
        def handler(work: object) -> None:
            next(iter([]))

        store.handle(None, handler)
        store.backend().push(1)

        with pytest.raises(StopIteration):
            worker.crash(at="during", lines=9)

    @pytest.mark.parametrize("lines", [-1, "1"])
    def test_only_lines_there_can_be(self, worker: SyncWorker, lines: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="lines: expected"):
            worker.crash(at="during", lines=lines)

    def test_only_points_there_are(self, worker: SyncWorker) -> None:
        with pytest.raises(ValueError, match="expected before, during or after"):
            worker.crash(at="sometime")  # type: ignore[arg-type]


class TestRedeliver:
    def test_a_done_task_comes_once_more(self, store: TempQueue, worker: SyncWorker, ran: list[Any]) -> None:
        store.backend().push("a")
        run = worker.run_one()

        again = worker.redeliver(run)

        assert ran == ["a", "a"]
        assert (again.outcome, again.task.attempts) == ("done", 2)

    def test_twice_delivers_every_task_once_more(self, store: TempQueue, ran: list[Any]) -> None:
        store.backend().push("a")
        store.backend().push("b")

        runs = SyncWorker(store, twice=True).drain()

        assert ran == ["a", "a", "b", "b"]
        assert len(runs) == 2

    def test_twice_shows_a_handler_that_cannot_be_repeated(self, store: TempQueue) -> None:
        accounts = {"ann"}
        store.handle(None, accounts.remove)
        store.backend().push("ann")

        with pytest.raises(KeyError) as error:
            SyncWorker(store, twice=True).drain()

        assert error.value.__notes__ == ["at the second delivery of the work 'ann', which was done before"]

    def test_twice_performs_twice(self, store: TempQueue, ran: list[Any]) -> None:
        worker = SyncWorker(store, twice=True)

        run = worker.perform(ran.append, "a")

        assert (run.outcome, run.task.attempts, ran) == ("done", 1, ["a", "a"])
        with pytest.raises(KeyError) as error:
            worker.perform({"ann"}.remove, "ann")
        assert error.value.__notes__ == ["at the second delivery of the work 'ann', which was done before"]

    def test_only_runs_of_this_worker_that_are_done(self, store: TempQueue, worker: SyncWorker) -> None:
        store.handle(None, fail)
        store.backend().push("a")
        run = worker.run_one()

        with pytest.raises(ValueError, match="expected one that is done, got retry"):
            worker.redeliver(run)
        with pytest.raises(ValueError, match="expected a Run that this worker returned"):
            worker.redeliver(worker.perform(ignore, 1))
