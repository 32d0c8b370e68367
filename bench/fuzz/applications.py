"""The calls of an application and of its tests: workers, queues with a handler, and what is behind the fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from bench.fuzz.calls import URLS, Call, entered
from bench.fuzz.values import DAY, INSTANTS, SPANS, TEXTS, THEN
from lowq import Retry, TaskQueue, Worker, open_backend, task_queue
from lowq.testing import Jobs, SyncWorker, fake_clock, inline, temp_queue
from lowq.worker.background import start

_numbers = count(1)


def worker_calls(folder: Path) -> Iterator[Call]:
    """Workers, and the queues of an application."""
    queue = open_backend("memory://fuzz")
    worker = Worker(queue, print)

    def run(backend: Any = queue, handler: Any = len, **given: Any) -> None:
        made = Worker(backend, handler, **given)
        if given.get("time_limit") is None:  # which forks, and a pool does
            queue.push(["run", next(_numbers)])
            made.run_one()

    more: dict[str, list[Any]] = {
        name: [] for name in ("retry", "time_limit", "processes", "batch", "clock", "random", "on_run", "on_dead")
    }
    yield Call(
        "Worker",
        run,
        {"backend": [queue], "handler": [len], "lease_for": [DAY], "grace": [DAY], "patience": [DAY], **more},
        dict.fromkeys(("lease_for", "grace", "patience", "time_limit"), SPANS),
        {"clock": ("clock", "clock.now()")},
    )
    yield Call("Worker.expects", worker.expects, {"linger": [DAY]}, {"linger": SPANS})
    yield Call("Worker.run_while_due", worker.run_while_due, {"linger": [timedelta(0)]}, {"linger": SPANS})
    yield Call("Worker.on_stop", worker.on_stop, {"told": [list]})
    yield Call(
        "start",
        lambda **given: start(Worker(open_backend("memory://x"), print), "memory://x", **given),
        {"linger": [DAY], "output": []},
    )

    def declared(**given: Any) -> None:
        made = task_queue(given.pop("path", str(folder / "declared.db")), **given)(_handle)
        try:
            made.queue.push(["pushed", next(_numbers)])
            if given.get("time_limit") is None:
                made.queue.worker().run_one()
        finally:
            made.queue.close()

    def subclassed(**given: Any) -> None:
        kind = type("Fuzzed", (TaskQueue,), {"path": str(folder / "sub.db"), "process": _handle, **given})
        made = kind()
        try:
            made.push(["pushed", next(_numbers)])
        finally:
            made.close()

    settings: dict[str, list[Any]] = {
        name: [] for name in ("log_level", "name", "dedupe", "options", "clock", "lease_for", "retry", "time_limit")
    }
    spans = dict.fromkeys(("lease_for", "time_limit", "linger"), SPANS)
    called = {"clock": ("clock", "clock.now()"), "path": ("path", "location"), "options": ("options", "option")}
    usual = {"path": [str(folder / "declared.db")], "linger": [DAY], "on_dead": [None], **settings}
    yield Call("task_queue", declared, {**usual, "nonsense": []}, spans | {"path": URLS}, called)
    yield Call("TaskQueue", subclassed, usual, spans | {"path": URLS}, called)

    def pushed(work: Any = 1, **given: Any) -> None:
        applied.queue.push(work, **given)

    applied = task_queue(str(folder / "applied.db"), name="applied", options={"durability": "none"})(_handle)
    yield Call(
        "TaskQueue.push",
        pushed,
        {"work": [1], "key": ["k"], "priority": [1], "not_before": [THEN], "headers": [{}]},
        {"not_before": INSTANTS},
    )
    yield Call("TaskQueue.worker", applied.queue.worker, {"processes": [1], "batch": [2]})
    yield Call("TaskQueue.info", applied.queue.info, {})


def _handle(queue: Any, work: Any) -> None:
    """Does nothing."""


def testing_calls(stack: ExitStack, folder: Path) -> Iterator[Call]:
    """The functions behind the fixtures."""
    clock = stack.enter_context(fake_clock(patch="none"))
    store = stack.enter_context(temp_queue(folder, clock=clock))
    store.handle("jobs.db", len)
    store.backend("jobs.db").push(1)
    jobs, worker = Jobs(store), SyncWorker(store)

    def asserting(verb: Callable[..., Any], **given: Any) -> None:
        with suppress(AssertionError):
            verb("jobs.db", **given)

    like = {"work": [1], "priority": [1], "key": ["k"], "at": [THEN], "in_": [DAY], "due": [True], "within": [DAY]}
    like |= {"headers": [{}], "states": [["ready"]]}
    spans = {"in_": SPANS, "within": SPANS, "at": INSTANTS}
    for name, verb in (("all", jobs.all), ("refute_pushed", jobs.refute_pushed), ("assert_one", jobs.assert_one)):
        yield Call(f"Jobs.{name}", partial(asserting, verb), like, spans)
    yield Call("Jobs.assert_pushed", partial(asserting, jobs.assert_pushed), {**like, "times": [1]}, spans)
    yield Call(
        "Jobs.assert_sequence", partial(asserting, jobs.assert_sequence), {"works": [[1]], "states": [["ready"]]}
    )
    yield Call("Jobs.assert_nothing", partial(asserting, jobs.assert_nothing), {"states": [["ready"]]})
    queues = {"queue": ("queue", "location", "name")}
    refs = {"queue": URLS}
    yield Call(
        "Jobs of a queue", lambda queue="jobs.db": _asserted(jobs, queue), {"queue": ["jobs.db"]}, refs, queues
    )
    yield Call(
        "SyncWorker",
        lambda **given: SyncWorker(store, **given),
        {"random": [Random(1)], "max_runs": [5], "twice": [True], "shuffle": [True]},
    )
    yield Call(
        "SyncWorker.perform",
        lambda process=len, work=(), **given: worker.perform(process, work, **given),
        {"process": [len], "work": [[1]], "attempt": [2], "retry": [None]},
        {},
        {"process": ("process", "handler")},
    )
    yield Call(
        "SyncWorker.run_until_idle",
        lambda **given: worker.run_until_idle("jobs.db", **given),
        {"until": [DAY], "max_runs": [5]},
        {"until": [*SPANS, *INSTANTS]},
    )
    yield Call(
        "SyncWorker.crash",
        lambda **given: worker.crash("jobs.db", **{"at": "before", **given}),
        {"at": ["before"], "lines": [1]},
    )
    yield Call("SyncWorker.redeliver", worker.redeliver, {"run": []})
    yield Call(
        "TempQueue.handle",
        lambda handler=len, **given: store.handle("jobs.db", handler, **given),
        {"handler": [len], "retry": [Retry()]},
    )
    yield Call("inline", lambda **given: entered(inline(store, **given)), {"on_error": ["record"], "lossy": ["warn"]})
    yield Call(
        "temp_queue",
        lambda **given: entered(temp_queue(**given)),
        {"folder": [folder], "clock": [clock]},
        {"folder": [*URLS, *TEXTS]},
        {"clock": ("clock", "clock.now()")},
    )


def _asserted(jobs: Jobs, queue: Any) -> None:
    with suppress(AssertionError):
        jobs.all(queue)
