"""What is measured of a worker: no-op tasks end to end, how soon an idle one begins, and a push run at once."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

import lowq
from bench.clockwork import Figures, folder, interleaved, seconds
from bench.measures import load
from bench.peers import DiskCache, LiteQueue, Lowq, PersistQueue, Raw
from bench.works import works

_context = multiprocessing.get_context("spawn")


def no_ops(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    """lowq's Worker, huey's own execute, and for queues without a worker the loop that their users write."""
    figures = Figures("a worker's no-op tasks, end to end", "µs a task")
    runners: dict[str, Callable[[Path, bool], _Runner]] = {
        "raw SQLite": _raw_runner,
        "lowq": _lowq_runner,
        "lowq, batch=10": partial(_lowq_runner, batch=10),
        "lowq, batch=100": partial(_lowq_runner, batch=100),
        "huey": _huey_runner,
        "litequeue": partial(_loop_runner, LiteQueue),
        "persist-queue": partial(_loop_runner, PersistQueue),
        "diskcache": partial(_loop_runner, DiskCache),
    }
    with ExitStack() as stack:
        ready = {name: runner(stack.enter_context(folder(place)), full) for name, runner in runners.items()}
        for name in interleaved(list(ready), rounds):
            fill, drain = ready[name]
            fill(amount)
            figures.add(name, seconds(drain) / amount * 1e6)
    return figures


_Runner = tuple[Callable[[int], object], Callable[[], object]]
"""How to fill a queue, and how to run all that is in it."""


def _nothing(work: Any) -> None:
    pass


def _lowq_runner(home: Path, full: bool, batch: int = 1) -> _Runner:
    client = Lowq(home, full)
    return partial(load, client), lowq.Worker(client.queue, _nothing, batch=batch).drain


def _raw_runner(home: Path, full: bool) -> _Runner:
    client = Raw(home, full)

    def drain() -> None:
        claimed = client.claim()
        while claimed is not None:
            _nothing(claimed[2])
            claimed = client.ack_and_claim(claimed)

    return partial(load, client), drain


def _huey_runner(home: Path, full: bool) -> _Runner:
    queue = _huey(home, full)
    task = queue.task()(_nothing)

    def fill(amount: int) -> None:
        for work in works(amount):
            task(work)

    def drain() -> None:
        while (taken := queue.dequeue()) is not None:
            queue.execute(taken)

    return fill, drain


def _loop_runner(kind: type[LiteQueue | PersistQueue | DiskCache], home: Path, full: bool) -> _Runner:
    client = kind(home, full)

    def drain() -> None:
        while (claimed := client.claim()) is not None:
            _nothing(claimed)
            client.ack(claimed)

    return partial(load, client), drain


def _huey(home: Path, full: bool) -> Any:
    from huey import SqliteHuey

    logging.getLogger("huey").setLevel(logging.ERROR)
    queue = SqliteHuey(filename=str(home / "huey.db"), strict_fifo=True, timeout=30, results=False)
    queue.storage.conn.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
    return queue


def latency(place: Path, full: bool, amount: int) -> Figures:
    """From before the push to the first line of the handler, in a worker that has been idle for a while.

    Each worker is a process of its own with its own defaults, raw SQLite's a loop that a FIFO wakes; the monotonic
    clock is one for both processes.
    """
    figures = Figures("push to start, idle worker", "ms")
    waits = {"raw SQLite": _raw_waits, "lowq": _lowq_waits, "huey": _huey_waits}
    with ExitStack() as stack:
        pushes = {}
        for name, wait in waits.items():
            home = stack.enter_context(folder(place))
            receiver, sender = _context.Pipe(duplex=False)
            process = _context.Process(target=wait, args=(home, full, sender), daemon=True)
            process.start()
            stack.callback(process.join, 10)
            stack.callback(process.terminate)
            push = _pushes(name, home, full)
            push(0.0)  # the worker has started when it has run this
            if not receiver.poll(60):
                raise RuntimeError(f"{name}: the worker did not start")
            receiver.recv()
            pushes[name] = push, receiver
        for name in interleaved(list(pushes), amount):
            push, receiver = pushes[name]
            time.sleep(0.02 + 0.001 * (len(figures.samples.get(name, ())) % 47))  # not in step with any polling
            push(time.monotonic())
            if not receiver.poll(60):
                raise RuntimeError(f"{name}: a task was not run within a minute")
            figures.add(name, receiver.recv() * 1e3)
    for name, values in figures.samples.items():
        figures.notes[name] = f"p50 {quantiles(values, n=100)[49]:.2f}, p99 {quantiles(values, n=100)[98]:.2f}"
    return figures


def _pushes(name: str, home: Path, full: bool) -> Callable[[float], object]:
    if name == "lowq":
        return Lowq(home, full).push
    if name == "raw SQLite":
        client = Raw(home, full)
        bell = os.open(_fifo(home), os.O_RDWR | os.O_NONBLOCK)

        def push(pushed: float) -> None:
            client.push(pushed)
            os.write(bell, b"!")

        return push
    queue = _huey(home, full)
    task: Callable[[float], object] = queue.task(name="begun")(_nothing)
    return task


def _fifo(home: Path) -> Path:
    path = home / "bell"
    with suppress(FileExistsError):
        os.mkfifo(path)
    return path


def _raw_waits(home: Path, full: bool, sender: Any) -> None:
    client = Raw(home, full)
    bell = os.open(_fifo(home), os.O_RDWR)
    claimed = client.claim()
    while True:
        while claimed is not None:
            sender.send(time.monotonic() - claimed[2])
            claimed = client.ack_and_claim(claimed)
        os.read(bell, 4096)
        claimed = client.claim()


def _lowq_waits(home: Path, full: bool, sender: Any) -> None:
    lowq.Worker(Lowq(home, full).queue, lambda pushed: sender.send(time.monotonic() - pushed)).run_forever()


def _huey_waits(home: Path, full: bool, sender: Any) -> None:
    queue = _huey(home, full)
    queue.task(name="begun")(lambda pushed: sender.send(time.monotonic() - pushed))
    queue.create_consumer(workers=1, periodic=False).run()


def inline(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    """One task pushed and run by the same thread before it goes on."""
    figures = Figures("inline: push one, run it", "µs a task")
    with ExitStack() as stack:
        raw = Raw(stack.enter_context(folder(place)), full)
        sqlite = Lowq(stack.enter_context(folder(place)), full).queue
        memory = lowq.open_backend(f"memory://bench-{os.getpid()}")
        from huey import MemoryHuey

        immediate = MemoryHuey(immediate=True).task()(_nothing)
        calls: dict[str, Callable[[Any], object]] = {
            "raw SQLite": partial(_raw_inline, raw),
            "lowq": partial(_inline, sqlite, lowq.Worker(sqlite, _nothing)),
            "lowq in memory": partial(_inline, memory, lowq.Worker(memory, _nothing)),
            "huey, immediate": immediate,
        }
        for name in interleaved(list(calls), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(_each, calls[name], new)) / amount * 1e6)
    return figures


def _inline(queue: lowq.Backend, worker: lowq.Worker, work: Any) -> None:
    queue.push(work)
    worker.drain()


def _raw_inline(client: Raw, work: Any) -> None:
    client.push(work)
    claimed = client.claim()
    while claimed is not None:
        _nothing(claimed[2])
        claimed = client.ack_and_claim(claimed)


def _each(call: Callable[[Any], object], new: list[Any]) -> None:
    for work in new:
        call(work)
