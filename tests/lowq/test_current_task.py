"""The task inside its handler: which it is, how it may end it, and what happens where it pushes itself.

Long: each way to end a task is tried inline, in a child and in a pool.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND

import lowq
from lowq import (
    Backend,
    CurrentTask,
    Discard,
    FakeClock,
    Item,
    Later,
    NoTask,
    OwnWork,
    Retry,
    Run,
    State,
    TaskQueue,
    Worker,
    open_backend,
    task_queue,
)
from lowq.testing import SyncWorker, inline, temp_queue

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LIMIT = timedelta(seconds=BOUND)
MODES: dict[str, dict[str, Any]] = {
    "in the worker": {},
    "in a child": {"time_limit": LIMIT},
    "in a pool": {"processes": 2},
}
modes = pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


def outcomes(runs: list[Run]) -> list[tuple[object, str]]:
    return [(run.task.work, run.outcome) for run in runs]


def described(task: CurrentTask | None) -> str:
    if task is None:
        return "none"
    return f"{task.id} {task.work} {task.attempt} {task.last} {dict(task.headers)} {task.key} {task.lost}"


class TestWhatItSays:
    @modes
    def test_the_handler_knows_its_task(self, queue: Backend, tmp_path: Path, options: dict[str, Any]) -> None:
        def handler(work: Any) -> None:
            with (tmp_path / "notes").open("a") as notes:
                print(described(lowq.current()), file=notes)
            raise ValueError

        queue.push("w", key="k", headers={"trace": "abc"})

        Worker(queue, handler, retry=Retry(max_attempts=2, first=timedelta(0)), **options).drain()

        assert (tmp_path / "notes").read_text().splitlines() == [
            "1 w 1 False {'trace': 'abc'} k False",
            "1 w 2 True {'trace': 'abc'} k False",
        ]

    def test_nobody_else_does(self) -> None:
        @task_queue("q.db")
        def send(queue: TaskQueue, work: Any) -> None: ...

        assert lowq.current() is None
        with pytest.raises(NoTask, match="no handler runs here"):
            _ = send.queue.task

    def test_it_ends_with_the_handler(self, queue: Backend) -> None:
        def handler(work: Any) -> None:
            raise ValueError

        queue.push(1)
        Worker(queue, handler).drain()

        assert lowq.current() is None

    def test_a_taskqueue_has_it_in_inline_mode_and_in_perform(self) -> None:
        seen = []

        @task_queue("q.db")
        def send(queue: TaskQueue, work: Any) -> None:
            seen.append((queue.task.work, queue.task.attempt, queue.task.last))

        with temp_queue() as store, inline(store) as mode:
            send("inline")
            mode.worker.perform(send, "performed", attempt=5)

        assert seen == [("inline", 1, False), ("performed", 5, True)]

    def test_the_deadline_is_the_leases_and_moves_on_while_the_worker_renews_it(self, queue: Backend) -> None:
        seen: list[datetime] = []

        def handler(work: Any) -> None:
            task = lowq.current()
            assert task is not None
            seen.append(task.deadline)
            bound = threading.Event()
            for _ in range(int(BOUND / 0.01)):
                if task.deadline > seen[0]:
                    break
                bound.wait(0.01)
            seen.append(task.deadline)

        queue.push(1)
        (run,) = Worker(queue, handler, lease_for=timedelta(seconds=1)).drain()

        assert run.outcome == "done"
        assert seen[1] > seen[0]

    def test_the_deadline_is_the_time_limits_where_there_is_one(self, queue: Backend, tmp_path: Path) -> None:
        def handler(work: Any) -> None:
            task = lowq.current()
            assert task is not None
            (tmp_path / "deadline").write_text(task.deadline.isoformat())

        queue.push(1)
        before = datetime.now(UTC)
        Worker(queue, handler, time_limit=LIMIT).drain()

        deadline = datetime.fromisoformat((tmp_path / "deadline").read_text())
        assert before + LIMIT <= deadline <= datetime.now(UTC) + LIMIT

    @pytest.mark.parametrize("time_limit", [None, LIMIT], ids=["worker", "child"])
    def test_a_handler_that_computes_sees_that_its_task_is_lost(
        self, queue: Backend, tmp_path: Path, time_limit: timedelta | None
    ) -> None:
        def handler(work: Any) -> None:
            steal(tmp_path / "q.db")
            task = lowq.current()
            assert task is not None
            assert not task.lost
            bound = threading.Event()
            for _ in range(int(BOUND / 0.01)):
                if task.lost:
                    (tmp_path / "seen").touch()
                    break
                bound.wait(0.01)

        queue.push(1)
        (run,) = Worker(queue, handler, lease_for=timedelta(seconds=0.5), time_limit=time_limit).drain()

        assert run.outcome == "lost"
        assert (tmp_path / "seen").exists()


def steal(place: Path) -> None:
    """The only leased task is somebody else's now: as when its lease had run out and it was claimed again."""
    import sqlite3

    with closing(sqlite3.connect(place, timeout=BOUND)) as db, db:
        assert db.execute("UPDATE task SET token = 'theirs' WHERE token IS NOT NULL").rowcount == 1


