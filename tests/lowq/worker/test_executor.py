"""A task in a lasting child: killed at its limit, replaced, and never outliving its worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq import Backend, Item, Retry, Run, State, Worker, open_backend
from lowq.worker.failure import HandlerDied, HandlerFailed, TimeLimitExceeded

LIMIT = timedelta(seconds=BOUND)
SHORT = timedelta(seconds=0.3)
TIGHT = timedelta(seconds=1)
"""A limit that a busy machine does not reach by itself."""
LATER = Retry(first=timedelta(hours=1))
"""What failed is not due again while the test runs, however busy the machine is."""


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


def outcomes(runs: list[Run]) -> list[tuple[object, str]]:
    return [(run.task.work, run.outcome) for run in runs]


def gone(pid: int) -> bool:
    """Whether the process ended, waiting for that."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if (stat := Path(f"/proc/{pid}/stat")).exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_all_tasks_of_a_drain_run_in_one_child_that_is_not_this_process(queue: Backend, tmp_path: Path) -> None:
    def handler(work: str) -> None:
        (tmp_path / work).write_text(str(os.getpid()))

    queue.push_many([Item("a"), Item("b")])

    runs = Worker(queue, handler, time_limit=LIMIT).drain()

    assert outcomes(runs) == [("a", "done"), ("b", "done")]
    pids = {int((tmp_path / name).read_text()) for name in "ab"}
    assert len(pids) == 1
    assert os.getpid() not in pids
    assert gone(pids.pop())


def test_the_handler_gets_the_work_and_may_push(queue: Backend) -> None:
    def handler(work: Any) -> None:
        if work == {"a": [1, "é\0", None]}:
            queue.push("understood")

    queue.push({"a": [1, "é\0", None]})

    runs = Worker(queue, handler, time_limit=LIMIT).drain()

    assert [run.task.work for run in runs] == [{"a": [1, "é\0", None]}, "understood"]


def test_at_its_limit_a_task_is_killed_tried_again_and_the_child_replaced(queue: Backend, tmp_path: Path) -> None:
    def handler(work: str) -> None:
        (tmp_path / work).write_text(str(os.getpid()))
        if work == "hangs":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
            while True:
                time.sleep(BOUND)

    queue.push_many([Item("before"), Item("hangs"), Item("after")])

    runs = Worker(queue, handler, time_limit=TIGHT, retry=LATER).drain()

    assert outcomes(runs) == [("before", "done"), ("hangs", "retry"), ("after", "done")]
    assert isinstance(runs[1].error, TimeLimitExceeded)
    (task,) = queue.tasks()
    assert (task.attempts, task.state, task.reason) == (1, State.SCHEDULED, "killed at its time limit of 1 s")
    pids = [int((tmp_path / name).read_text()) for name in ("before", "hangs", "after")]
    assert pids[0] == pids[1] != pids[2]
    assert gone(pids[1])


def test_past_its_last_attempt_a_task_that_hangs_is_dead(queue: Backend) -> None:
    queue.push("hangs")

    runs = Worker(queue, lambda _: time.sleep(BOUND), time_limit=TIGHT, retry=Retry(max_attempts=1)).drain()

    assert outcomes(runs) == [("hangs", "dead")]
    assert [task.reason for task in queue.tasks()] == ["killed at its time limit of 1 s"]


def test_what_a_task_started_is_killed_with_it(queue: Backend, tmp_path: Path) -> None:
    def handler(work: object) -> None:
        program = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({BOUND})"])
        (tmp_path / "pid").write_text(str(program.pid))
        program.wait()

    queue.push("runs a program")

    Worker(queue, handler, time_limit=timedelta(seconds=1)).run_one()

    assert gone(int((tmp_path / "pid").read_text()))


def test_an_exception_comes_back_with_its_traceback(queue: Backend) -> None:
    def handler(work: object) -> None:
        raise KeyError(f"no {work}")

    queue.push("such thing")

    run = Worker(queue, handler, time_limit=LIMIT).run_one()

    assert run is not None
    assert isinstance(run.error, KeyError)
    assert run.error.args == ("no such thing",)
    (task,) = queue.tasks()
    assert "in handler\n" in (task.reason or "")
    assert "lowq/worker/executor.py" not in (task.reason or "")


