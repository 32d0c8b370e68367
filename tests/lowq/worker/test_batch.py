"""A worker that has several tasks in hand: run in order, settled together and soon, given back when it is to stop.

Long: each way in which a run of several can end has a test of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, python

import lowq
from lowq import Backend, Counts, Discard, FakeClock, Item, Later, Retry, Run, State, Worker, open_backend
from lowq.clock import SystemClock

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(params=["memory", "sqlite"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with closing(open_backend(f"memory://{tmp_path}" if request.param == "memory" else tmp_path / "q.db")) as opened:
        yield opened


def told(run: Run) -> tuple[Any, str, int]:
    return run.task.work, run.outcome, run.task.attempts


def wait_until(true: Any) -> None:
    left = SystemClock().countdown(timedelta(seconds=BOUND))
    while not true():
        assert left() > timedelta(0)
        SystemClock().sleep(timedelta(milliseconds=2))


# drained


@pytest.mark.parametrize("batch", [2, 3, 7, 100])
def test_everything_is_run_once_in_order_and_told(queue: Backend, batch: int) -> None:
    queue.push_many([Item(work) for work in range(7)])
    done: list[Any] = []

    runs = Worker(queue, done.append, batch=batch).drain()

    assert done == list(range(7))
    assert [told(run) for run in runs] == [(work, "done", 1) for work in range(7)]
    assert queue.count() == Counts()


def test_what_a_task_of_a_batch_pushes_is_run(queue: Backend) -> None:
    queue.push(0)

    def handler(work: int) -> None:
        if work < 5:
            queue.push(work + 1)

    runs = Worker(queue, handler, batch=3).drain()

    assert [run.task.work for run in runs] == [0, 1, 2, 3, 4, 5]


def test_a_task_that_fails_stops_no_other(queue: Backend) -> None:
    queue.push_many([Item(work) for work in "abcd"])

    def handler(work: str) -> None:
        if work in "bc":
            raise ValueError(work)

    worker = Worker(queue, handler, batch=4, retry=Retry(max_attempts=1))

    assert sorted(told(run) for run in worker.drain()) == [
        ("a", "done", 1),
        ("b", "dead", 1),
        ("c", "dead", 1),
        ("d", "done", 1),
    ]
    assert queue.count() == Counts(dead=2)


def test_what_was_lost_meanwhile_is_told_and_keeps_nobody_from_settling(queue: Backend, tmp_path: Path) -> None:
    clock = FakeClock()
    location = f"memory://{tmp_path}" if "processes" not in queue.promises else tmp_path / "q.db"
    with closing(open_backend(location, clock=clock)) as mine:
        mine.push_many([Item(work) for work in "abc"])

        def handler(work: str) -> None:
            if work == "b":
                for taken in [task for task in mine.tasks(state=State.LEASED) if task.work == "a"]:
                    clock.advance(MINUTE * 2)
                    assert mine.cancel(taken.id)

        runs = Worker(mine, handler, batch=3, clock=SystemClock()).drain()

        outcomes = dict(told(run)[:2] for run in runs)
        assert outcomes["a"] in ("lost", "done")  # a machine that stood still for 50 ms has settled it before
        assert (outcomes["b"], outcomes["c"]) == ("done", "done")
        assert mine.count() == Counts()


# settled soon


def test_what_is_done_is_settled_while_the_next_task_takes_long(queue: Backend) -> None:
    queue.push_many([Item(work) for work in ("first", "second", "long", "last")])
    seen: list[Counts] = []

    def handler(work: str) -> None:
        if work == "long":
            wait_until(lambda: queue.count() == Counts(leased=2))
            seen.append(queue.count())

    runs = Worker(queue, handler, batch=4).drain()

    assert seen == [Counts(leased=2)]
    # Told as they are settled, by the worker or by the thread beside it: which of them comes first is left to chance.
    assert sorted(map(told, runs)) == [(work, "done", 1) for work in ("first", "last", "long", "second")]


def test_all_leases_are_renewed_while_a_task_takes_long(queue: Backend) -> None:
    queue.push_many([Item(work) for work in range(4)])
    lease_for = timedelta(seconds=0.6)
    taken: list[Any] = []

    def handler(work: int) -> None:
        if work == 0:
            left = SystemClock().countdown(3 * lease_for)
            while left() > timedelta(0):
                taken.append(queue.claim(lease_for=MINUTE))
                SystemClock().sleep(timedelta(milliseconds=20))

    runs = Worker(queue, handler, batch=4, lease_for=lease_for).drain()

    assert set(taken) == {None}
    assert sorted(map(told, runs)) == [(work, "done", 1) for work in range(4)]


# stopped


def test_what_was_not_begun_is_given_back_and_what_is_done_is_settled(queue: Backend) -> None:
    queue.push_many([Item(work) for work in range(6)])
    runs: list[Run] = []

    def handler(work: int) -> None:
        if work == 2:
            worker.stop()

    worker = Worker(queue, handler, batch=6, on_run=runs.append)
    worker.run_forever()

    assert [told(run) for run in runs] == [(work, "done", 1) for work in range(3)]
    assert [(task.work, task.attempts, task.state) for task in queue.tasks()] == [
        (work, 0, State.READY) for work in (3, 4, 5)
    ]


def test_an_exception_for_the_program_gives_back_the_rest(queue: Backend) -> None:
    queue.push_many([Item(work) for work in range(4)])

    def handler(work: int) -> None:
        if work == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Worker(queue, handler, batch=4).drain()

    assert [(task.work, task.attempts) for task in queue.tasks(state=State.READY)] == [(1, 0), (2, 0), (3, 0)]
    assert queue.count().leased == 0


def test_an_idle_worker_takes_what_comes_and_leaves_no_thread(queue: Backend) -> None:
    done: list[Any] = []
    worker = Worker(queue, done.append, batch=5)
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    try:
        for work in range(20):
            queue.push(work)
        wait_until(lambda: queue.count() == Counts())
    finally:
        worker.stop()
        thread.join(BOUND)

    assert sorted(done) == list(range(20))
    assert "lowq-batch" not in {each.name for each in threading.enumerate()}


# killed, and several


PROGRAM = """
import os, sys, lowq
queue = lowq.open_backend(sys.argv[1])
def handler(work):
    with open(sys.argv[2], "a") as file:
        file.write(f"{work}\\n")
    if work == 7:
        os.kill(os.getpid(), 9)
