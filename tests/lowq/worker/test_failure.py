"""What a handler raises is a failure of its task and of nothing else, whatever class it has and whatever it does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND

from lowq import Backend, Item, Later, Retry, Run, State, Worker, open_backend
from lowq.error_text import LONGEST, annotate, in_full, show_error
from lowq.testing import SyncWorker, TempQueue, inline, temp_queue
from lowq.worker import program_log
from lowq.worker.failure import failure_of, pack, unpack
from lowq.worker.stopping import Stopping

LIMIT = timedelta(seconds=BOUND)
LATER = Retry(first=timedelta(hours=1))
MODES: dict[str, dict[str, Any]] = {
    "in the worker": {},
    "in a child": {"time_limit": LIMIT},
    "pool": {"processes": 2},
}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


class OfALibrary(BaseException):
    """As gevent's Timeout and GreenletExit, trio's Cancelled, and others are."""


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Sealed(Exception):
    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("sealed")


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("mute")

    __repr__ = __str__


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)

    def __repr__(self) -> str:
        raise OfALibrary

    def __reduce__(self) -> Any:
        raise SystemExit(4)


class Numeric(Exception):
    def __str__(self) -> Any:
        return 7


class Hidden(Exception):
    """Whose own attributes stand where Python's would."""

    @property
    def __cause__(self) -> Any:  # type: ignore[override]  # the point of it
        raise ValueError("hidden")

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]  # the point of it
        raise ValueError("hidden")

    @property
    def __notes__(self) -> Any:  # type: ignore[override]  # the point of it
        raise ValueError("hidden")


class Secretive(ExceptionGroup[ValueError]):
    """A group that does not show what is in it."""

    @property
    def exceptions(self) -> Any:
        raise OfALibrary


class Untold(Later):
    """A Later that does not say when."""

    def __init__(self) -> None: ...


def nested(depth: int) -> ExceptionGroup[Any]:
    error: ExceptionGroup[Any] = ExceptionGroup("inner", [ValueError("deep")])
    for _ in range(depth):
        error = ExceptionGroup("outer", [error])
    return error


BASE = [
    SystemExit(3),
    GeneratorExit(),
    asyncio.CancelledError(),
    OfALibrary("gone"),
    BaseExceptionGroup("g", [OfALibrary()]),
]
ODD = [
    Frozen(3),
    Sealed("sealed"),
    Mute(),
    Leaving(),
    Numeric(),
    Hidden("hidden"),
    ValueError("\udcff\x1b[2J"),
    ValueError("x" * 1_000_000),
    ExceptionGroup("several", [Mute(), Frozen(1)]),
    Secretive("secret", [ValueError(1)]),
    Untold(),
    nested(2_000),
]


def name(error: BaseException) -> str:
    return f"{type(error).__name__}{len(error.args[0]) if error.args and isinstance(error.args[0], str) else ''}"


def raising(error: BaseException) -> Callable[[Any], None]:
    def handler(work: object) -> None:
        if work == "bad":
            raise error

    return handler


def outcomes(runs: list[Run]) -> list[tuple[object, str]]:
    return sorted((run.task.work, run.outcome) for run in runs)


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("error", [*BASE, *ODD], ids=name)
def test_it_fails_its_task_and_the_next_one_runs(
    queue: Backend, error: BaseException, options: dict[str, Any]
) -> None:
    queue.push_many([Item("bad"), Item("good")])

    runs = Worker(queue, raising(error), retry=LATER, **options).drain()

    assert outcomes(runs) == [("bad", "retry"), ("good", "done")]
    (task,) = queue.tasks()
    assert (task.state, task.attempts) == (State.SCHEDULED, 1)
    assert task.reason is not None
    assert len(task.reason) <= LONGEST + 200
    assert type(error).__name__ in task.reason


@pytest.mark.parametrize("error", [*BASE, *ODD], ids=name)
def test_the_worker_of_a_test_and_its_report_bear_it(tmp_path: Path, error: BaseException) -> None:
    with temp_queue(tmp_path) as store:
        worker = SyncWorker(store)

        run = worker.perform(raising(error), "bad", retry=LATER)

        assert run.outcome == "retry"
        assert run.error is error
    with temp_queue() as store:
        store.handle("q.db", raising(error), retry=LATER)
        store.backend("q.db").push("bad")
        worker = SyncWorker(store)
        worker.drain()
        assert type(error).__name__ in "".join(worker.latest(1))


@pytest.mark.parametrize("error", [*BASE, *ODD], ids=name)
def test_in_inline_mode_it_reaches_the_pusher_as_it_is(error: BaseException) -> None:
    store: TempQueue
    with temp_queue() as store, inline(store):
        store.handle("q.db", raising(error), retry=LATER)

        try:
            store.backend("q.db").push("bad")
        except BaseException as raised:
            assert raised is error  # noqa: PT017 (of any class)
        else:
            pytest.fail("nothing was raised")


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("error", [KeyboardInterrupt(), pytest.fail.Exception("told")], ids=name)
def test_what_is_meant_for_the_program_reaches_it_and_the_task_is_not_counted(
    queue: Backend, error: BaseException, options: dict[str, Any]
) -> None:
    queue.push("bad")

    with pytest.raises(type(error)):
        Worker(queue, raising(error), **options).drain()

    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]