class Picky(Exception):
    """Cannot be made again from its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def test_an_exception_that_cannot_travel_comes_as_its_text(queue: Backend) -> None:
    def handler(work: object) -> None:
        raise Picky(1, 2)

    queue.push("work")

    run = Worker(queue, handler, time_limit=LIMIT).run_one()

    assert run is not None
    assert isinstance(run.error, HandlerFailed)
    assert "Picky: 1 and 2" in str(run.error)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda: os._exit(3), "ended with status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
    ],
    ids=["os._exit", "killed"],
)
def test_a_child_that_dies_is_a_failure_of_its_task_only(queue: Backend, end: Any, reason: str) -> None:
    def handler(work: object) -> None:
        if work == "deadly":
            end()

    queue.push_many([Item("deadly"), Item("other")])

    runs = Worker(queue, handler, time_limit=LIMIT, retry=LATER).drain()

    assert outcomes(runs) == [("deadly", "retry"), ("other", "done")]
    assert isinstance(runs[0].error, HandlerDied)
    assert str(runs[0].error) == f"the process that ran this task {reason} before the handler returned"


def test_sys_exit_leaves_the_child_alive(queue: Backend, tmp_path: Path) -> None:
    def handler(work: str) -> None:
        with (tmp_path / "pids").open("a") as pids:
            print(os.getpid(), file=pids)
        sys.exit(work)

    queue.push_many([Item("a"), Item("b")])

    runs = Worker(queue, handler, time_limit=LIMIT, retry=LATER).drain()

    assert outcomes(runs) == [("a", "retry"), ("b", "retry")]
    assert len(set((tmp_path / "pids").read_text().split())) == 1


def test_the_parent_renews_the_lease_of_a_long_task_without_a_thread(queue: Backend, tmp_path: Path) -> None:
    threads, stolen = set(), set()
    over = threading.Event()

    def thief() -> None:
        other = open_backend(tmp_path / "q.db")
        while not over.wait(0.02):
            if other.count().leased:
                threads.add(threading.active_count())
                stolen.add(other.claim(lease_for=timedelta(minutes=1)))
        other.close()

    queue.push("long")
    thread = threading.Thread(target=thief)
    thread.start()
    before = threading.active_count()

    run = Worker(queue, lambda _: time.sleep(1), lease_for=SHORT, time_limit=LIMIT).run_one()
    over.set()
    thread.join(BOUND)

    assert run is not None
    assert run.outcome == "done"
    assert stolen == {None}
    assert threads == {before}


def test_the_child_of_a_killed_worker_ends_with_it(tmp_path: Path) -> None:
    worker = python(
        """
        import os, sys, time
        from datetime import timedelta
        import lowq

        def handler(work):
            print(os.getpid(), flush=True)
            time.sleep(600)

        queue = lowq.open_backend(sys.argv[1])
        queue.push("work")
        lowq.Worker(queue, handler, time_limit=timedelta(minutes=9)).run_forever()
        """,
        tmp_path / "q.db",
    )
    assert worker.stdout is not None
    child = int(worker.stdout.readline())

    worker.kill()
    worker.wait(BOUND)

    assert gone(child)
    worker.communicate()


def test_the_second_sigterm_gives_the_task_in_the_child_back(tmp_path: Path) -> None:
    worker = python(
        """
        import sys, time
        from datetime import timedelta
        import lowq

        def handler(work):
            print("begun", flush=True)
            time.sleep(600)

        queue = lowq.open_backend(sys.argv[1])
        queue.push("work")
        lowq.Worker(
            queue, handler, time_limit=timedelta(minutes=9), on_run=lambda run: print(run.outcome, flush=True)
        ).run_forever()
        """,
        tmp_path / "q.db",
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"

    worker.send_signal(signal.SIGTERM)
    time.sleep(0.05)  # two signals of one number that nobody has taken yet are one
    worker.send_signal(signal.SIGTERM)

    assert answer(worker) == "released"
    queue = open_backend(tmp_path / "q.db")
    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]
    queue.close()


def test_outside_the_main_thread_a_stop_called_twice_gives_the_task_in_the_child_back(queue: Backend) -> None:
    told: list[Run] = []
    queue.push("long")
    worker = Worker(queue, lambda _: time.sleep(BOUND), time_limit=LIMIT, on_run=told.append)
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    while not queue.count().leased:
        time.sleep(0.005)

    worker.stop()
    worker.stop()
    thread.join(BOUND)

    assert outcomes(told) == [("long", "released")]
    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]


def test_at_the_end_of_the_grace_the_child_is_killed_and_its_task_given_back(queue: Backend, tmp_path: Path) -> None:
    def handler(work: object) -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(BOUND)

    told: list[Run] = []
    queue.push("long")
    worker = Worker(queue, handler, time_limit=LIMIT, grace=SHORT, on_run=told.append)
    thread = threading.Thread(target=worker.run_forever)
    thread.start()
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.005)

    worker.stop()
    thread.join(BOUND)

    assert outcomes(told) == [("long", "released")]
    assert gone(int((tmp_path / "pid").read_text()))


def test_the_childs_output_is_its_own_and_the_parents_buffer_is_written_once(tmp_path: Path) -> None:
    worker = python(
        """
        import atexit, sys
        from datetime import timedelta
        import lowq

        atexit.register(print, "at exit")
        print("buffered by the parent")
        queue = lowq.open_backend(sys.argv[1])
        queue.push("work")
        try:
            lowq.Worker(queue, lambda work: print("from the child"), time_limit=timedelta(minutes=1)).drain()
        finally:
            print("finally")
        """,
        tmp_path / "q.db",
    )

    assert sorted(answer(worker).splitlines()) == ["at exit", "buffered by the parent", "finally", "from the child"]
