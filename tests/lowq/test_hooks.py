"""Hooks around a fork and around a task: when they are called, where, and what becomes of one that fails."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import answer, python

import lowq
from lowq import Backend, CurrentTask, Retry, Worker, hooks, open_backend, task_queue
from lowq.testing import SyncWorker, temp_queue

NOTHING = timedelta(0)


@pytest.fixture
def registered() -> Iterator[Callable[..., Any]]:
    """Registers a hook of a test's, which is none afterwards."""
    found: list[Any] = []

    def register(kind: Callable[..., Any], hook: Any) -> None:
        found.append(hook)
        kind(hook)

    yield register
    for hook in found:
        hooks.remove(hook)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    found = open_backend("memory://" + tmp_path.name)
    yield found
    found.close()


class Book:
    """What was noted in any process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, word: object) -> None:
        with self._path.open("a") as file:
            file.write(f"{word} {os.getpid()}\n")

    def lines(self) -> list[tuple[str, bool]]:
        """Each word, and whether it was noted in this process."""
        pairs = [line.rsplit(" ", 1) for line in self._path.read_text().splitlines()]
        return [(word, int(pid) == os.getpid()) for word, pid in pairs]


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path / "book")


@pytest.mark.parametrize(
    "options",
    [{"processes": 2}, {"time_limit": timedelta(minutes=1)}, {"processes": 2, "time_limit": timedelta(minutes=1)}],
    ids=["processes", "time_limit", "both"],
)
def test_fork_hooks_are_called_before_and_after_here_and_in_the_child_before_its_first_task(
    tmp_path: Path, registered: Callable[..., Any], book: Book, options: dict[str, Any]
) -> None:
    registered(hooks.before_fork, lambda: book.note("before"))
    registered(hooks.after_fork_in_parent, lambda: book.note("parent"))
    registered(hooks.after_fork_in_child, lambda: book.note("child"))
    queue = open_backend(tmp_path / "q.db")
    queue.push("task")

    Worker(queue, book.note, **options).run_while_due(NOTHING)

    lines = book.lines()
    queue.close()
    here = [word for word, is_here in lines if is_here]
    forks = 2 if "processes" in options else 1
    assert here == ["before", "parent"] * forks
    there = [word for word, is_here in lines if not is_here]
    assert there.index("child") < there.index("task")
    assert there.count("child") == forks + (len(options) == 2)
    assert lines[0] == ("before", True)


def test_start_calls_them_once_each_and_only_the_worker_is_a_child(tmp_path: Path) -> None:
    printed = answer(
        python(
            """
            import os, sys, time
            from lowq import hooks, task_queue

            os.chdir(sys.argv[1])
            me = os.getpid()

            def note(word):
                with open("book", "a") as file:
                    file.write(f"{word} {'here' if os.getpid() == me else 'there'}\\n")

            @hooks.before_fork
            def first():
                note("before")

            @hooks.before_fork
            def second():
                note("sooner")

            hooks.before_fork(first)  # again: it is one
            hooks.after_fork_in_parent(lambda: note("parent"))
            hooks.after_fork_in_child(lambda: note("child"))

            @task_queue("jobs.db")
            def send(queue, work):
                note("task")

            send(1)
            while (counts := send.queue.backend.count()).ready or counts.leased:
                time.sleep(0.01)
            lines = open("book").read().splitlines()
            print([line for line in lines if "here" in line.split()])
            print([line for line in lines if "there" in line.split()])
            """,
            tmp_path,
        )
    )

    assert printed == "['sooner here', 'before here', 'parent here']\n['child there', 'task there']"


def test_a_fork_hook_that_fails_is_logged_and_the_others_are_called(
    tmp_path: Path, registered: Callable[..., Any], book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise SystemExit("no more")

    registered(hooks.after_fork_in_parent, broken)
    registered(hooks.after_fork_in_parent, lambda: book.note("parent"))
    queue = open_backend(tmp_path / "q.db")
    queue.push(1)

    with caplog.at_level(logging.ERROR, "lowq.worker"):
        Worker(queue, book.note, time_limit=timedelta(minutes=1)).run_while_due(NOTHING)

    queue.close()
    assert ("parent", True) in book.lines()
    (record,) = caplog.records
    assert "after_fork_in_parent: " in record.getMessage()
    assert "SystemExit: no more" in record.getMessage()


def around(book: list[str], name: str) -> Callable[[CurrentTask], Any]:
    @contextmanager
    def stand(task: CurrentTask) -> Iterator[None]:
        book.append(f"{name} {task.work}")
        try:
            yield
        except BaseException as error:
            book.append(f"{name} saw {type(error).__name__}")
            raise
        book.append(f"{name} done")

    return stand


def test_managers_stand_around_each_task_and_what_it_raises_goes_through_them(
    registered: Callable[..., Any], queue: Backend
) -> None:
    book: list[str] = []
    registered(hooks.around_task, around(book, "outer"))
    registered(hooks.around_task, around(book, "inner"))
    queue.push("good")
    queue.push("bad")

    def handle(work: Any) -> None:
        task = lowq.current()
        assert task is not None
        book.append(f"task {task.id}")
        if work == "bad":
            raise lowq.Discard("no use")

    runs = Worker(queue, handle).drain()

    assert [run.outcome for run in runs] == ["done", "dead"]
    assert book == [
        *("outer good", "inner good", "task 1", "inner done", "outer done"),
        *("outer bad", "inner bad", "task 2", "inner saw Discard", "outer saw Discard"),
    ]


def test_a_coroutine_runs_inside_them_to_its_end(registered: Callable[..., Any], queue: Backend) -> None:
    book: list[str] = []
    registered(hooks.around_task, around(book, "hook"))
    queue.push("a")

    async def handle(work: Any) -> None:
        book.append("task")

    (run,) = Worker(queue, handle).drain()

    assert run.outcome == "done"
    assert book == ["hook a", "task", "hook done"]


def test_what_a_manager_raises_is_a_failure_of_its_task(registered: Callable[..., Any], queue: Backend) -> None:
    @contextmanager
    def commit(task: CurrentTask) -> Iterator[None]:
        yield
        raise ConnectionError("the commit failed")

    registered(hooks.around_task, commit)
    queue.push("a")

    (run,) = Worker(queue, lambda _work: None, retry=Retry(first=timedelta(hours=1))).drain()

    assert (run.outcome, str(run.error)) == ("retry", "the commit failed")
    task = queue.task(run.task.id)
    assert task is not None
    assert "in commit" in str(task.reason)


def test_hooks_stand_around_the_tasks_of_a_test_too(registered: Callable[..., Any]) -> None:
    book: list[str] = []
    registered(hooks.around_task, around(book, "hook"))

    @task_queue("jobs.db")
    def send(queue: lowq.TaskQueue, work: Any) -> None:
        book.append("task")

    with temp_queue() as store:
        send(1)
        SyncWorker(store).drain()

    assert book == ["hook 1", "task", "hook done"]


async def of_a_loop() -> None: ...


def plain(task: CurrentTask) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("kind", "hook", "message"),
    [
        (hooks.before_fork, 7, "before_fork: expected a function, got int"),
        (hooks.after_fork_in_child, of_a_loop, "after_fork_in_child: of_a_loop is asynchronous"),
        (
            hooks.around_task,
            plain,
            r"around_task: plain is a generator: decorate it with @contextlib\.contextmanager",
        ),
    ],
)
def test_what_can_be_no_hook_is_refused(kind: Callable[..., Any], hook: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        kind(hook)


@asynccontextmanager
async def of_a_session(task: CurrentTask) -> Any:
    yield


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda _task: None, "returned NoneType, expected a context manager"),
        (of_a_session, "of_a_session returned _AsyncGeneratorContextManager, .* has no loop to run on"),
    ],
)
def test_what_returns_no_manager_fails_the_task(
    registered: Callable[..., Any], queue: Backend, hook: Any, message: str
) -> None:
    registered(hooks.around_task, hook)
    queue.push("a")

    (run,) = Worker(queue, lambda _work: None).drain()

    with pytest.raises(TypeError, match=message):
        raise run.error or AssertionError


def test_hooks_around_a_push_add_headers_to_all_its_works(registered: Callable[..., Any], tmp_path: Path) -> None:
    seen: list[Any] = []

    @contextmanager
    def sign(pushing: hooks.Pushing) -> Iterator[None]:
        pushing.headers["user"] = "ann"
        seen.append((pushing.queue, pushing.count, pushing.pushed))
        yield
        seen.append(pushing.pushed)

    registered(hooks.around_push, sign)

    @task_queue(tmp_path / "jobs.db", name="mails")
    def mails(_: Any, work: Any) -> None: ...

    pushed = mails.queue.push(1, 2, headers={"mine": "1"})
    alone = mails.queue.push(3)

    assert [dict(task.headers) for task in mails.queue.backend.tasks()] == [
        {"mine": "1", "user": "ann"}, {"mine": "1", "user": "ann"}, {"user": "ann"},
    ]  # fmt: skip
    assert seen == [("mails", 2, None), pushed, ("mails", 1, None), alone]
    mails.queue.close()


def test_what_a_hook_raises_before_a_push_keeps_it_from_being_kept(
    registered: Callable[..., Any], tmp_path: Path
) -> None:
    @contextmanager
    def refuse(_: hooks.Pushing) -> Iterator[None]:
        raise PermissionError("not you")
        yield

    registered(hooks.around_push, refuse)

    @task_queue(tmp_path / "jobs.db")
    def mails(_: Any, work: Any) -> None: ...

    with pytest.raises(PermissionError, match="not you"):
        mails.queue.push(1)
    assert mails.queue.push() == []
    with pytest.raises(TypeError, match="headers: expected a mapping of strings to strings, got list"):
        mails.queue.push(1, headers=["x"])  # type: ignore[arg-type]
    assert mails.queue.backend.tasks() == []
    mails.queue.close()


def test_hooks_after_a_run_hear_of_it_once_its_task_is_settled(
    registered: Callable[..., Any], queue: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Any] = []

    def fail(run: lowq.Run, name: str) -> None:
        raise RuntimeError("broken hook")

    def hear(run: lowq.Run, name: str) -> None:
        heard.append((run.task.work, run.outcome, name, queue.task(run.task.id)))

    registered(hooks.after_run, fail)
    registered(hooks.after_run, hear)
    queue.push(1)

    Worker(queue, print).drain()

    assert heard == [(1, "done", "default", None)]
    assert "after_run: " in caplog.text
    assert "fail failed, and lowq goes on: " in caplog.text
    assert "RuntimeError: broken hook" in caplog.text


class Unspeakable:
    """A hook that fails, and whose name cannot be had."""

    def __call__(self, *_: object) -> None:
        raise ValueError("broken hook")

    def __repr__(self) -> str:
        raise SystemExit("no name")


class Leaving(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(f"no log of {record.levelname}")


def test_a_hook_without_a_name_and_a_log_that_fails_end_nothing(
    registered: Callable[..., Any], queue: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    registered(hooks.after_run, Unspeakable())
    queue.push(1)
    queue.push(2)

    first = Worker(queue, print).run_one()
    said = caplog.text
    leaving = Leaving()
    logging.getLogger("lowq.worker").addHandler(leaving)
    try:
        second = Worker(queue, print).run_one()
    finally:
        logging.getLogger("lowq.worker").removeHandler(leaving)

    assert [run is not None and run.outcome for run in (first, second)] == ["done", "done"]
    assert "after_run: Unspeakable failed, and lowq goes on: " in said
