"""Handlers that are coroutines, or return what can be awaited: they are run to their end, or their task fails.

Long: each spelling of a coroutine handler is run in each kind of worker.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import functools
import itertools
import multiprocessing
import os
import signal
import sqlite3
import sys
import threading
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, answer, python, wait_for

from lowq import Backend, FakeClock, Item, Retry, Run, State, TaskQueue, Worker, open_backend, task_queue
from lowq.testing import SyncWorker, TempQueue, inline, temp_queue
from lowq.worker.coroutines import Coroutines
from lowq.worker.failure import NotRun, TimeLimitExceeded
from lowq.worker.handler import check_handler

LIMIT = timedelta(seconds=BOUND)
LATER = Retry(first=timedelta(hours=1))
Note = Callable[[object], None]
Notes = Callable[[], list[str]]
MODES: dict[str, dict[str, Any]] = {
    "in the worker": {},
    "in a child": {"time_limit": LIMIT},
    "in a pool": {"processes": 2},
}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


@pytest.fixture
def note(tmp_path: Path) -> Note:
    """Writes a line, from whatever process."""

    def write(text: object) -> None:
        with (tmp_path / "notes").open("a") as notes:
            notes.write(f"{text}\n")

    return write


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return lambda: (tmp_path / "notes").read_text().split("\n")[:-1] if (tmp_path / "notes").exists() else []


def outcomes(runs: list[Run]) -> list[tuple[object, str]]:
    return sorted((run.task.work, run.outcome) for run in runs)


def spellings(note: Note) -> dict[str, Callable[[Any], Any]]:
    """A handler that notes its work, after it has awaited, in all the ways to write one."""

    async def send(work: Any) -> None:
        await asyncio.sleep(0)
        note(work)

    async def send_to(address: str, work: Any) -> None:
        await send(work)

    async def forgets(work: Any) -> Any:
        return send(work)

    def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(function)
        def wrapper(work: Any) -> Any:
            return function(work)

        return wrapper

    class Sender:
        async def __call__(self, work: Any) -> None:
            await send(work)

        async def method(self, work: Any) -> None:
            await send(work)

        @staticmethod
        async def static(work: Any) -> None:
            await send(work)

    class Awaitable:
        def __init__(self, work: Any) -> None:
            self.work = work

        def __await__(self) -> Any:
            return send(self.work).__await__()

    @types.coroutine
    def generator_based(work: Any) -> Any:
        yield from send(work).__await__()

    def finished(work: Any) -> Any:
        running = send(work)
        asyncio.run(running)
        return running

    def of_a_loop_of_its_own(work: Any) -> Any:
        loop = asyncio.new_event_loop()
        LOOPS.append(loop)
        return loop.create_task(send(work))

    def in_a_pool(work: Any) -> Any:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(send(work)))

    return {
        "async def": send,
        "lambda": lambda work: send(work),
        "partial": functools.partial(send_to, "home"),
        "decorated": decorated(send),
        "object": Sender(),
        "method": Sender().method,
        "static method": Sender.static,
        "awaitable": Awaitable,
        "types.coroutine": generator_based,
        "already run": finished,
        "a coroutine that forgets to await": forgets,
        "gather": lambda work: asyncio.wait_for(send(work), BOUND),
        "a task of another loop": of_a_loop_of_its_own,
        "a pool's future": in_a_pool,
    }


LOOPS: list[asyncio.AbstractEventLoop] = []
NAMES = list(spellings(print))


@pytest.fixture(autouse=True)
def closed_loops() -> Iterator[None]:
    yield
    while LOOPS:
        LOOPS.pop().close()


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
@pytest.mark.parametrize("spelling", NAMES)
def test_a_coroutine_handler_is_run_however_it_is_written(
    queue: Backend,
    note: Note,
    notes: Notes,
    spelling: str,
    options: dict[str, Any],
) -> None:
    queue.push_many([Item(1), Item(2)])

    runs = Worker(queue, spellings(note)[spelling], **options).drain()

    assert outcomes(runs) == [(1, "done"), (2, "done")]
    assert sorted(notes()) == ["1", "2"]


@pytest.mark.parametrize("spelling", NAMES)
@pytest.mark.parametrize("from_a_coroutine", [False, True], ids=["plain", "from a coroutine"])
def test_a_coroutine_handler_is_run_in_inline_mode_and_by_perform(
    note: Note, notes: Notes, spelling: str, from_a_coroutine: bool
) -> None:
    def test() -> None:
        with temp_queue() as store, inline(store) as mode:
            store.handle("q.db", spellings(note)[spelling])
            store.backend("q.db").push(1)
            store.backend("q.db").push(2)
            assert mode.worker.perform(spellings(note)[spelling], 3).outcome == "done"

    async def as_a_coroutine() -> None:
        test()

    asyncio.run(as_a_coroutine()) if from_a_coroutine else test()

    assert notes() == ["1", "2", "3"]


def test_a_coroutine_handler_is_run_from_a_coroutine_of_trio(note: Note, notes: Notes) -> None:
    trio = pytest.importorskip("trio")
    anyio = pytest.importorskip("anyio")

    async def handler(work: Any) -> None:
        await anyio.sleep(0)
        note(work)

    async def test() -> None:
        await trio.sleep(0)
        with temp_queue() as store, inline(store):
            store.handle("q.db", handler)
            store.backend("q.db").push(1)

    trio.run(test)

    assert notes() == ["1"]


def test_a_worker_runs_inside_a_coroutine(queue: Backend, note: Note) -> None:
    async def test() -> list[Run]:
        return Worker(queue, spellings(note)["async def"]).drain()

    queue.push(1)

    assert outcomes(asyncio.run(test())) == [(1, "done")]


class TestDeclared:
    def test_a_decorated_coroutine_function_is_a_queue(self, note: Note, notes: Notes) -> None:
        @task_queue("q.db")
        async def send(queue: TaskQueue, work: Any) -> None:
            await asyncio.sleep(0)
            note(work)

        with temp_queue() as store, inline(store):
            send("here")

        assert notes() == ["here"]

    def test_process_may_be_a_coroutine(self, note: Note, notes: Notes) -> None:
        class Send(TaskQueue):
            path = "q.db"

            async def process(self, work: Any) -> None:
                await asyncio.sleep(0)
                note(work)

        with temp_queue() as store:
            Send().push("here")
            SyncWorker(store).drain()

        assert notes() == ["here"]


def test_all_tasks_share_one_loop_in_the_workers_thread(queue: Backend) -> None:
    seen = []

    async def handler(work: Any) -> None:
        seen.append((asyncio.get_running_loop(), threading.current_thread()))

    queue.push_many([Item(1), Item(2)])
    Worker(queue, handler).drain()

    assert seen[0] == seen[1]
    assert seen[0][1] is threading.current_thread()
    assert seen[0][0].is_closed()


def test_inline_tasks_share_one_loop_also_from_coroutines(note: Note) -> None:
    seen = []

    async def handler(work: Any) -> None:
        seen.append(asyncio.get_running_loop())

    async def test() -> None:
        store.backend("q.db").push(2)

    with temp_queue() as store, inline(store):
        store.handle("q.db", handler)
        store.backend("q.db").push(1)
        asyncio.run(test())

    assert seen[0] is seen[1]
    assert seen[0].is_closed()


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
def test_what_it_raises_is_a_failure_told_from_its_own_frame(queue: Backend, options: dict[str, Any]) -> None:
    async def handler(work: Any) -> None:
        await asyncio.sleep(0)
        raise KeyError(work)

    queue.push("such thing")
    (run,) = Worker(queue, handler, retry=LATER, **options).drain()

    assert run.outcome == "retry"
    assert isinstance(run.error, KeyError)
    (task,) = queue.tasks()
    lines = (task.reason or "").splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in handler")


class Unasked(Exception):
    """An exception that raises where somebody asks for its class, as asyncio does."""

    @property  # type: ignore[misc]  # this is the test
    def __class__(self) -> Any:
        raise ValueError("not told")


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
def test_an_exception_that_asyncio_cannot_take_is_a_failure_too(queue: Backend, options: dict[str, Any]) -> None:
    async def handler(work: Any) -> None:
        await asyncio.sleep(0)
        if work == "bad":
            raise Unasked

    queue.push_many([Item("bad"), Item("good")])

    runs = Worker(queue, handler, retry=LATER, **options).drain()

    assert sorted(outcomes(runs)) == [("bad", "retry"), ("good", "done")]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), SystemExit(3), GeneratorExit()], ids=repr)
def test_a_coroutine_that_raises_a_base_exception_is_a_failure(queue: Backend, error: BaseException) -> None:
    async def handler(work: Any) -> None:
        await asyncio.sleep(0)
        if work == "bad":
            raise error

    queue.push_many([Item("bad"), Item("good")])

    assert outcomes(Worker(queue, handler, retry=LATER).drain()) == [("bad", "retry"), ("good", "done")]


async def stream(work: Any) -> AsyncIterator[Any]:
    yield work


def numbers(work: Any) -> Iterator[Any]:
    yield work


async def nothing(work: Any) -> None: ...


def cancelled(work: Any) -> Any:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()
    future.cancel()
    return future


NOT_RUN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "generator": (lambda work: numbers(work), "the handler returned a generator, whose body did not run"),
    "async generator": (lambda work: stream(work), "the handler returned an async generator, whose body did not"),
    "generator expression": (lambda work: (each for each in [work]), "returned a generator"),
    "map": (lambda work: map(print, [work]), "returned the iterator map(…), which does nothing by itself"),
    "itertools": (lambda work: itertools.starmap(print, [[work]]), "returned the iterator starmap(…)"),
    "context manager": (lambda work: contextlib.contextmanager(numbers)(work), "returned a context manager"),
    "list of coroutines": (lambda work: [nothing(work)], "a list with a coroutine in it, which nobody ran: await"),
    "dict of coroutines": (lambda work: {"a": (1, [nothing(work)])}, "a dict with a coroutine in it"),
    "list of generators": (lambda work: [numbers(work)], "a list in which there is a generator"),
    "zip": (lambda work: zip(map(print, [work]), strict=True), "returned the iterator zip(…)"),
    "function": (lambda work: lambda: str(work), "returned a function, which nobody called: call it"),
    "coroutine function": (lambda _: nothing, "returned a function, which nobody called"),
    "method": (lambda _: [].clear, "which nobody called"),
    "partial": (lambda work: functools.partial(print, work), "returned a partial, which nobody called"),
    "list of partials": (lambda work: [functools.partial(print, work)], "a list in which there is a partial"),
    "thread": (lambda _: threading.Thread(target=print), "returned a Thread, which nobody started"),
    "timer": (lambda _: threading.Timer(0, print), "returned a Timer, which nobody started"),
    "dict of threads": (lambda _: {"a": threading.Thread()}, "a dict in which there is a Thread"),
    "process": (lambda _: multiprocessing.get_context("fork").Process(), "Process, which nobody started"),
    "cancelled future": (cancelled, "returned a future that was cancelled: nobody runs it"),
    "deque of coroutines": (lambda work: collections.deque([nothing(work)]), "a deque with a coroutine in it"),
    "object of coroutines": (lambda work: types.SimpleNamespace(a=nothing(work)), "with a coroutine in it"),
}


@pytest.mark.parametrize(("handler", "text"), NOT_RUN.values(), ids=NOT_RUN.keys())
@pytest.mark.parametrize("options", [MODES["in the worker"], MODES["in a child"]], ids=["worker", "child"])
def test_what_nobody_ran_is_not_done(
    queue: Backend, handler: Callable[[Any], Any], text: str, options: dict[str, Any]
) -> None:
    queue.push(1)

    (run,) = Worker(queue, handler, retry=LATER, **options).drain()

    assert run.outcome == "retry"
    assert isinstance(run.error, NotRun)
    assert text in str(run.error)
    assert [task.state for task in queue.tasks()] == [State.SCHEDULED]


def test_a_call_that_another_library_put_off_is_not_done(queue: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    canvas = types.ModuleType("celery.canvas")
    canvas.Signature = type("Signature", (dict,), {"delay": print})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery.canvas", canvas)
    queue.push(1)

    (run,) = Worker(queue, lambda _: canvas.Signature(task="mail"), retry=LATER).drain()

    assert str(run.error) == (
        "the handler returned a Signature, a call that was put off: call its delay() in the handler"
    )


@pytest.mark.parametrize("options", [MODES["in the worker"], MODES["in a child"]], ids=["worker", "child"])
def test_a_thread_that_was_started_is_waited_for(
    queue: Backend, note: Note, notes: Notes, options: dict[str, Any]
) -> None:
    def handler(work: Any) -> Any:
        def run() -> None:
            time.sleep(0.1)
            note(work)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    queue.push("one")
    seen = []

    Worker(queue, handler, on_run=lambda run: seen.append((run.outcome, notes())), **options).drain()

    assert seen == [("done", ["one"])]


@pytest.mark.parametrize(("status", "outcome"), [(0, "done"), (3, "retry")])
def test_a_process_that_was_started_is_waited_for(queue: Backend, status: int, outcome: str) -> None:
    def handler(work: Any) -> Any:
        process = multiprocessing.get_context("fork").Process(target=os._exit, args=(status,))
        process.start()
        return process

    queue.push("one")

    (run,) = Worker(queue, handler, retry=LATER).drain()

    assert run.outcome == outcome
    assert status == 0 or str(run.error) == "the handler returned a process, which ended with exit code 3"


def test_what_an_async_function_returns_is_looked_through(queue: Backend) -> None:
    async def handler(work: Any) -> Any:
        return numbers(work)

    queue.push(1)

    assert [type(run.error) for run in Worker(queue, handler, retry=LATER).drain()] == [NotRun]


def used_up(work: Any) -> Any:
    generator = numbers(work)
    list(generator)
    return generator


@pytest.mark.parametrize(
    "handler", [used_up, lambda work: [work, "two", {"three": None}], lambda work: iter([work]), lambda _: object()]
)
def test_any_other_answer_means_that_it_is_done(queue: Backend, handler: Callable[[Any], Any]) -> None:
    queue.push(1)

    assert outcomes(Worker(queue, handler).drain()) == [(1, "done")]


class Yielding:
    def __call__(self, work: Any) -> Iterator[Any]:
        yield work

    def go(self, work: Any) -> Iterator[Any]:
        yield work


@pytest.mark.parametrize(
    "handler",
    [
        numbers,
        stream,
        functools.partial(numbers),
        Yielding(),
        Yielding().go,
        functools.partial(Yielding().go),
    ],
)
def test_a_generator_function_is_refused_where_it_is_declared(queue: Backend, handler: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"generator: called, it does nothing until somebody loops"):
        Worker(queue, handler)


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("parameters", [("work",), ("queue", "work")])
def test_the_advice_for_a_generator_runs_its_body(queue: Backend, kind: str, parameters: tuple[str, ...]) -> None:
    seen = []

    def plain(*given: Any) -> Iterator[Any]:
        seen.append(given[-1])
        yield
        seen.append("end")

    async def asynchronous(*given: Any) -> AsyncIterator[Any]:
        seen.append(given[-1])
        yield
        seen.append("end")

    handler = plain if kind == "plain" else asynchronous
    with pytest.raises(TypeError) as refused:
        check_handler(handler, parameters)
    advice = str(refused.value).rpartition("or wrap it: ")[2].strip("`")
    known: dict[str, Any] = {"handler": handler}
    exec(advice if advice.startswith("async def") else f"wrapped = {advice}", known)
    check_handler(known["wrapped"], parameters)

    queue.push(1)
    runs = Worker(queue, lambda work: known["wrapped"](*(None, work)[-len(parameters) :])).drain()

    assert (outcomes(runs), seen) == ([(1, "done")], [1, "end"])


def test_a_decorated_generator_is_refused_where_it_is_declared() -> None:
    with pytest.raises(TypeError, match="task_queue: send is a generator"):

        @task_queue("q.db")
        def send(queue: TaskQueue, work: Any) -> Iterator[Any]:
            yield work

    class Send(TaskQueue):
        path = "q.db"

        def process(self, work: Any) -> Iterator[Any]:
            yield work

    with pytest.raises(TypeError, match="Send: process: process is a generator"):
        Send()


class TestStopping:
    def test_from_another_thread_it_is_cancelled_cleans_up_and_is_given_back(self, queue: Backend) -> None:
        begun, seen = threading.Event(), []

        async def handler(work: Any) -> None:
            begun.set()
            try:
                await asyncio.sleep(BOUND)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                seen.append("cleaned up")
                raise

        told: list[Run] = []
        queue.push(1)
        worker = Worker(queue, handler, on_run=told.append)
        thread = threading.Thread(target=worker.run_forever)
        thread.start()
        assert begun.wait(BOUND)

        worker.stop()
        worker.stop()
        thread.join(BOUND)

        assert outcomes(told) == [(1, "released")]
        assert seen == ["cleaned up"]
        assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]

    @pytest.mark.parametrize("waits", ["asyncio.sleep(600)", "block()"], ids=["awaiting", "blocking"])
    @pytest.mark.parametrize("time_limit", ["None", "timedelta(minutes=9)"], ids=["worker", "child"])
    def test_a_second_sigterm_gives_it_back(self, tmp_path: Path, waits: str, time_limit: str) -> None:
        worker = python(
            f"""
            import asyncio, sys, time
            from datetime import timedelta
            import lowq

            async def block():
                time.sleep(600)

            async def handler(work):
                try:
                    print("begun", flush=True)
                    await {waits}
                finally:
                    print("cleaned up", flush=True)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            lowq.Worker(
                queue, handler, time_limit={time_limit}, on_run=lambda run: print(run.outcome, flush=True)
            ).run_forever()
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.send_signal(signal.SIGTERM)
        threading.Event().wait(0.05)  # two signals of one number that nobody has taken yet are one
        worker.send_signal(signal.SIGTERM)

        blocked_in_a_child = waits == "block()" and time_limit != "None"
        assert answer(worker).split("\n") == [*(["cleaned up"] if not blocked_in_a_child else []), "released"]
        with contextlib.closing(open_backend(tmp_path / "q.db")) as queue:
            assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]

    def test_ctrl_c_lets_it_clean_up_and_ends_the_program(self, tmp_path: Path) -> None:
        worker = python(
            """
            import asyncio, sys
            import lowq

            async def handler(work):
                try:
                    print("begun", flush=True)
                    await asyncio.sleep(600)
                finally:
                    print("cleaned up", flush=True)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            try:
                lowq.Worker(queue, handler).drain()
            except KeyboardInterrupt:
                print("interrupted", [(task.state.value, task.attempts) for task in queue.tasks()])
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.send_signal(signal.SIGINT)

        assert answer(worker) == "cleaned up\ninterrupted [('ready', 0)]"


class TestLosing:
    """Another worker has the task, because the lease could not be renewed in time."""

    def test_a_coroutine_is_cancelled(self, queue: Backend, tmp_path: Path) -> None:
        begun, seen = threading.Event(), []

        async def handler(work: Any) -> None:
            begun.set()
            try:
                await asyncio.sleep(BOUND)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        told: list[Run] = []
        queue.push(1)
        worker = Worker(queue, handler, lease_for=timedelta(seconds=1.5), on_run=told.append)
        thread = threading.Thread(target=worker.drain)
        thread.start()
        assert begun.wait(BOUND)

        steal(tmp_path / "q.db")
        thread.join(BOUND)

        assert outcomes(told) == [(1, "lost")]
        assert seen == ["cancelled"]

    def test_in_a_child_too(self, queue: Backend, note: Note, notes: Notes, tmp_path: Path) -> None:
        async def handler(work: Any) -> None:
            note("begun")
            try:
                await asyncio.sleep(BOUND)
            except asyncio.CancelledError:
                note("cancelled")
                raise

        told: list[Run] = []
        queue.push(1)
        worker = Worker(queue, handler, lease_for=timedelta(seconds=1.5), time_limit=LIMIT, on_run=told.append)
        thread = threading.Thread(target=worker.drain)
        thread.start()
        wait_for(notes)

        steal(tmp_path / "q.db")
        thread.join(BOUND)

        assert outcomes(told) == [(1, "lost")]
        assert notes() == ["begun", "cancelled"]


def steal(place: Path) -> None:
    """The only leased task is somebody else's now: as when its lease had run out and it was claimed again."""
    with contextlib.closing(sqlite3.connect(place, timeout=BOUND)) as db, db:
        assert db.execute("UPDATE task SET token = 'theirs' WHERE token IS NOT NULL").rowcount == 1


class TestTimeLimit:
    def test_a_coroutine_past_its_time_is_cancelled_and_may_clean_up(
        self, queue: Backend, note: Note, notes: Notes
    ) -> None:
        async def handler(work: Any) -> None:
            note(os.getpid())
            if work == "good":
                return
            try:
                await asyncio.sleep(BOUND)
            finally:
                note("cleaned up")

        queue.push_many([Item("slow"), Item("good")])

        runs = Worker(queue, handler, time_limit=timedelta(seconds=0.5), retry=LATER).drain()

        assert [(run.task.work, run.outcome, type(run.error)) for run in runs] == [
            ("slow", "retry", TimeLimitExceeded),
            ("good", "done", type(None)),
        ]
        pid, cleaned_up, other = notes()
        assert cleaned_up == "cleaned up"
        assert pid == other, "the child that ended its task lasts"

    def test_one_that_does_not_listen_is_killed(self, queue: Backend) -> None:
        async def handler(work: Any) -> None:
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(BOUND)

        queue.push(1)

        (run,) = Worker(queue, handler, time_limit=timedelta(seconds=0.2), retry=LATER).drain()

        assert isinstance(run.error, TimeLimitExceeded)


class TestTheEnd:
    def test_what_was_left_on_the_loop_is_cancelled_and_async_generators_are_closed(self, queue: Backend) -> None:
        seen: list[str] = []
        kept: list[Any] = []

        async def beside() -> None:
            try:
                await asyncio.sleep(BOUND)
            finally:
                seen.append("cancelled")

        async def rows() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                seen.append("closed")

        async def handler(work: Any) -> None:
            kept.append(asyncio.create_task(beside()))
            kept.append(rows())
            await anext(kept[-1])
            await asyncio.sleep(0)

        queue.push(1)

        assert outcomes(Worker(queue, handler).drain()) == [(1, "done")]
        assert sorted(seen) == ["cancelled", "closed"]

    def test_what_it_raises_to_end_the_program_fails_no_other_task_and_ends_nothing(
        self, queue: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        kept: list[Any] = []

        async def rows() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                raise SystemExit(4)

        async def beside() -> None:
            try:
                await asyncio.sleep(BOUND)
            finally:
                raise SystemExit(3)

        async def handler(work: Any) -> None:
            if work == 1:
                kept.append(asyncio.create_task(beside()))
                async for _ in rows():
                    break  # and asyncio closes it when the loop next runs
            await asyncio.sleep(0.01)

        queue.push_many([Item(1), Item(2)])

        assert outcomes(Worker(queue, handler).drain()) == [(1, "done"), (2, "done")]
        told = [record.getMessage() for record in caplog.records if record.name == "lowq.worker"]
        assert sorted(text.rpartition("\n")[2] for text in told) == ["SystemExit: 3", "SystemExit: 4"]
        assert isinstance(kept[0].exception(), SystemExit)

    def test_it_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def stubborn() -> None:
            while not over:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

        async def handler() -> None:
            kept.append(asyncio.create_task(stubborn()))

        over: list[bool] = []
        kept: list[asyncio.Task[None]] = []
        monkeypatch.setattr("lowq.worker.coroutines._CLEANING", 0.1)
        monkeypatch.setattr(asyncio.BaseEventLoop, "call_exception_handler", lambda *_: None)
        coroutines = Coroutines()
        coroutines.finish(handler())

        coroutines.close()

        assert not kept[0].done()
        kept.clear()


def test_a_task_of_the_loop_that_waits_for_the_handler_is_told_and_no_deadlock(tmp_path: Path) -> None:
    async def test() -> None:
        with temp_queue(tmp_path) as store:
            mine = asyncio.ensure_future(nothing(1))
            run = SyncWorker(store).perform(lambda _: mine, 1)
            await mine

        assert isinstance(run.error, NotRun)
        assert "a task of the event loop that waits for this handler" in str(run.error)

    asyncio.run(test())


def test_two_threads_of_a_test_run_coroutines_at_a_time(tmp_path: Path) -> None:
    together = threading.Barrier(2, timeout=BOUND)

    async def handler(work: Any) -> None:
        await asyncio.to_thread(together.wait)

    with temp_queue(tmp_path, clock=FakeClock()) as store:
        runs: list[Run] = []
        threads = [
            threading.Thread(target=lambda: runs.append(SyncWorker(store).perform(handler, 1))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(BOUND)

    assert [run.outcome for run in runs] == ["done", "done"]


def test_a_worker_started_from_a_coroutine_has_a_loop_of_its_own(tmp_path: Path) -> None:
    program = python(
        """
        import asyncio, sys
        from datetime import timedelta
        from pathlib import Path
        from lowq import task_queue

        @task_queue(sys.argv[1], linger=timedelta(0))
        async def send(queue, work):
            await asyncio.sleep(0.01)
            Path(work).write_text("sent")

        async def main():
            await asyncio.sleep(0)
            send(sys.argv[2])
            await asyncio.sleep(0)

        asyncio.run(main())
        """,
        tmp_path / "q.db",
        tmp_path / "sent",
    )

    answer(program)
    wait_for((tmp_path / "sent").exists)


def test_a_crash_of_a_coroutine_is_played_in_its_own_lines(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(work: Any) -> None:
        seen.append("first")
        await asyncio.sleep(0)
        seen.append("second")

    store: TempQueue
    with temp_queue(tmp_path) as store:
        store.handle("q.db", handler)
        store.backend("q.db").push(1)
        SyncWorker(store).crash(at="during", lines=1)

    assert seen == ["first"]


def test_a_coroutine_that_closes_all_fails_alone_and_the_next_have_a_loop(tmp_path: Path) -> None:
    """In a program of its own, since it closes what pytest has open."""
    program = python(
        """
        import asyncio, os, sys
        import lowq

        kept = []

        async def handler(work):
            await asyncio.sleep(0)
            if work.startswith("closes"):
                os.closerange(3, 4096)
                kept.extend(open(sys.argv[2], "w+b") for _ in range(12))
            if work == "closes and waits":
                await asyncio.sleep(0.01)

        queue = lowq.open_backend(sys.argv[1])
        for work in ("first", "closes", "second", "closes and waits", "third"):
            queue.push(work)
        runs = lowq.Worker(queue, handler).drain()
        print([(run.task.work, run.outcome) for run in runs])
        assert all(os.fstat(file.fileno()).st_ino == os.stat(sys.argv[2]).st_ino for file in kept)
        """,
        tmp_path / "q.db",
        tmp_path / "its own",
    )

    outcomes = {"first": "done", "closes": "done", "second": "done", "closes and waits": "retry", "third": "done"}
    assert answer(program) == str(list(outcomes.items()))
