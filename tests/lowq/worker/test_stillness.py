"""Handlers that close, suspend, fork or leave unread: a worker's parent still hears, kills, and settles once.

Long: each thing that a handler may do to its process is tried with a limit, in a pool and inline.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq import Backend, Item, Retry, Run, State, Worker, open_backend
from lowq.worker.failure import HandlerDied, TimeLimitExceeded

LIMIT = timedelta(seconds=BOUND)
TIGHT = timedelta(seconds=1)
LATER = Retry(first=timedelta(hours=1))
LARGE = "x" * 1_000_000


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "q.db")
    yield backend
    backend.close()


def close_all() -> None:
    os.closerange(3, 1024)


def close_all_and_open(path: Path) -> list[int]:
    """Every number that was ours is this file's afterwards."""
    close_all()
    first = os.open(path, os.O_RDWR | os.O_CREAT)
    return [first, *(os.dup(first) for _ in range(60))]


class TestATimeLimit:
    @pytest.mark.parametrize(
        "stop",
        [close_all, lambda: os.closerange(0, 1024), lambda: os.kill(os.getpid(), signal.SIGSTOP)],
        ids=["closes", "closes all", "suspends itself"],
    )
    def test_it_holds(self, queue: Backend, stop: Callable[[], None]) -> None:
        def handler(work: object) -> None:
            if work == "odd":
                stop()
                time.sleep(BOUND)

        queue.push_many([Item("odd"), Item("next")])

        runs = Worker(queue, handler, time_limit=TIGHT, retry=LATER).drain()

        assert [(run.task.work, run.outcome) for run in runs] == [("odd", "retry"), ("next", "done")]
        assert isinstance(runs[0].error, TimeLimitExceeded)

    def test_it_holds_where_a_large_work_is_not_read(self, queue: Backend) -> None:
        """The first task leaves a thread behind that suspends the process before it reads the next work."""

        def handler(work: str) -> None:
            if work == "first":
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGSTOP)).start()

        slow = threading.Event()
        queue.push_many([Item("first"), Item(LARGE)])

        def told(run: Run) -> None:
            if run.task.work == "first":
                slow.wait(0.6)

        runs = Worker(queue, handler, time_limit=TIGHT, retry=LATER, on_run=told).drain()

        assert [run.outcome for run in runs] == ["done", "retry"]
        assert isinstance(runs[1].error, TimeLimitExceeded)

    def test_large_works_and_large_failures_pass(self, queue: Backend) -> None:
        def handler(work: str) -> None:
            raise ValueError(work)

        queue.push(LARGE)

        (run,) = Worker(queue, handler, time_limit=LIMIT, retry=LATER).drain()

        assert isinstance(run.error, ValueError)
        assert run.error.args == (LARGE,)

    @pytest.mark.parametrize("fails", [False, True])
    def test_what_became_of_a_handler_that_closed_all_is_known(
        self, queue: Backend, tmp_path: Path, fails: bool
    ) -> None:
        def handler(work: str) -> None:
            if work == "odd":
                close_all_and_open(tmp_path / "its own")
                if fails:
                    raise ValueError("afterwards")

        queue.push_many([Item("odd"), Item("next")])

        runs = Worker(queue, handler, time_limit=LIMIT, retry=LATER).drain()

        assert [run.outcome for run in runs] == ["retry" if fails else "done", "done"]
        assert isinstance(runs[0].error, ValueError) is fails
        assert (tmp_path / "its own").read_bytes() == b""

    def test_a_handler_that_writes_into_our_pipes_fails(self, tmp_path: Path) -> None:
        program = python(
            """
            import os, sys, time
            from contextlib import suppress
            from datetime import timedelta
            import lowq

            def handler(work):
                for descriptor in range(3, 64):
                    with suppress(OSError):
                        os.write(descriptor, bytes(7) + bytes([3]) + bytes(3))
                time.sleep(600)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("odd")
            (run,) = lowq.Worker(queue, handler, time_limit=timedelta(seconds=0.5)).drain()
            print(run.outcome)
            """,
            tmp_path / "q.db",
        )

        assert answer(program) == "retry"

    def test_sigterm_is_heard_whatever_the_handler_closed(self, tmp_path: Path) -> None:
        worker = python(
            """
            import os, signal, sys, time
            from datetime import timedelta
            import lowq

            def handler(work):
                print("begun", flush=True)
                os.closerange(0, 1024)
                os.kill(os.getpid(), signal.SIGSTOP)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            lowq.Worker(queue, handler, time_limit=timedelta(minutes=9), grace=timedelta(0)).run_forever()
            print("ended")
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.send_signal(signal.SIGTERM)

        assert answer(worker) == "ended"
        queue = open_backend(tmp_path / "q.db")
        assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]
        queue.close()

    @pytest.mark.parametrize("stop", ["os.kill(os.getpid(), signal.SIGSTOP)", "os.closerange(3, 999)", "0"])
    @pytest.mark.parametrize("option", ["time_limit=timedelta(minutes=9)", "processes=2"])
    def test_nothing_outlives_a_killed_worker(self, tmp_path: Path, stop: str, option: str) -> None:
        worker = python(
            f"""
            import os, signal, sys, time
            from datetime import timedelta
            import lowq

            def handler(work):
                print("begun", flush=True)
                {stop}
                time.sleep(600)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            lowq.Worker(queue, handler, {option}).run_forever()
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.kill()

        worker.communicate(timeout=BOUND)  # the end of its output: nobody holds it any more


class TestSeveralProcesses:
    @pytest.mark.parametrize(
        "stuck",
        [
            "os.kill(os.getpid(), signal.SIGSTOP)",
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
            "os.closerange(3, 999)",
        ],
    )
    def test_the_second_sigterm_ends_them_all(self, tmp_path: Path, stuck: str) -> None:
        worker = python(
            f"""
            import os, signal, sys, time
            import lowq

            def handler(work):
                print("begun", flush=True)
                {stuck}
                time.sleep(600)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            lowq.Worker(queue, handler, processes=2).run_forever()
            print("ended")
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.3)
        worker.send_signal(signal.SIGTERM)

        assert answer(worker).endswith("ended")

    @pytest.mark.parametrize("how", ["ignored", "reaped"])
    @pytest.mark.parametrize("options", ["processes=2", "time_limit=timedelta(minutes=1)"])
    def test_it_returns_where_somebody_else_reaps_its_children(self, tmp_path: Path, how: str, options: str) -> None:
        program = python(
            f"""
            import os, signal, sys, threading, time
            from datetime import timedelta
            import lowq

            def reap():
                while True:
                    try:
                        os.waitpid(-1, 0)
                    except ChildProcessError:
                        time.sleep(0.001)

            if {how!r} == "ignored":
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            else:
                threading.Thread(target=reap, daemon=True).start()
            queue = lowq.open_backend(sys.argv[1])
            queue.push_many([lowq.Item(number) for number in range(20)])
            print(len(lowq.Worker(queue, lambda work: None, {options}).drain()))
            """,
            tmp_path / "q.db",
        )

        assert answer(program) == "20"

    def test_a_member_that_was_told_to_stop_alone_is_replaced(self, tmp_path: Path) -> None:
        queue = open_backend(tmp_path / "q.db")
        told: list[Run] = []
        ready = tmp_path / "ready"

        def handler(work: object) -> None:
            if work == "stops":
                os.kill(os.getpid(), signal.SIGTERM)
            ready.touch()

        worker = Worker(queue, handler, processes=2, on_run=told.append)
        thread = threading.Thread(target=worker.run_forever)
        thread.start()
        for number in range(6):
            queue.push_many([Item("stops", f"a{number}"), Item(number)])
        end = time.monotonic() + BOUND
        while len(told) < 12 and time.monotonic() < end:
            time.sleep(0.01)
        worker.stop()
        thread.join(BOUND)

        assert sorted(run.outcome for run in told) == ["done"] * 12
        queue.close()


class TestAHandlerThatForks:
    @pytest.mark.parametrize("option", [{}, {"time_limit": LIMIT}, {"processes": 2}], ids=["inline", "limit", "two"])
    def test_a_process_of_multiprocessing_can_be_terminated(self, queue: Backend, option: dict[str, Any]) -> None:
        def handler(work: object) -> None:
            context = multiprocessing.get_context("fork")
            process = context.Process(target=time.sleep, args=(BOUND,))
            process.start()
            process.terminate()
            process.join(BOUND / 2)
            assert process.exitcode == -signal.SIGTERM

            with context.Pool(2) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]

        queue.push("forks")
        told: list[Run] = []

        Worker(queue, handler, retry=LATER, on_run=told.append, **option).run_while_due(timedelta(0))

        assert [(run.outcome, run.error) for run in told] == [("done", None)]

    @pytest.mark.parametrize("option", ["", "time_limit=timedelta(minutes=1)", "processes=2"])
    @pytest.mark.parametrize(
        ("way", "status"),
        [("sys.exit(7)", 7), ("return", 0), ("raise KeyError(1)", 1), ("sys.exit('why')", 1), ("raise Odd", 1)],
    )
    def test_a_forked_child_that_leaves_the_handler_settles_nothing(
        self, tmp_path: Path, option: str, way: str, status: int
    ) -> None:
        program = python(
            f"""
            import atexit, os, sys
            from datetime import timedelta
            import lowq

            class Odd(BaseException): pass

            def handler(work):
                if (pid := os.fork()) == 0:
                    {way}
                out.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                with open(sys.argv[1] + "-status", "a") as file:
                    file.write(f"{{out[-1]}} ")

            out = []
            queue = lowq.open_backend(sys.argv[1])
            queue.push_many([lowq.Item(1), lowq.Item(2)])
            atexit.register(lambda: print("at exit"))
            try:
                runs = lowq.Worker(queue, handler, {option}).drain()
            finally:
                print("caller")
            print(sorted([run.task.work, run.outcome] for run in runs))
            """,
            tmp_path / "q.db",
        )

        assert answer(program).splitlines() == ["caller", "[[1, 'done'], [2, 'done']]", "at exit"]
        assert Path(f"{tmp_path / 'q.db'}-status").read_text() == f"{status} " * 2

    def test_so_does_one_that_leaves_what_is_told_of_runs(self, tmp_path: Path) -> None:
        program = python(
            """
            import os, sys
            import lowq

            def told(run):
                if (pid := os.fork()) == 0:
                    return
                os.waitpid(pid, 0)

            queue = lowq.open_backend(sys.argv[1])
            queue.push_many([lowq.Item(1), lowq.Item(2)])
            lowq.Worker(queue, lambda work: None, on_run=told).drain()
            print("caller")
            """,
            tmp_path / "q.db",
        )

        assert answer(program) == "caller"


class TestSignals:
    @pytest.mark.parametrize(
        ("before", "number", "ends"),
        [
            ("signal.SIG_DFL", signal.SIGHUP, True),
            ("signal.SIG_IGN", signal.SIGHUP, False),
            # Not by `print`: where the signal comes as "begun" is being flushed, that would be written twice.
            (r"lambda *_: os.write(1, b'its own\n')", signal.SIGHUP, False),
        ],
    )
    def test_a_terminal_that_goes_away_stops_a_worker_after_its_task(
        self, tmp_path: Path, before: str, number: int, ends: bool
    ) -> None:
        worker = python(
            f"""
            import os, signal, sys, time
            import lowq

            signal.signal(signal.SIGHUP, {before})

            def handler(work):
                print("begun", flush=True)
                time.sleep(0.5)
                print("done", flush=True)

            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            lowq.Worker(queue, handler).run_forever()
            """,
            tmp_path / "q.db",
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"

        worker.send_signal(number)

        line = worker.stdout.readline()
        assert (worker.stdout.readline() if line == "its own\n" else line) == "done\n"
        if not ends:
            with pytest.raises(subprocess.TimeoutExpired):
                worker.wait(0.5)
            worker.send_signal(signal.SIGTERM)
        answer(worker)


def test_descriptors_of_ours_lie_above_the_standard_streams(tmp_path: Path) -> None:
    """Programs close their streams and start a worker; one worker runs at a time."""
    program = """
        import fcntl, os, sys, time
        import lowq

        @lowq.task_queue(sys.argv[1])
        def handler(queue, work):
            with open(sys.argv[1] + "-alone", "a") as alone, open(sys.argv[1] + "-book", "a") as book:
                try:
                    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    book.write("two at once\\n")
                book.write(f"{work}\\n")
                time.sleep(0.1)

        handler.queue.push(sys.argv[2] + "first")
        os.closerange(0, 3)
        for number in range(3):
            handler(sys.argv[2] + str(number))
    """
    for name in "ab":
        program_ = python(program, tmp_path / "q.db", name)
        program_.communicate(timeout=BOUND)
        assert program_.returncode == 0
    queue = open_backend(tmp_path / "q.db")
    end = time.monotonic() + BOUND
    while queue.tasks() and time.monotonic() < end:
        time.sleep(0.01)
    queue.close()

    lines = (tmp_path / "q.db-book").read_text().splitlines()
    assert sorted(lines) == sorted(name + each for name in "ab" for each in ("first", "0", "1", "2"))


def test_died_children_are_said_so_where_somebody_else_reaps_them(queue: Backend) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        queue.push("dies")
        (run,) = Worker(queue, lambda _: os._exit(3), time_limit=LIMIT, retry=LATER).drain()
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert isinstance(run.error, HandlerDied)
    assert "ended, and its status went to somebody else" in str(run.error)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_second_user_of_the_group_pushes_and_starts_after_root_did(tmp_path: Path) -> None:
    """Root makes the files beside the database; they belong to whom the database does."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    os.chown(folder, 12001, 12000)
    folder.chmod(0o2770)
    path = folder / "q.db"
    program = """
        import os, sys, time
        user = int(sys.argv[2])
        os.umask(0o007)
        import importlib, traceback
        import lowq
        import lowq.backends.sqlite.backend
        from lowq import TaskQueue

        with_all = lowq.open_backend(sys.argv[1] + "-first" + sys.argv[3])  # all that is imported late
        with_all.push(1)
        lowq.Worker(with_all, repr).drain()
        if user:
            os.setgroups([])
            os.setgid(12000)
            os.setuid(user)

        @lowq.task_queue(sys.argv[1])
        def handler(queue, work):
            with open(sys.argv[1] + "-book", "a") as book:
                book.write(f"{work}\\n")

        handler(sys.argv[3])
        end = time.monotonic() + 30
        while handler.queue.backend.tasks() and time.monotonic() < end:
            time.sleep(0.01)
        print(handler.queue.backend.count().ready, flush=True)
        os._exit(0)
    """
    said = [answer(python(program, path, 12001, 0))]
    path.chmod(0o660)  # SQLite makes it 0640
    Path(f"{path}-book").chmod(0o660)
    said += [answer(python(program, path, user, n)) for n, user in enumerate([0, 12002, 0, 12001], 1)]
    book = Path(f"{path}-book").read_text().split()
    shutil.rmtree(folder)

    assert said == ["0"] * 5
    assert sorted(book) == ["0", "1", "2", "3", "4"]