lowq.Worker(queue, handler, batch=5, lease_for=__import__("datetime").timedelta(seconds=0.2)).drain()
"""


def test_a_killed_worker_runs_at_most_a_batch_twice_and_loses_nothing(tmp_path: Path) -> None:
    path, log = tmp_path / "q.db", tmp_path / "log"
    with closing(open_backend(path)) as queue:
        queue.push_many([Item(work) for work in range(12)])
        process = python(PROGRAM, path, log)
        process.communicate(timeout=BOUND)
        assert process.returncode == -signal.SIGKILL
        wait_until(lambda: queue.count().leased == 0)
        ran: list[Any] = []

        Worker(queue, ran.append, batch=5).drain()

        runs = Counter([*map(int, log.read_text().split()), *ran])
        assert set(runs) == set(range(12))
        assert sum(runs.values()) <= 12 + 5
        assert queue.count() == Counts()


def test_processes_of_one_worker_have_batches_of_their_own(tmp_path: Path) -> None:
    with closing(open_backend(tmp_path / "q.db")) as queue:
        queue.push_many([Item(work) for work in range(40)])

        runs = Worker(queue, lambda _: os.getpid(), batch=4, processes=2).drain()

        assert sorted(told(run) for run in runs) == [(work, "done", 1) for work in range(40)]
        assert queue.count() == Counts()


# beside all else that a worker can be told


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "time_limit": {"time_limit": MINUTE},
    "processes": {"processes": 2},
    "both": {"processes": 2, "time_limit": MINUTE},
}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Backend]:
    with closing(open_backend(tmp_path / "q.db")) as opened:
        yield opened


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_each_task_of_a_batch_ends_as_its_handler_says(
    kept: Backend, kind: str, options: Any, tmp_path: Path
) -> None:
    kept.push_many([Item(work) for work in ("fine", "discard", "later", "counted", "broken", "last")])
    dead = tmp_path / "dead"

    def handle(work: str) -> None:
        task = lowq.current()
        assert task is not None
        assert task.work == work
        if work == "discard":
            raise Discard("no use")
        if work in ("later", "counted"):
            raise Later(timedelta(hours=1), count=work == "counted")
        if work == "broken":
            raise ValueError("why")

    async def handle_awaiting(work: str) -> None:
        await asyncio.sleep(0)
        handle(work)

    def note(run: Run) -> None:
        with dead.open("a") as file:
            file.write(f"{run.task.work} {run.error}\n")

    handler = handle if kind == "function" else handle_awaiting
    worker = Worker(kept, handler, batch=4, on_dead=note, retry=Retry(first=timedelta(hours=1)), **options)

    runs = worker.drain()

    assert sorted(told(run) for run in runs) == [
        ("broken", "retry", 1),
        ("counted", "retry", 1),
        ("discard", "dead", 1),
        ("fine", "done", 1),
        ("last", "done", 1),
        ("later", "retry", 1),
    ]
    assert dead.read_text() == "discard no use\n"
    assert sorted((task.work, task.attempts, task.state) for task in kept.tasks()) == [
        ("broken", 1, State.SCHEDULED),
        ("counted", 1, State.SCHEDULED),
        ("discard", 1, State.DEAD),
        ("later", 0, State.SCHEDULED),
    ]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_task_past_its_limit_is_killed_and_the_rest_of_its_batch_is_run(kept: Backend, processes: int) -> None:
    kept.push_many([Item(work) for work in range(6)])

    def handle(work: int) -> None:
        if work == 2:
            threading.Event().wait(BOUND)

    limit = timedelta(seconds=1.5)
    worker = Worker(
        kept,
        handle,
        batch=3,
        time_limit=limit,
        processes=processes,
        lease_for=timedelta(seconds=0.6),
        retry=Retry(first=timedelta(hours=1)),
    )

    runs = worker.drain()

    assert sorted(told(run) for run in runs) == [(work, "retry" if work == 2 else "done", 1) for work in range(6)]
    assert [(task.work, task.reason) for task in kept.tasks()] == [(2, "killed at its time limit of 1.5 s")]


def test_a_child_that_dies_costs_the_batch_only_its_own_task(kept: Backend) -> None:
    kept.push_many([Item(work) for work in range(5)])

    def handle(work: int) -> None:
        if work in (1, 3):
            os._exit(3)

    worker = Worker(kept, handle, batch=5, time_limit=MINUTE, retry=Retry(max_attempts=1))

    assert sorted(told(run) for run in worker.drain()) == [
        (work, "dead" if work in (1, 3) else "done", 1) for work in range(5)
    ]


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_a_stop_lets_the_task_in_hand_end_and_gives_back_the_rest_of_its_batch(
    kept: Backend, options: Any, tmp_path: Path
) -> None:
    kept.push_many([Item(work) for work in range(30)])
    begun = tmp_path / "begun"

    async def handle(work: int) -> None:
        begun.touch()
        await asyncio.sleep(0.02)

    worker = Worker(kept, handle, batch=10, **options)

    def stop() -> None:
        wait_until(begun.exists)
        worker.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    worker.run_forever()
    thread.join(BOUND)

    left = kept.tasks()
    assert 0 < len(left) < 30
    assert {(task.attempts, task.state) for task in left} == {(0, State.READY)}


def test_a_second_stop_gives_back_a_task_that_is_stuck_and_the_rest_of_its_batch(
    kept: Backend, tmp_path: Path
) -> None:
    kept.push_many([Item(work) for work in range(4)])
    begun = tmp_path / "begun"

    async def handle(work: int) -> None:
        if work == 1:
            begun.touch()
            await asyncio.sleep(BOUND)

    worker = Worker(kept, handle, batch=4, time_limit=MINUTE)

    def stop() -> None:
        wait_until(begun.exists)
        worker.stop()
        worker.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    worker.run_forever()
    thread.join(BOUND)

    assert [(task.work, task.attempts, task.state) for task in kept.tasks()] == [
        (work, 0, State.READY) for work in (1, 2, 3)
    ]


# refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch": 0}, ValueError, "batch: expected 1 or more, got 0"),
        ({"batch": True}, TypeError, "batch: expected an int, got bool"),
        ({"batch": 2.0}, TypeError, "batch: expected an int, got float"),
    ],
)
def test_what_is_no_batch_is_refused(queue: Backend, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Worker(queue, print, **options)

    assert str(caught.value) == message


def test_a_queue_that_hands_out_one_at_a_time_is_refused(queue: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(queue), "promises", queue.promises - {"bulk"})

    with pytest.raises(ValueError, match="batch: expected 1 for this queue, which promises no bulk, got 2"):
        Worker(queue, print, batch=2)