class TestWhereItIs:
    @modes
    def test_in_threads_and_coroutines_of_the_handler(
        self, queue: Backend, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        def note(where: str) -> None:
            with (tmp_path / "notes").open("a") as notes:
                print(where, described(lowq.current())[:3], file=notes)

        async def handler(work: Any) -> None:
            note("coroutine")
            await asyncio.to_thread(note, "to_thread")
            await asyncio.get_running_loop().run_in_executor(None, note, "executor")
            await asyncio.gather(asyncio.create_task(asyncio.to_thread(note, "child")))
            for target in (note, contextvars.copy_context().run):
                arguments = ("thread",) if target is note else (note, "copied")
                thread = threading.Thread(target=target, args=arguments)
                thread.start()
                thread.join()

        queue.push_many([Item("a"), Item("b")])

        runs = Worker(queue, handler, **options).drain()

        assert [run.outcome for run in runs] == ["done", "done"]
        assert sorted((tmp_path / "notes").read_text().splitlines()) == sorted(
            f"{where} {task}"
            for task in ("1 a", "2 b")
            for where in ("coroutine", "to_thread", "executor", "child", "thread", "copied")
        )

    def test_a_thread_that_there_was_before_runs_no_task(self, queue: Backend) -> None:
        asked, answered = threading.Event(), threading.Event()
        seen = []

        def bystander() -> None:
            asked.wait(BOUND)
            seen.append(lowq.current())
            answered.set()

        def handler(work: Any) -> None:
            asked.set()
            answered.wait(BOUND)

        thread = threading.Thread(target=bystander)
        thread.start()
        queue.push(1)
        Worker(queue, handler).drain()
        thread.join(BOUND)

        assert seen == [None]

    def test_workers_in_two_threads_have_their_own(self, tmp_path: Path) -> None:
        together = threading.Barrier(2, timeout=BOUND)
        seen = {}

        def handler(work: Any) -> None:
            together.wait()
            seen[work] = described(lowq.current())[:3]

        def run(work: str) -> None:
            with closing(open_backend(tmp_path / f"{work}.db")) as queue:
                queue.push(work)
                Worker(queue, handler).drain()

        threads = [threading.Thread(target=run, args=(work,)) for work in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

        assert seen == {"a": "1 a", "b": "1 b"}


class TestDiscard:
    @modes
    def test_the_task_is_set_aside_now_with_the_reason(self, queue: Backend, options: dict[str, Any]) -> None:
        def handler(work: Any) -> None:
            raise Discard("no such user")

        queue.push("bad")

        (run,) = Worker(queue, handler, **options).drain()

        assert run.outcome == "dead"
        assert isinstance(run.error, Discard)
        assert [(task.state, task.attempts, task.reason) for task in queue.tasks()] == [
            (State.DEAD, 1, "no such user")
        ]

    @pytest.mark.parametrize(
        ("raised", "reason"),
        [
            (Discard, "discarded by its handler"),
            (Discard("  "), "discarded by its handler"),
            (Discard(ValueError("why")), "why"),
            (Discard("\udcff"), r"\udcff"),
            (ExceptionGroup("of a task group", [Discard("in a group")]), "in a group"),
        ],
    )
    def test_any_reason_can_be_kept(self, queue: Backend, raised: Any, reason: str) -> None:
        def handler(work: Any) -> None:
            raise raised

        queue.push("bad")
        Worker(queue, handler).drain()

        assert [task.reason for task in queue.tasks()] == [reason]

    def test_one_of_the_applications_own_does_the_same_and_may_not_travel(self, queue: Backend) -> None:
        class NoSuchUser(Discard):
            pass

        def handler(work: Any) -> None:
            raise NoSuchUser("ada")

        queue.push("bad")
        (run,) = Worker(queue, handler, time_limit=LIMIT).drain()

        assert (run.outcome, str(run.error)) == ("dead", "ada")


class TestLater:
    @modes
    def test_it_runs_again_then_uncounted_and_nothing_has_failed(
        self, queue: Backend, options: dict[str, Any]
    ) -> None:
        def handler(work: Any) -> None:
            raise Later(DAY)

        queue.push("daily")
        before = datetime.now(UTC)

        (run,) = Worker(queue, handler, **options).drain()

        assert (run.outcome, run.error) == ("retry", None)
        (task,) = queue.tasks()
        assert (task.state, task.attempts, task.reason) == (State.SCHEDULED, 0, None)
        assert task.not_before == run.next_due
        assert task.not_before is not None
        assert before + DAY <= task.not_before <= datetime.now(UTC) + DAY

    def test_for_ever(self) -> None:
        seen = []

        @task_queue("q.db", retry=Retry(max_attempts=2))
        def tick(queue: TaskQueue, work: Any) -> None:
            seen.append(queue.task.id)
            raise Later(DAY)

        with temp_queue(clock=FakeClock(NOW)) as store:
            tick("tick")
            runs = SyncWorker(store).run_until_idle(until=timedelta(days=9))

        assert [run.outcome for run in runs] == ["retry"] * 10
        assert len(set(seen)) == 1

    def test_at_an_instant_which_may_be_past(self, queue: Backend) -> None:
        seen = []

        def handler(work: Any) -> None:
            seen.append(work)
            if len(seen) < 3:
                raise Later(datetime(2001, 1, 1, tzinfo=UTC))

        queue.push("again")

        assert [run.outcome for run in Worker(queue, handler).drain()] == ["retry", "retry", "done"]

    def test_counted_it_ends_after_the_last_attempt(self, queue: Backend) -> None:
        def handler(work: Any) -> None:
            raise Later(timedelta(0), count=True)

        queue.push("again")
        runs = Worker(queue, handler, retry=Retry(max_attempts=2)).drain()

        assert [run.outcome for run in runs] == ["retry", "dead"]
        (task,) = queue.tasks()
        assert "in the last of its attempts" in (task.reason or "")

    @pytest.mark.parametrize(
        ("when", "count", "error", "text"),
        [
            (60, False, TypeError, "Later: expected a timedelta or an aware datetime, got int; say Later"),
            (None, False, TypeError, "got NoneType"),
            (timedelta(-1), False, ValueError, "Later: expected a timedelta of zero or more"),
            (datetime(2030, 1, 1), False, ValueError, "Later: "),  # noqa: DTZ001 (a naive one is the test)
            (DAY, 3, TypeError, "Later: count: expected a bool, got int"),
        ],
    )
    def test_what_it_cannot_mean_is_refused_where_it_is_raised(
        self, when: Any, count: Any, error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            Later(when, count=count)

    def test_an_instant_beyond_the_calendar_is_a_failure(self, queue: Backend) -> None:
        def handler(work: Any) -> None:
            raise Later(timedelta.max)

        queue.push("again")
        (run,) = Worker(queue, handler).drain()

        assert run.outcome == "retry"
        assert isinstance(run.error, ValueError)

    def test_in_inline_mode_nothing_reaches_the_pusher(self) -> None:
        @task_queue("q.db")
        async def tick(queue: TaskQueue, work: Any) -> None:
            raise Later(DAY)

        with temp_queue() as store, inline(store):
            tick("tick")

            assert store.backend(tick).count().scheduled == 1


class TestOwnWork:
    """A handler that pushes its own work for later: the push is refused, and then the task is done and gone."""

    TEXT = r"task 1 pushed work that equals its own while it ran: .* `raise lowq.Later"

    @pytest.mark.parametrize(
        "push",
        [
            lambda queue, work: queue.push(work, not_before=datetime(2999, 1, 1, tzinfo=UTC)),
            lambda queue, work: queue.push("other", work),
            lambda queue, work: queue.backend.push(work),
            lambda queue, work: queue.backend.push_many([Item("x"), Item(work)]),
            lambda queue, work: open_backend(queue.location).push(work),
            lambda queue, work: in_a_thread(lambda: queue.push(work)),
        ],
        ids=["push", "several", "backend", "push_many", "another client", "thread"],
    )
    @pytest.mark.parametrize("time_limit", [None, LIMIT], ids=["worker", "child"])
    def test_is_warned_of(
        self, tmp_path: Path, push: Callable[[TaskQueue, Any], Any], time_limit: timedelta | None
    ) -> None:
        def handler(queue: TaskQueue, work: Any) -> None:
            if work == "own":
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    push(queue, work)
                    push(queue, work)
                (tmp_path / "caught").write_text(
                    "\n".join(f"{each.category.__name__} {each.message}" for each in caught)
                )

        send = task_queue(tmp_path / "q.db", lowq.TaskQueue.SILENT, time_limit=time_limit)(handler)
        send.queue.push("own")
        send.queue.worker().drain()

        (line,) = (tmp_path / "caught").read_text().splitlines()
        assert line.startswith("OwnWork task 1 pushed work that equals its own while it ran")
        assert "raise lowq.Later(" in line
        send.queue.close()

    def test_with_the_same_key_too_and_at_the_line_that_pushed(self, queue: Backend) -> None:
        def handler(work: Any) -> None:
            with pytest.warns(OwnWork, match=self.TEXT) as caught:
                queue.push("another", key="k")
            lines.append(caught[0].filename)

        lines: list[str] = []
        queue.push("one", key="k")

        assert outcomes(Worker(queue, handler).drain()) == [("one", "done")]
        assert lines == [__file__]

    def test_a_child_coroutine_is_the_handler_too(self) -> None:
        @task_queue("q.db")
        async def send(queue: TaskQueue, work: Any) -> None:
            with pytest.warns(OwnWork, match=self.TEXT):
                await asyncio.create_task(asyncio.to_thread(queue.push, work))

        with temp_queue() as store, inline(store):
            send("own")

    @pytest.mark.filterwarnings("error")
    def test_no_other_refused_push_is_warned_of(self, queue: Backend, tmp_path: Path) -> None:
        other = open_backend(tmp_path / "other.db")
        named = open_backend(tmp_path / "q.db", name="other")

        def handler(work: Any) -> None:
            for each in (queue, other, named):
                each.push("waits")
                each.push("waits")
                if each is not queue:
                    each.push(work)
                    each.push(work)
            raise Discard

        queue.push("own")
        (run, *_) = Worker(queue, handler).drain()

        assert isinstance(run.error, Discard), run.error
        other.close()
        named.close()

    @pytest.mark.filterwarnings("error")
    def test_an_equal_work_that_is_kept_while_one_runs_warns_nobody(self, tmp_path: Path) -> None:
        with closing(open_backend(tmp_path / "until_claimed.db", dedupe="until_claimed")) as queue:

            def handler(work: Any) -> None:
                queue.push(work, not_before=datetime(2999, 1, 1, tzinfo=UTC))

            queue.push("daily")

            assert outcomes(Worker(queue, handler).drain()) == [("daily", "done")]
            assert queue.count().scheduled == 1


def in_a_thread(call: Callable[[], Any]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(BOUND)


class TestOnDead:
    @modes
    def test_on_dead_is_told_once_of_each_way_to_die(
        self, queue: Backend, tmp_path: Path, options: dict[str, Any]
    ) -> None:
        def handler(work: str) -> None:
            raise Discard("discarded") if work == "discarded" else ValueError("failed")

        def on_dead(run: Run) -> None:
            with (tmp_path / "told").open("a") as told:
                print(run.task.work, file=told)

        queue.push("killed")
        with closing(open_backend(queue.where)) as other:  # type: ignore[attr-defined]
            for _ in range(2):
                lease = other.claim(lease_for=DAY)
                assert lease is not None
                other.release(lease)
        queue.push_many([Item("discarded"), Item("failed")])

        Worker(queue, handler, retry=Retry(max_attempts=2, first=timedelta(0)), on_dead=on_dead, **options).drain()

        assert sorted((tmp_path / "told").read_text().split()) == ["discarded", "failed", "killed"]
        assert queue.count().dead == 3

    def test_a_taskqueue_says_it_as_a_method_or_an_option_in_tests_too(self) -> None:
        told: list[tuple[str, Any]] = []

        class Send(TaskQueue):
            path = "send.db"

            def process(self, work: Any) -> None:
                raise Discard(work)

            def on_dead(self, run: Run) -> None:
                told.append(("method", run.task.work))

        @task_queue("note.db", on_dead=lambda run: told.append(("option", run.task.work)))
        def note(queue: TaskQueue, work: Any) -> None:
            raise Discard

        with temp_queue() as store, inline(store, on_error="record"):
            Send().push(1)
            note(2)

        assert told == [("method", 1), ("option", 2)]

    def test_it_may_be_a_coroutine(self, queue: Backend) -> None:
        told = []

        async def on_dead(run: Run) -> None:
            await asyncio.sleep(0)
            told.append(run.task.work)

        def handler(work: Any) -> None:
            raise Discard

        queue.push(1)
        Worker(queue, handler, on_dead=on_dead).drain()

        assert told == [1]

    def test_it_may_fail_without_harm(self, queue: Backend, caplog: pytest.LogCaptureFixture) -> None:
        def handler(work: Any) -> None:
            raise Discard

        queue.push_many([Item(1), Item(2)])
        runs = Worker(queue, handler, on_dead=lambda _: 1 // 0).drain()

        assert outcomes(runs) == [(1, "dead"), (2, "dead")]
        assert sum("on_dead failed" in record.getMessage() for record in caplog.records) == 2

    @pytest.mark.parametrize("hook", [lambda: None, 7, lambda one, two: None])  # noqa: ARG005 (what it takes is the test)
    def test_one_that_cannot_be_told_is_refused(self, queue: Backend, hook: Any) -> None:
        with pytest.raises(TypeError, match="on_dead"):
            Worker(queue, print, on_dead=hook)


class TestLog:
    def test_each_run_is_a_record_with_fields(self, queue: Backend, caplog: pytest.LogCaptureFixture) -> None:
        def handler(work: Any) -> None:
            if work == "bad":
                raise ValueError("no")
            if work == "dead":
                raise Discard("gone")
            if work == "later":
                raise Later(DAY)

        caplog.set_level(logging.INFO, "lowq.worker")
        queue.push_many([Item("good"), Item("bad"), Item("dead"), Item("later")])

        Worker(queue, handler).drain()

        records = [record for record in caplog.records if record.name == "lowq.worker"]
        told = [
            (record.levelname, vars(record)["lowq_task"], vars(record)["lowq_outcome"], vars(record)["lowq_error"])
            for record in records
        ]
        assert told == [
            ("INFO", "1", "done", None),
            ("WARNING", "2", "retry", "ValueError: no"),
            ("ERROR", "3", "dead", "Discard: gone"),
            ("INFO", "4", "retry", None),
        ]
        assert records[1].exc_info is not None
        assert records[1].getMessage().startswith("task 2 of queue default, attempt 1: retry, again at 2")
        assert vars(records[1])["lowq_attempt"] == 1
