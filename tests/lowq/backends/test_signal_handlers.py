"""A signal handler that uses the client itself, forks, or raises: nothing is lost, torn or locked."""

from __future__ import annotations

import gc
import os
import random
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cutoff import CutOff, at_instruction, cut_offs, interjected
from processes import BOUND
from scenes import STRANGER, VERBS, OtherProcess, Scene

from lowq import Backend, BackendUnavailable, Counts, FakeClock, Item, QueueClosed, open_backend

MINUTE = timedelta(minutes=1)
STEP = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 17


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@contextmanager
def handling(number: signal.Signals, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_push_after_a_batch_that_was_cut_off_is_kept(path: Path) -> None:
    """The program of the report: another writer makes the batch wait, and Ctrl-C comes meanwhile."""
    with closing(open_backend(path)) as queue:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        letting_go = threading.Timer(0.6, other.execute, ("ROLLBACK",))
        letting_go.start()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with handling(signal.SIGINT, signal.default_int_handler), suppress(KeyboardInterrupt):
            queue.push_many([Item("many")])
        letting_go.join()
        other.close()

        assert queue.push("after").added
        with closing(open_backend(path)) as another:
            assert [task.work for task in another.tasks()] in (["after"], ["many", "after"])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", sorted(VERBS.keys() - {"claim_wait"}))
def test_a_handler_may_push_in_the_middle_of_any_call(path: Path, name: str) -> None:
    verb, clock = VERBS[name], FakeClock()
    scene: Scene = {"clock": clock, "start": clock.now()}
    queue = open_backend(path, clock=clock, durability="none")
    others = OtherProcess(STRANGER, path)
    verb.prepare(queue, scene)
    verb.call(queue, scene)
    queue.push("handler's", priority=-9)
    wanted = sorted(map(repr, others.tasks()))

    index = random.randrange(STEP)
    while True:
        others.clear()
        clock.move_to(scene["start"], back=True)
        verb.prepare(queue, scene)
        if not at_instruction(index, lambda: verb.call(queue, scene), lambda: queue.push("handler's", priority=-9)):
            break
        assert sorted(map(repr, others.tasks())) == wanted, f"a handler came at instruction {index}"
        index += STEP
    assert index > 50
    queue.close()
    others.close()


@pytest.mark.parametrize("name", ["push", "push_many", "claim", "ack_and_claim"])
def test_a_handler_may_fork_in_the_middle_of_a_call_and_both_go_on(path: Path, name: str) -> None:
    verb, clock = VERBS[name], FakeClock()
    scene: Scene = {"clock": clock, "start": clock.now()}
    queue = open_backend(path, clock=clock, durability="none")
    others = OtherProcess(STRANGER, path)
    verb.prepare(queue, scene)
    verb.call(queue, scene)
    queue.push("child's", priority=-9)
    wanted = sorted(map(repr, others.tasks()))

    def fork() -> None:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = int(not queue.push("child's", priority=-9).added)
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    index = random.randrange(40)
    while True:
        others.clear()
        clock.move_to(scene["start"], back=True)
        verb.prepare(queue, scene)
        if not at_instruction(index, lambda: verb.call(queue, scene), fork):
            break
        assert sorted(map(repr, others.tasks())) == wanted, f"a fork came at instruction {index}"
        index += 40
    queue.close()
    others.close()


def test_a_handler_that_closes_the_client_ends_the_call_by_name(path: Path) -> None:
    for index in range(0, 10_000, 29):
        queue = open_backend(path, durability="none")
        reached = True
        with suppress(QueueClosed):
            reached = at_instruction(index, lambda: queue.push_many([Item(1), Item(2)]), queue.close)  # noqa: B023
        if not reached:
            break
        with closing(open_backend(path, durability="none")) as again:
            assert again.count() in (Counts(), Counts(ready=2)), index
            for task in again.tasks():
                again.cancel(task.id)
    assert index > 50


def test_in_memory_a_handlers_call_in_the_middle_of_another_is_refused_by_name() -> None:
    with closing(open_backend("memory://handler")) as queue:
        refused = 0

        def push() -> None:
            nonlocal refused
            with suppress(BackendUnavailable):
                queue.push("handler's")
                return
            refused += 1

        answers = [answer for _, answer in interjected(lambda: queue.push_many([Item(1), Item(2)]), push, step=3)]

        assert refused > 20
        assert answers
        assert Counter(task.work for task in queue.tasks()) == Counter([1, 2, "handler's"])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("where", ["new", "there"])
def test_opening_that_is_cut_off_leaves_nothing_behind(tmp_path: Path, where: str) -> None:
    made: list[Backend] = []
    folders = iter(range(10_000))

    def path() -> Path:
        return tmp_path / (f"{next(folders)}.db" if where == "new" else "there.db")

    open_backend(tmp_path / "there.db").close()
    gc.collect()
    start = len(os.listdir("/dev/fd"))
    step = 1 if "LOWQ_EXHAUSTIVE" in os.environ else 11
    first = random.randrange(step)
    for index in cut_offs(lambda: made.append(open_backend(path(), durability="none")), step=step, first=first):
        while made:
            made.pop().close()
        assert len(os.listdir("/dev/fd")) == start, index
        latest = path() if where == "there" else max(tmp_path.glob("*.db"), key=lambda file: file.stat().st_mtime_ns)
        with closing(open_backend(latest, durability="none", patience=timedelta(0))) as queue:
            assert queue.cancel(queue.push(index).id)
    assert index > 50


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_closing_that_is_cut_off_leaves_nothing_open(path: Path) -> None:
    gc.collect()
    start = len(os.listdir("/dev/fd"))
    for index in range(10_000):
        queue = open_backend(path, durability="none")
        reached = True
        with suppress(CutOff):
            reached = at_instruction(index, queue.close)
        if not reached:
            break
        with suppress(QueueClosed):
            queue.push(index)
        queue.close()
        assert len(os.listdir("/dev/fd")) == start, index
    assert index > 20


def test_two_exceptions_in_one_call_lock_nobody_out(path: Path) -> None:
    """The second one comes while what the first one cut off is undone."""
    queue, others = open_backend(path, durability="none"), OtherProcess(STRANGER, path)
    chance = random.Random(random.randrange(1000))
    for _ in range(150):
        others.clear()

        def push() -> None:
            try:
                at_instruction(chance.randrange(150, 800), lambda: queue.push_many([Item(n) for n in range(3)]))
            except CutOff:
                raise

        with suppress(CutOff):
            at_instruction(chance.randrange(150, 900), push)
        queue.count()
        assert len(others.tasks()) in (0, 3)
        assert queue.push("after").added
        assert len(others.tasks()) in (1, 4)
    queue.close()
    others.close()


class Alarm(Exception):
    """What the handler raises."""


@pytest.mark.parametrize("scheme", ["sqlite", "memory"])
def test_a_storm_of_alarms_loses_nothing_that_returned_and_locks_no_thread_out(path: Path, scheme: str) -> None:
    armed: list[bool] = []

    def ring(*_: object) -> None:
        if armed:
            armed.clear()
            raise Alarm

    where = str(path) if scheme == "sqlite" else f"memory://{path}"
    options: dict[str, Any] = {"durability": "none"} if scheme == "sqlite" else {}
    with closing(open_backend(where, **options)) as queue:
        done = threading.Event()
        returned: list[list[int]] = [[], []]

        def other_thread() -> None:
            number = 1_000_000
            while not done.is_set():
                queue.push(number := number + 1)
                returned[1].append(number)
                done.wait(0.001)

        thread = threading.Thread(target=other_thread)
        tried, cut = 0, 0
        with handling(signal.SIGALRM, ring):
            thread.start()
            while cut < 150 and tried < 50_000:
                tried += 1
                try:
                    armed.append(True)
                    signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.001))
                    queue.push(tried)
                    returned[0].append(tried)
                    armed.clear()
                except Alarm:
                    cut += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        done.set()
        thread.join(BOUND)

        assert not thread.is_alive()
        assert cut > 50
        kept = [task.work for task in queue.tasks()]
        assert len(kept) == len(set(kept))
        assert set(returned[0] + returned[1]) <= set(kept)
        assert set(kept) <= set(range(tried + 1)) | set(returned[1])


def raise_in(thread: threading.Thread) -> None:
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(CutOff))


def test_exceptions_set_in_a_thread_lock_no_other_thread_out(path: Path) -> None:
    with closing(open_backend(path, durability="none")) as queue:
        done = threading.Event()
        returned: list[int] = []

        def push() -> None:
            number = 0
            while not done.is_set():
                with suppress(CutOff):
                    number += 1
                    queue.push(number)
                    returned.append(number)

        thread = threading.Thread(target=push)
        thread.start()
        for number in range(200):
            raise_in(thread)
            assert queue.push(-number).added
        done.set()
        thread.join(BOUND)

        assert not thread.is_alive()
        kept = {task.work for task in queue.tasks()}
        assert set(returned) | {-number for number in range(200)} <= kept