def test_a_group_with_stopping_in_it_gives_the_task_back(queue: Backend) -> None:
    queue.push("bad")

    run = Worker(queue, raising(BaseExceptionGroup("of a task group", [ValueError(), Stopping()]))).run_one()

    assert run is not None
    assert run.outcome == "released"
    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]


class TestHooks:
    @pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
    @pytest.mark.parametrize("error", [Mute(), OfALibrary(), SystemExit(1)], ids=name)
    def test_on_run_that_fails_ends_nothing_and_is_logged(
        self, queue: Backend, error: BaseException, options: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        def on_run(run: Run) -> None:
            raise error

        queue.push_many([Item(1), Item(2)])

        runs = Worker(queue, lambda _: None, on_run=on_run, **options).drain()

        assert outcomes(runs) == [(1, "done"), (2, "done")]
        told = [record.getMessage() for record in caplog.records if record.name == "lowq.worker"]
        assert len(told) == 2
        assert told[0].startswith("on_run failed, told of task ")
        assert type(error).__name__ in told[0]

    @pytest.mark.parametrize("error", [OSError("no log today"), SystemExit(3), OfALibrary()], ids=name)
    def test_a_log_handler_that_fails_ends_nothing(
        self, queue: Backend, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def refuse(*_: object) -> None:
            raise error

        monkeypatch.setattr("logging.Logger.handle", refuse)
        queue.push(1)

        assert outcomes(Worker(queue, lambda _: None, on_run=lambda _: 1 // 0).drain()) == [(1, "done")]
        program_log.warn("%s", "of whatever part of the worker")

    def test_on_run_interrupted_holds_no_task_that_was_not_begun(self, queue: Backend) -> None:
        def on_run(run: Run) -> None:
            raise KeyboardInterrupt

        queue.push_many([Item(1), Item(2)])

        with pytest.raises(KeyboardInterrupt):
            Worker(queue, lambda _: None, on_run=on_run).drain()

        assert [(task.work, task.state, task.attempts) for task in queue.tasks()] == [(2, State.READY, 0)]


@pytest.mark.parametrize("json", [False, True], ids=["lines", "json"])
def test_the_command_bears_it_and_says_so(tmp_path: Path, json: bool) -> None:
    (tmp_path / "app.py").write_text(
        textwrap.dedent(
            """
            class Mute(Exception):
                def __str__(self):
                    raise ValueError("mute")
                __repr__ = __str__

            def handler(work):
                raise Mute
            """
        )
    )
    with closing(open_backend(tmp_path / "q.db")) as queue:
        queue.push(1)
    command = [sys.executable, "-m", "lowq", "work", "q.db", "app:handler", "--drain", *(["--json"] if json else [])]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=BOUND, check=False)

    assert done.returncode == 1
    assert "Mute: <its text cannot be had: Mute.__str__ raised ValueError>" in (done.stdout if json else done.stderr)
    assert "Traceback" not in done.stderr


class TestText:
    def test_a_plain_error_is_shown_as_python_does(self) -> None:
        assert show_error(ValueError("no such thing")) == "ValueError: no such thing"
        assert show_error(KeyError("a")) == "KeyError: 'a'"
        assert show_error(RuntimeError()) == "RuntimeError"

    def test_an_error_is_shown_as_one_printable_line_that_ends(self) -> None:
        assert show_error(ValueError("a\nb\x1b[2J\udcff")) == r"ValueError: a\nb\x1b[2J\udcff"
        assert show_error(ValueError("x" * 10**6), 30) == f"ValueError: {'x' * 17}…"

    @pytest.mark.parametrize("error", ODD, ids=name)
    def test_every_error_has_a_line_and_a_text_and_may_get_a_note(self, error: BaseException) -> None:
        annotate(error, "a note")

        assert show_error(error).startswith(type(error).__name__)
        assert type(error).__name__ in in_full(error)
        in_full(error).encode()

    def test_a_note_stands_on_an_error_that_cannot_be_written_to(self) -> None:
        for error in (Frozen(1), Sealed()):
            annotate(error, "a note")
            annotate(error, "another")

            assert error.__notes__ == ["a note", "another"]

    @pytest.mark.parametrize("error", [*BASE, *ODD], ids=name)
    def test_every_error_can_be_sent(self, error: BaseException) -> None:
        failure = unpack(pack(failure_of(error)))

        assert type(error).__name__ in failure.reason


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
def test_so_does_one_whose_class_cannot_be_asked_for(queue: Backend, options: dict[str, Any]) -> None:
    def ask(_: object) -> type:
        raise ValueError("masked")

    masked = type("Masked", (Exception,), {"__class__": property(ask)})
    queue.push_many([Item("bad"), Item("good")])

    runs = Worker(queue, raising(masked("odd")), retry=LATER, **options).drain()

    assert outcomes(runs) == [("bad", "retry"), ("good", "done")]
