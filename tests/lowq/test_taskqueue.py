"""What an application holds: TaskQueue and task_queue, as the ancestor's users know them.

Long: each attribute of a TaskQueue has a class of its own.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq import (
    Backend,
    Counts,
    FakeClock,
    InvalidLocation,
    InvalidWork,
    Item,
    Pushed,
    Retry,
    State,
    TaskQueue,
    UnattendedWarning,
    open_backend,
    override,
    task_queue,
)
from lowq.override import Overridden


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    gc.collect()


class Jobs(TaskQueue):
    path = "memory://jobs"

    def __init__(self, log_level: int = TaskQueue.ERROR) -> None:
        super().__init__(log_level)
        self.seen: list[Any] = []

    def process(self, work: Any) -> None:
        self.seen.append(work)


def wait_until_empty(backend: Backend) -> None:
    end = time.monotonic() + BOUND
    while backend.tasks():
        assert time.monotonic() < end
        time.sleep(0.005)


class TestPush:
    def test_it_keeps_several_works_in_order_and_answers_each(self) -> None:
        jobs = Jobs()

        assert jobs.push("a", "b", "a") == [Pushed("1", True), Pushed("2", True), Pushed("1", False)]
        assert [task.work for task in jobs.backend.tasks()] == ["a", "b"]

    def test_all_of_them_or_none(self) -> None:
        jobs = Jobs()

        with pytest.raises(InvalidWork, match="item 1: work: set is not JSON"):
            jobs.push("a", {1})

        assert jobs.backend.tasks() == []

    def test_nothing_is_fine(self) -> None:
        assert Jobs().push() == []

    def test_priority_and_not_before_hold_for_all(self) -> None:
        jobs = Jobs()
        later = datetime(2999, 1, 1, tzinfo=UTC)

        jobs.push("a", "b", priority=3, not_before=later)

        assert [(task.priority, task.not_before) for task in jobs.backend.tasks()] == [(3, later)] * 2

    def test_a_key_names_one_work(self) -> None:
        jobs = Jobs()

        assert jobs.push("a", key="k") == [Pushed("1", True)]
        assert jobs.push("b", key="k") == [Pushed("1", False)]
        for works in ((), ("a", "b")):
            with pytest.raises(ValueError, match="a key names one work"):
                jobs.push(*works, key="k")

    def test_it_starts_nothing(self, folder: Path) -> None:
        class Quiet(Jobs):
            path = "q.db"

        quiet = Quiet()
        quiet.push(1)
        quiet.close()

        assert not (folder / "q.db-lock").exists()


class TestWorker:
    def test_it_runs_process_as_the_queue_says(self) -> None:
        class Strict(Jobs):
            path = "memory://strict"
            retry = Retry(max_attempts=1)
            lease_for = timedelta(seconds=7)

            def process(self, work: Any) -> None:
                raise RuntimeError(work)

        jobs = Strict(TaskQueue.SILENT)
        jobs.push(1)

        worker = jobs.worker()

        assert worker.lease_for == timedelta(seconds=7)
        assert [run.outcome for run in worker.drain()] == ["dead"]

    def test_what_happens_is_logged(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Picky(Jobs):
            path = "memory://picky"
            clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
            retry = Retry(max_attempts=2, first=timedelta(0))

            def process(self, work: Any) -> None:
                if work == "bad":
                    raise RuntimeError("no")

        jobs = Picky(TaskQueue.INFO)
        jobs.push("good", "bad")

        jobs.worker().drain()

        stamp = f"2030-01-01 00:00:00 [{os.getpid()}]"
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("2030")]
        assert told == [
            f"{stamp} INFO task 1 is done",
            f"{stamp} ERROR task 2 failed in attempt 1 and runs again at 2030-01-01 00:00:00",
            f"{stamp} ERROR task 2 is set aside after 2 attempts",
        ]

    def test_the_claim_that_sets_aside_what_killed_its_workers_is_no_attempt(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Deadly(Jobs):
            path = "memory://deadly"
            clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
            retry = Retry(max_attempts=2)

        jobs = Deadly()
        jobs.push(1)
        for _ in range(2):
            assert jobs.backend.claim(lease_for=timedelta(minutes=1)) is not None
            Deadly.clock.advance(timedelta(minutes=1))
        jobs.retry = Retry(max_attempts=1)  # lowered since

        jobs.worker().drain()

        assert "task 1 is set aside after 2 attempts" in capsys.readouterr().err

    def test_the_traceback_is_logged_also_of_a_child(self, capsys: pytest.CaptureFixture[str]) -> None:
        class Limited(Jobs):
            path = "memory://limited"
            time_limit = timedelta(seconds=BOUND)

            def process(self, work: Any) -> None:
                raise KeyError(work)

        jobs = Limited()
        jobs.push(1)

        jobs.worker().run_one()

        assert "in process\n    raise KeyError" in capsys.readouterr().err


class TestLevels:
    @pytest.mark.parametrize(
        ("level", "written"),
        [
            (TaskQueue.SILENT, []),
            (TaskQueue.NONE, []),
            (TaskQueue.ERROR, ["ERROR a 1"]),
            (TaskQueue.WARN, ["ERROR a 1", "WARN b None"]),
            (TaskQueue.INFO, ["ERROR a 1", "WARN b None", "INFO c [2]"]),
        ],
    )
    def test_each_writes_what_is_as_urgent(
        self, level: int, written: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        jobs = Jobs(level)

        jobs.error("a", 1)
        jobs.warn("b", None)
        jobs.info("c", [2])

        lines = capsys.readouterr().err.splitlines()
        assert [line.partition("] ")[2] for line in lines] == written
        assert all(f"[{os.getpid()}]" in line for line in lines)

    def test_the_log_levels_are_four_numbers(self) -> None:
        assert (TaskQueue.SILENT, TaskQueue.NONE, TaskQueue.ERROR, TaskQueue.WARN, TaskQueue.INFO) == (0, 0, 1, 2, 3)

    @pytest.mark.parametrize("level", [4, -1, "INFO", True])
    def test_another_log_level_is_refused(self, level: Any) -> None:
        with pytest.raises(ValueError, match=r"Jobs: log_level: expected TaskQueue\.SILENT, ERROR, WARN or INFO"):
            Jobs(level)

    def test_a_log_that_cannot_be_written_is_no_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        class Full:
            def write(self, text: str) -> None:
                tried.append(text)
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(sys, "stderr", Full())

        Jobs().error("lost")

        assert any("lost" in text for text in tried)


class TestTheDecorator:
    def test_the_function_keeps_its_name_and_docstring_and_has_its_queue(self, folder: Path) -> None:
        @task_queue("jobs.db", log_level=TaskQueue.INFO, name="thumbnails", retry=Retry(max_attempts=2))
        def thumbnails(queue: TaskQueue, work: Any) -> None:
            """Make them small."""

        assert (thumbnails.__name__, thumbnails.__doc__) == ("thumbnails", "Make them small.")
        queue = thumbnails.queue
        assert isinstance(queue, TaskQueue)
        assert (queue.name, queue.log_level, queue.retry.max_attempts) == ("thumbnails", 3, 2)
        assert str(queue.location) == str(folder / "jobs.db")
        assert not (folder / "jobs.db").exists()

    def test_calling_it_pushes_its_arguments_and_starts_a_worker_that_calls_it_with_the_queue(
        self, folder: Path
    ) -> None:
        @task_queue("jobs.db", linger=timedelta(0))
        def note(queue: TaskQueue, work: Any) -> None:
            queue.error("running", work)

        assert note(1, 2, 3) == [Pushed("1", True), Pushed("2", True), Pushed("3", True)]

        wait_until_empty(note.queue.backend)
        log = (folder / "jobs.db-log").read_text().splitlines()
        assert [line.partition("] ")[2] for line in log] == ["ERROR running 1", "ERROR running 2", "ERROR running 3"]
        assert {f"[{os.getpid()}]" in line for line in log} == {False}
        note.queue.close()

    def test_without_parentheses_it_says_what_is_missing(self) -> None:
        with pytest.raises(TypeError, match=r'a path is missing: write @task_queue\("jobs.db"\)'):

            @task_queue  # type: ignore[arg-type]  # this mistake is the test
            def note(queue: TaskQueue, work: Any) -> None: ...

    def test_an_unknown_option_is_refused(self) -> None:
        with pytest.raises(TypeError, match=r"unknown option 'retries'; say retry=.*; expected one of clock, dedupe"):

            @task_queue("jobs.db", retries=3)
            def note(queue: TaskQueue, work: Any) -> None: ...

    def test_a_function_of_one_argument_is_refused_with_what_it_is_called_with(self) -> None:
        with pytest.raises(TypeError, match=r"task_queue: it is called as note\(queue, work\), and note\(work"):

            @task_queue("jobs.db")  # type: ignore[arg-type]  # this mistake is the test
            def note(work: Any) -> None: ...


class TestMisuse:
    def test_a_missing_path(self) -> None:
        class Nowhere(TaskQueue):
            def process(self, work: Any) -> None: ...

        with pytest.raises(TypeError, match="Nowhere: path is missing: say where the queue is kept"):
            Nowhere()

    def test_a_missing_process(self) -> None:
        class Idle(TaskQueue):
            path = "q.db"

        with pytest.raises(TypeError, match=r"Idle: process is missing: define process\(self, work\)"):
            Idle()

    def test_a_path_that_is_none(self) -> None:
        class Odd(Jobs):
            path = "carrier-pigeon://home"

        with pytest.raises(InvalidLocation, match="unknown kind of queue 'carrier-pigeon'"):
            Odd()

    def test_starting_a_queue_that_stays_in_its_process(self) -> None:
        with pytest.raises(InvalidLocation, match="memory://jobs stays in its process"):
            Jobs().start()


def test_a_relative_path_is_meant_from_where_the_queue_was_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here(Jobs):
        path = "q.db"

    here = Here()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    here.push(1)

    assert (folder / "q.db").exists()
    here.close()


def test_options_reach_the_backend_and_dedupe_is_the_queues_own() -> None:
    class Free(Jobs):
        path = "q.db"
        dedupe = "off"
        options = {"durability": "process"}  # noqa: RUF012 (as an application writes it)

    free = Free()

    assert [pushed.added for pushed in free.push(1, 1)] == [True, True]
    assert free.backend.dedupe == "off"
    free.close()


def test_the_backend_outlives_the_queue_object_it_was_taken_from() -> None:
    class Kept(Jobs):
        path = "q.db"

    backend = Kept().backend
    gc.collect()

    assert backend.count().ready == 0
    backend.close()


def test_a_closed_queue_opens_again_when_it_is_used() -> None:
    class Kept(Jobs):
        path = "q.db"

    kept = Kept()
    kept.push(1)
    kept.close()

    assert kept.backend.count().ready == 1
    kept.close()


class TestTwoHandlersOfOneQueue:
    def test_are_refused(self) -> None:
        @task_queue("q.db")
        def first(queue: TaskQueue, work: Any) -> None: ...

        with pytest.raises(ValueError, match=r"are run by .*first, so .*second would get them too; .*name="):

            @task_queue("q.db")
            def second(queue: TaskQueue, work: Any) -> None: ...

        assert first.__name__ == "first"

    def test_are_told_apart_by_name(self) -> None:
        @task_queue("q.db")
        def first(queue: TaskQueue, work: Any) -> None: ...

        @task_queue("q.db", name="second")
        def second(queue: TaskQueue, work: Any) -> None: ...

        assert first.queue.name != second.queue.name

    def test_made_again_by_a_reload_are_one(self) -> None:
        made = []
        for _ in range(2):

            @task_queue("q.db")
            def note(queue: TaskQueue, work: Any) -> None: ...

            made.append(note)

        assert len(made) == 2

    def test_one_that_is_gone_stands_in_nobodys_way(self) -> None:
        def made_and_forgotten() -> None:
            class First(TaskQueue):
                path = "q.db"

                def process(self, work: Any) -> None: ...

            First()

        made_and_forgotten()

        @task_queue("q.db")
        def second(queue: TaskQueue, work: Any) -> None: ...

        assert second.__name__ == "second"

    def test_a_program_and_the_module_it_imports_itself_as_are_one(self, folder: Path) -> None:
        (folder / "app.py").write_text(
            textwrap.dedent(
                """
                from lowq import task_queue

                @task_queue("q.db")
                def note(queue, work): ...

                if __name__ == "__main__":
                    import app
                    print(app.note.queue.location)
                """
            )
        )

        done = subprocess.run(
            [sys.executable, "app.py"], cwd=folder, capture_output=True, text=True, timeout=BOUND, check=False
        )

        assert (done.stdout.strip(), done.stderr) == (str(folder / "q.db"), "")


class TestTheSeam:
    """How a test framework takes the place of storage and workers."""

    def test_the_backend_is_the_tests_and_start_starts_nothing(self, folder: Path) -> None:
        @task_queue("q.db")
        def note(queue: TaskQueue, work: Any) -> None: ...

        note.queue.push("before")
        mine = open_backend("memory://mine")
        asked = []

        def backend(queue: Overridden) -> Backend:
            asked.append((str(queue.location), queue.name))
            return mine

        with override.standing_in(backend=backend, start=lambda _: False):
            note("during")

        assert [task.work for task in mine.tasks()] == ["during"]
        assert [task.work for task in note.queue.backend.tasks()] == ["before"]
        assert asked == [(str(folder / "q.db"), "default")]
        assert not (folder / "q.db-lock").exists()
        note.queue.close()

    def test_what_stood_in_before_does_so_afterwards(self) -> None:
        before = (override.backend, override.start)
        with (
            pytest.raises(RuntimeError),
            override.standing_in(backend=lambda _: open_backend("memory://x"), start=bool),
        ):
            raise RuntimeError

        assert (override.backend, override.start) == before


def test_an_application_from_the_readme_of_the_ancestor_runs(folder: Path) -> None:
    """The decorated function in a program of its own; its worker outlives it, and one failing task stops no other."""
    (folder / "app.py").write_text(
        textwrap.dedent(
            """
            from datetime import timedelta
            from lowq import TaskQueue, task_queue

            @task_queue("jobs.db", log_level=TaskQueue.INFO, linger=timedelta(0))
            def thumbnails(queue, work):
                if work == 2:
                    raise ValueError("two is too many")
                queue.info("made", work, "of", 3)

            if __name__ == "__main__":
                thumbnails(1, 2, 3)
                print("returned")
            """
        )
    )

    done = subprocess.run(
        [sys.executable, "app.py"], cwd=folder, capture_output=True, text=True, timeout=BOUND, check=True
    )

    assert done.stdout == "returned\n"
    # Where the worker was quick, the task that failed waits for its retry by then, and nobody would run it.
    assert done.stderr == "" or "UnattendedWarning: a task of " in done.stderr
    queue = open_backend("jobs.db")
    end = time.monotonic() + BOUND
    while queue.count() != Counts(scheduled=1):
        assert time.monotonic() < end
        time.sleep(0.005)
    (task,) = queue.tasks()
    assert (task.work, task.state, task.attempts) == (2, State.SCHEDULED, 1)
    log = (folder / "jobs.db-log").read_text()
    assert "INFO made 1 of 3\n" in log
    assert "INFO made 3 of 3\n" in log
    assert "ValueError: two is too many" in log
    queue.close()


def test_several_processes_push_and_start_and_each_work_runs_once(folder: Path) -> None:
    (folder / "app.py").write_text(
        textwrap.dedent(
            """
            import os
            from datetime import timedelta
            from lowq import task_queue

            @task_queue("jobs.db", linger=timedelta(0))
            def note(queue, work):
                descriptor = os.open("book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(descriptor, f"{work}\\n".encode())
                os.close(descriptor)
            """
        )
    )
    queue = open_backend("jobs.db")
    queue.push_many([Item("before")])
    pushers = [
        python("import sys, app\nfor n in range(20): app.note(int(sys.argv[1]) + n)", base) for base in (0, 100)
    ]
    for pusher in pushers:
        answer(pusher)
    wait_until_empty(queue)
    queue.close()

    assert sorted((folder / "book").read_text().split()) == sorted(
        ["before", *(str(base + number) for base in (0, 100) for number in range(20))]
    )


class TestUnattended:
    """What falls due when no worker of start() is there any more is said when it is pushed or started."""

    @pytest.mark.parametrize(("days", "warned"), [(1, 1), (0, 0)])
    def test_a_push_and_start_say_the_instant(self, tmp_path: Path, days: int, warned: int) -> None:
        @task_queue(tmp_path / "jobs.db")
        def handler(queue: TaskQueue, work: object) -> None: ...

        due = datetime.now(UTC) + timedelta(days=days)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            handler("later", not_before=due)
            handler("now")

        told = [str(each.message) for each in caught if each.category is UnattendedWarning]
        assert warned <= len(told) <= 2 * warned  # by the second start, too, where the first worker has ended
        assert all(f"{due:%Y-%m-%d %H:%M:%S}" in text for text in told)
        assert {each.filename for each in caught if each.category is UnattendedWarning} <= {__file__}
        handler.queue.close()


class Pickled(TaskQueue):
    path = "pickled-class.db"

    def process(self, work: object) -> None: ...


def test_a_queue_that_was_used_is_pickled_and_copied_and_the_copy_is_the_same_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    queue = Pickled(TaskQueue.SILENT)
    queue.push(1)

    for other in (pickle.loads(pickle.dumps(queue)), copy.deepcopy(queue), copy.copy(queue)):
        assert (other.location, other.log_level) == (queue.location, TaskQueue.SILENT)
        assert other.push(1)[0].added is False
        other.close()
    queue.close()


def test_the_queue_of_a_function_is_the_same_when_it_is_pickled_and_copied() -> None:
    assert pickle.loads(pickle.dumps(pickled.queue)) is pickled.queue
    assert copy.deepcopy({"q": pickled.queue})["q"] is pickled.queue


@task_queue("pickled.db")
def pickled(queue: TaskQueue, work: object) -> None: ...


def test_a_queued_function_is_pickled_by_name_and_copied_as_itself() -> None:
    assert pickle.loads(pickle.dumps(pickled)) is pickled
    assert copy.deepcopy({"f": pickled})["f"] is pickled
    assert copy.copy(pickled) is pickled
