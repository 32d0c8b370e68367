"""Workers in the background, with real processes and real kills.

Long: each moment of a worker's life at which it may be killed or started has a test of its own.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from processes import BOUND, answer, python

from lowq import Backend, BackendUnavailable, Counts, InvalidLocation, Item, Retry, State, Worker, open_backend
from lowq.location import beside
from lowq.process.forking import ForkUnavailable
from lowq.worker.background import active_pid, start
from lowq.worker.lock import WorkerLock
from lowq.worker.lock import active_pid as pid_in
from lowq.worker.logfile import LARGEST, aside

NOTHING = timedelta(0)
SOON = timedelta(seconds=BOUND)


class Place:
    """A queue in a file, and a book beside it, in which handlers write down what they see in their processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "q.db"
        self.book = folder / "book"
        self.queue: Backend = open_backend(self.path)

    def start(self, handler: Callable[[Any], object], *, linger: timedelta = NOTHING, **options: Any) -> bool:
        return start(Worker(self.queue, handler, **options), self.path, linger=linger)

    def note(self, *words: object) -> None:
        """One line, whole, whoever else writes."""
        descriptor = os.open(self.book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
        os.close(descriptor)

    def note_and_stay(self, work: object) -> None:
        """A handler that says that it runs, and runs on."""
        self.note(work)
        time.sleep(BOUND)

    def lines(self) -> list[str]:
        return self.book.read_text().splitlines() if self.book.exists() else []

    def await_lines(self, number: int) -> list[str]:
        wait_for(
            lambda: len(self.lines()) >= number, lambda: f"{number} lines, got {self.lines()}; log: {self.log()}"
        )
        return self.lines()

    def await_idle(self) -> None:
        """The worker is gone."""
        wait_for(lambda: not self.held(), lambda: f"the worker to end; log: {self.log()}")

    def held(self) -> bool:
        """Whether somebody holds the lock. Looking like this is allowed to a test only where nobody starts."""
        with Path(f"{self.path}-lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def log(self) -> str:
        log = Path(f"{self.path}-log")
        return log.read_text() if log.exists() else "(none)"


def wait_for(event: Callable[[], bool], what: Callable[[], str]) -> None:
    end = time.monotonic() + BOUND
    while not event():
        assert time.monotonic() < end, f"waited {BOUND} s for {what()}"
        time.sleep(0.002)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    here = Place(tmp_path)
    yield here
    with suppress(ProcessLookupError):
        if (pid := active_pid(here.path)) is not None and here.held():
            os.kill(pid, signal.SIGKILL)
    here.await_idle()
    here.queue.close()


def test_start_returns_at_once_and_a_detached_worker_drains_the_queue_and_ends(place: Place) -> None:
    place.queue.push_many([Item("a"), Item("b")])

    assert place.start(lambda work: place.note(work, os.getpid(), os.getppid(), os.getsid(0)))

    lines = [line.split() for line in place.await_lines(2)]
    place.await_idle()
    assert [line[0] for line in lines] == ["a", "b"]
    (pid,) = {int(line[1]) for line in lines}
    assert pid != os.getpid()
    assert os.getpid() not in {int(line[2]) for line in lines}
    assert os.getsid(0) not in {int(line[3]) for line in lines}
    assert place.queue.tasks() == []
    with suppress(ChildProcessError):  # whatever other tests still have running, nothing of this waits to be reaped
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


def test_nothing_is_started_while_a_worker_is_active(place: Place) -> None:
    place.queue.push("first")
    place.queue.push("keeps the worker", not_before=soon(30))

    assert place.start(lambda work: place.note(work, os.getpid()), linger=SOON)
    (line,) = place.await_lines(1)

    assert not place.start(pytest.fail)
    assert active_pid(place.path) == int(line.split()[1])
    os.kill(int(line.split()[1]), signal.SIGTERM)
    place.await_idle()
    assert active_pid(place.path) is None


def soon(seconds: float) -> Any:
    from lowq import SystemClock

    return SystemClock().now() + timedelta(seconds=seconds)


def test_a_task_that_falls_due_within_linger_runs_without_another_start(place: Place) -> None:
    place.queue.push("later", not_before=soon(0.3))

    place.start(place.note, linger=SOON)

    assert place.await_lines(1) == ["later"]
    place.await_idle()


def test_a_task_that_fails_stops_no_other_and_is_tried_again_without_another_start(place: Place) -> None:
    def handler(work: str) -> None:
        place.note(work)
        if place.lines().count("bad") == 1 and work == "bad":
            raise RuntimeError("once")

    place.queue.push_many([Item("bad"), Item("good")])

    place.start(handler, linger=SOON, retry=Retry(first=timedelta(seconds=0.2)))

    assert place.await_lines(3) == ["bad", "good", "bad"]
    place.await_idle()
    assert place.queue.tasks() == []


def test_a_killed_workers_queue_runs_at_the_next_start_and_its_task_after_its_lease(place: Place) -> None:
    def handler(work: str) -> None:
        place.note(work, os.getpid())
        if work == "in_hand" and len(place.lines()) == 1:
            time.sleep(BOUND)

    place.queue.push_many([Item("in_hand"), Item("rest")])
    place.start(handler, linger=SOON, lease_for=timedelta(seconds=1))
    (line,) = place.await_lines(1)

    os.kill(int(line.split()[1]), signal.SIGKILL)
    wait_for(lambda: not place.held(), lambda: "the kill")

    assert place.start(handler, linger=SOON, lease_for=timedelta(seconds=1))
    assert [line.split()[0] for line in place.await_lines(3)] == ["in_hand", "rest", "in_hand"]
    place.await_idle()
    assert place.queue.tasks() == []


@pytest.mark.parametrize("time_limit", [None, SOON], ids=["inline", "time_limit"])
def test_a_storm_of_kills_loses_nothing_and_leaves_nothing_locked(place: Place, time_limit: timedelta | None) -> None:
    def handler(work: int) -> None:
        time.sleep(0.002)
        place.note(work)

    def begin() -> None:
        place.start(
            handler,
            linger=SOON,
            lease_for=timedelta(seconds=0.2),
            retry=Retry(max_attempts=1000),
            time_limit=time_limit,
        )

    random = Random(7)
    place.queue.push_many([Item(number) for number in range(100)])

    for _ in range(8):
        begin()
        seen = len(place.lines())
        place.await_lines(min(seen + random.randrange(8), 100))
        if (pid := active_pid(place.path)) is not None:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not place.held(), lambda: "the kill")
    begin()

    wait_for(lambda: place.queue.tasks() == [], lambda: f"an empty queue; {place.queue.count()}; {place.log()}")
    assert {int(line) for line in place.lines()} == set(range(100))


def test_what_is_pushed_between_empty_and_inactive_is_run_by_the_worker_itself(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is held where it has found the queue empty and still holds the lock."""
    open_gate = place.path.with_name("gate")
    let_go = WorkerLock.let_go

    def slow_let_go(self: WorkerLock) -> None:
        place.note("empty")
        wait_for(open_gate.exists, lambda: "the gate")
        let_go(self)

    monkeypatch.setattr(WorkerLock, "let_go", slow_let_go)
    place.queue.push("first")
    place.start(place.note)
    place.await_lines(2)

    place.queue.push("in the window")
    started = place.start(pytest.fail)
    open_gate.touch()

    assert not started
    assert place.await_lines(4) == ["first", "empty", "in the window", "empty"]
    place.await_idle()


def test_what_is_pushed_while_a_worker_that_was_told_to_stop_ends_is_run_by_the_next(place: Place) -> None:
    gate = place.path.with_name("gate")

    def handler(work: str) -> None:
        place.note(work, os.getpid())
        if work == "in-hand":
            wait_for(gate.exists, lambda: "the gate")

    place.queue.push("in-hand")
    place.start(handler)
    (line,) = place.await_lines(1)
    stopping = int(line.split()[1])
    os.kill(stopping, signal.SIGTERM)
    lock = Path(f"{place.path}-lock")
    wait_for(lambda: "stopping" in lock.read_text(), lambda: f"the worker to hear it; {lock.read_text()!r}")

    place.queue.push("afterwards")
    started = [place.start(handler) for _ in range(3)]
    pid = active_pid(place.path)
    gate.touch()

    assert started == [True, False, False]
    assert pid == stopping
    lines = [line.split() for line in place.await_lines(2)]
    place.await_idle()
    assert lines[1][0] == "afterwards"
    assert int(lines[1][1]) != stopping
    assert len(place.lines()) == 2


def test_however_often_a_stopping_worker_is_started_anew_one_process_waits_for_it(place: Place) -> None:
    gate = place.path.with_name("gate")

    def handler(work: object) -> None:
        place.note(work, os.getpid())
        if work == "in-hand":
            wait_for(gate.exists, lambda: "the gate")

    place.queue.push("in-hand")
    place.start(handler)
    (line,) = place.await_lines(1)
    os.kill(int(line.split()[1]), signal.SIGTERM)
    lock = Path(f"{place.path}-lock")
    wait_for(lambda: "stopping" in lock.read_text(), lambda: "the worker to hear it")

    started = 0
    for number in range(30):
        place.queue.push(number)
        started += place.start(handler)
    gate.touch()

    lines = [line.split() for line in place.await_lines(31)]
    place.await_idle()
    assert started == 1
    assert [line[0] for line in lines] == ["in-hand", *map(str, range(30))]
    assert len({line[1] for line in lines}) == 2


def test_a_start_that_waits_may_be_killed(place: Place) -> None:
    gate = place.path.with_name("gate")

    def handler(work: object) -> None:
        place.note(work, os.getpid())
        if work == "in-hand":
            wait_for(gate.exists, lambda: "the gate")

    place.queue.push("in-hand")
    place.start(handler)
    (line,) = place.await_lines(1)
    os.kill(int(line.split()[1]), signal.SIGTERM)
    lock, turn = Path(f"{place.path}-lock"), Path(f"{place.path}-next")
    wait_for(lambda: "stopping" in lock.read_text(), lambda: "the worker to hear it")
    place.queue.push("afterwards")
    assert place.start(handler)
    wait_for(lambda: pid_in(turn) is not None, lambda: "the one that waits")
    waiting = pid_in(turn)
    assert waiting is not None

    os.kill(waiting, signal.SIGKILL)
    again = place.start(handler)
    gate.touch()

    assert again
    assert [line.split()[0] for line in place.await_lines(2)] == ["in-hand", "afterwards"]
    place.await_idle()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a process is being killed")
def test_a_start_right_after_a_kill_is_not_lost(place: Place) -> None:
    """The killed worker holds the lock until the last of its memory is given back, which takes a while here."""
    ballast: list[bytes] = []

    def handler(work: int) -> None:
        ballast.append(os.urandom(1) * 30_000_000)
        place.note(work, os.getpid())

    lease = timedelta(seconds=0.5)
    place.queue.push("keeps the worker", not_before=soon(BOUND / 2))
    for number in range(10):
        place.queue.push(number)
        place.start(handler, linger=SOON, lease_for=lease)
        wait_for(lambda: f"{number} " in "".join(place.lines()[-3:]), lambda: f"{number}; {place.log()}")  # noqa: B023
        pid = active_pid(place.path)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    place.queue.push("last")

    place.start(handler, lease_for=lease)

    wait_for(lambda: place.queue.count() == Counts(scheduled=1), lambda: f"an empty queue; {place.log()}")


def test_a_worker_started_in_the_window_after_letting_go_is_the_only_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker is held where it has let go of the lock and not looked yet; it finds the second active."""
    open_gate = place.path.with_name("gate")
    free = place.path.with_name("free")
    let_go = WorkerLock.let_go

    def let_go_and_say_so(self: WorkerLock) -> None:
        let_go(self)
        place.note("let go")
        wait_for(open_gate.exists, lambda: "the gate")

    def handler(work: str) -> None:
        place.note(work, os.getpid())
        if work == "second":
            wait_for(free.exists, lambda: "the test")

    monkeypatch.setattr(WorkerLock, "let_go", let_go_and_say_so)
    place.queue.push("first")
    place.start(handler)
    place.await_lines(2)
    place.queue.push("second")

    assert place.start(handler)
    place.await_lines(3)
    place.queue.push("third")
    open_gate.touch()
    free.touch()

    wait_for(lambda: place.queue.tasks() == [], lambda: "all three")
    place.await_idle()
    ran = [line.split() for line in place.lines() if line != "let go"]
    assert [work for work, _ in ran] == ["first", "second", "third"]
    assert ran[0][1] != ran[1][1] == ran[2][1]


def test_no_push_is_stranded_over_a_hundred_starts_at_the_end_of_a_worker(place: Place) -> None:
    """Each push comes as soon as the task before was done: when the worker is about to find the queue empty."""
    started = 0
    for number in range(100):
        place.queue.push(number)
        started += place.start(place.note)
        place.await_lines(number + 1)

    assert place.lines() == [str(number) for number in range(100)]
    assert started >= 1


def test_many_starters_in_many_processes_make_one_worker_at_a_time_and_strand_nothing(place: Place) -> None:
    program = """
        import fcntl, os, sys
        from datetime import timedelta
        import lowq
        from lowq.worker.background import start

        path, number = sys.argv[1], int(sys.argv[2])
        queue = lowq.open_backend(path)

        def handler(work):
            with open(path + "-alone", "a") as alone, open(path + "-book", "a") as book:
                try:
                    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    book.write("two at once\\n")
                book.write(f"{work}\\n")

        for each in range(25):
            queue.push([number, each])
            start(lowq.Worker(queue, handler), path, linger=timedelta(0))
    """
    starters = [python(program, place.path, number) for number in range(4)]
    for starter in starters:
        answer(starter)
    wait_for(lambda: place.queue.tasks() == [], lambda: f"an empty queue; {place.queue.count()} {place.log()}")
    place.await_idle()

    lines = Path(f"{place.path}-book").read_text().splitlines()
    assert sorted(lines) == sorted(str([number, each]) for number in range(4) for each in range(25))


def test_a_handler_may_push_to_its_own_queue_and_start_it(place: Place) -> None:
    def handler(work: int) -> None:
        place.note(work, os.getpid(), active_pid(place.path))
        if work < 3:
            place.queue.push(work + 1)
            assert not place.start(pytest.fail)

    place.queue.push(1)

    place.start(handler)

    lines = [line.split() for line in place.await_lines(3)]
    place.await_idle()
    assert [line[0] for line in lines] == ["1", "2", "3"]
    assert len({pid for line in lines for pid in line[1:]}) == 1


@pytest.mark.parametrize("time_limit", [None, SOON], ids=["inline", "time_limit"])
def test_a_handlers_forked_child_does_not_keep_the_lock_of_its_killed_worker(
    place: Place, time_limit: timedelta | None
) -> None:
    def handler(work: object) -> None:
        if os.fork() == 0:
            with suppress(BaseException):
                os.setsid()
                place.note(os.getpid())
                time.sleep(BOUND)
            os._exit(0)
        time.sleep(BOUND)

    place.queue.push("forks")
    place.start(handler, time_limit=time_limit)
    (line,) = place.await_lines(1)
    pid = active_pid(place.path)
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not place.held(), lambda: "the lock, which the handler's child holds")

    os.kill(int(line), signal.SIGKILL)


def test_a_retry_that_lies_beyond_linger_is_said_in_the_log(place: Place) -> None:
    def fail(work: object) -> None:
        raise ConnectionError("away")

    place.queue.push("later")

    place.start(fail, retry=Retry(first=timedelta(hours=1)))
    wait_for(lambda: place.queue.count() == Counts(scheduled=1), place.log)
    place.await_idle()
    wait_for(lambda: "this worker ends" in place.log(), place.log)

    due = place.queue.next_due()
    assert due is not None
    assert f"WARN this worker ends, and the next task is due at {due:%Y-%m-%d %H:%M:%S} UTC" in place.log()


def test_a_handler_that_closes_all_leaves_its_worker_the_only_one(place: Place, tmp_path: Path) -> None:
    goes_on = tmp_path / "goes on"

    def handler(work: object) -> None:
        if work == "closes":
            os.closerange(3, 4096)
        place.note(work, os.getpid())
        if work == "waits":
            wait_for(goes_on.exists, lambda: "the test")

    place.queue.push_many([Item("closes"), Item("waits"), Item("next")])

    assert place.start(handler)
    place.await_lines(2)
    worker = active_pid(place.path)
    again = place.start(handler)
    goes_on.touch()
    place.await_idle()

    assert (again, place.queue.count()) == (False, Counts())
    assert place.lines() == [f"{work} {worker}" for work in ("closes", "waits", "next")]


class TestStopping:
    def test_sigterm_lets_the_task_in_hand_end_and_leaves_the_rest(self, place: Place) -> None:
        def handler(work: object) -> None:
            place.note(work)
            os.kill(os.getpid(), signal.SIGTERM)

        place.queue.push_many([Item("in hand"), Item("rest")])

        place.start(handler)
        place.await_idle()

        assert place.lines() == ["in hand"]
        assert [(task.work, task.state, task.attempts) for task in place.queue.tasks()] == [("rest", State.READY, 0)]
        wait_for(lambda: "told to stop" in place.log(), place.log)
        assert "WARN this worker was told to stop, and 1 task is due: run by the next start(), or" in place.log()

    def test_a_task_that_does_not_end_is_given_back_uncounted(self, place: Place) -> None:
        def handler(work: object) -> None:
            place.note(os.getpid())
            time.sleep(BOUND)

        place.queue.push("in-hand")
        place.start(handler, grace=timedelta(seconds=0.1))
        (pid,) = place.await_lines(1)

        os.kill(int(pid), signal.SIGTERM)
        place.await_idle()

        assert [(task.state, task.attempts) for task in place.queue.tasks()] == [(State.READY, 0)]


class TestTheCaller:
    """Nothing of the caller runs, is written or is held in the worker."""

    def test_clean_up_and_buffered_output_happen_once_in_the_caller(self, place: Place) -> None:
        caller = python(
            """
            import atexit, os, sys
            from datetime import timedelta
            import lowq
            from lowq.worker.background import start

            class Closing:
                def __enter__(self): return self
                def __exit__(self, *_): print("exit of with", os.getpid())
                def __del__(self): print("finalizer", os.getpid())

            atexit.register(lambda: print("atexit", os.getpid()))
            queue = lowq.open_backend(sys.argv[1])
            print("buffered", os.getpid())
            file = open(sys.argv[1] + "-file", "w")
            file.write("buffered in a file\\n")
            cycle = [Closing()]
            cycle.append(cycle)
            del cycle
            closing = Closing()

            def handler(work):
                import gc
                gc.collect()
                print("from the worker")

            queue.push("work")
            try:
                with closing:
                    start(lowq.Worker(queue, handler), sys.argv[1], linger=timedelta(0))
            finally:
                print("finally", os.getpid())
            """,
            place.path,
        )
        out = answer(caller).splitlines()
        wait_for(lambda: place.queue.tasks() == [], lambda: "the task")
        place.await_idle()

        assert sorted(out) == sorted(
            f"{what} {caller.pid}"
            for what in ("atexit", "buffered", "exit of with", "finalizer", "finalizer", "finally")
        )
        assert place.log() == "from the worker\n"
        assert Path(f"{place.path}-file").read_text() == "buffered in a file\n"

    def test_log_handlers_write_to_the_workers_streams(self, place: Place) -> None:
        caller = python(
            """
            import logging, sys
            from datetime import timedelta
            import lowq
            from lowq.worker.background import start

            logging.basicConfig(stream=sys.stdout, format="%(message)s")
            sys.stdout.write("buffered by the caller\\n")
            queue = lowq.open_backend(sys.argv[1])
            queue.push("work")
            start(lowq.Worker(queue, logging.warning), sys.argv[1], linger=timedelta(0))
            """,
            place.path,
        )
        out = answer(caller)
        wait_for(lambda: place.queue.tasks() == [], lambda: "the task")
        place.await_idle()

        assert (out, place.log()) == ("buffered by the caller", "work\n")

    def test_signal_handlers_of_the_caller_do_not_run_in_the_worker(self, place: Place) -> None:
        before = signal.signal(signal.SIGUSR1, lambda *_: place.note("the caller's"))
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            place.queue.push("work")
            place.start(lambda _: place.note(signal.getsignal(signal.SIGUSR1), signal.pthread_sigmask(0, [])))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            signal.signal(signal.SIGUSR1, before)

        assert place.await_lines(1) == ["0 set()"]

    def test_a_listening_socket_is_not_held(self, place: Place) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        address = server.getsockname()
        place.queue.push("work")
        place.start(place.note_and_stay)
        place.await_lines(1)

        server.close()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    def test_a_peer_sees_the_end_of_a_pipe(self, place: Place) -> None:
        read, write = os.pipe()
        place.queue.push("work")
        place.start(place.note_and_stay)
        place.await_lines(1)

        os.close(write)

        assert os.read(read, 1) == b""
        os.close(read)

    def test_a_number_of_a_callers_pipe_is_no_other_file_in_the_worker(self, place: Place) -> None:
        read, write = os.pipe()

        def handler(work: object) -> None:
            os.write(write, b"lost")
            place.note(os.path.samestat(os.fstat(write), os.stat(os.devnull)))

        place.queue.push("work")
        place.start(handler)

        assert place.await_lines(1) == ["True"]
        os.close(read)
        os.close(write)

    def test_start_from_a_program_with_threads_works(self, place: Place) -> None:
        """From a thread that is not the main one, while others hold what locks they like."""
        printing = threading.Event()
        ended = threading.Event()

        def chatter() -> None:
            while not ended.is_set():
                sys.stderr.write("x" * 1000)
                printing.set()

        def handler(work: object) -> None:
            sys.stderr.write("from the worker")
            place.note(work)

        threads = [threading.Thread(target=chatter) for _ in range(3)]
        for thread in threads:
            thread.start()
        printing.wait(BOUND)
        try:
            for number in range(10):
                place.queue.push(number)
                starter = threading.Thread(target=place.start, args=(handler,))
                starter.start()
                starter.join(BOUND)
                place.await_lines(number + 1)
        finally:
            ended.set()
            for thread in threads:
                thread.join(BOUND)

        assert place.lines() == [str(number) for number in range(10)]


class TestOutput:
    def test_it_goes_to_the_log_beside_the_queue(self, place: Place, capfd: pytest.CaptureFixture[str]) -> None:
        def handler(work: object) -> None:
            sys.stdout.write(f"printed {work}\n")
            os.write(2, b"written\n")
            place.note(sys.stdin.read() == "")

        place.queue.push("é")
        place.start(handler)

        assert place.await_lines(1) == ["True"]
        place.await_idle()
        assert place.log() == "printed é\nwritten\n"
        assert capfd.readouterr() == ("", "")

    def test_or_to_the_file_that_is_given(self, place: Place) -> None:
        place.queue.push("work")
        with place.path.with_name("output").open("w") as output:
            output.write("the caller's\n")
            start(Worker(place.queue, print), place.path, linger=NOTHING, output=output)
            wait_for(lambda: place.queue.tasks() == [], lambda: "the task")
            place.await_idle()

        assert sorted(place.path.with_name("output").read_text().splitlines()) == ["the caller's", "work"]
        assert place.log() == "(none)"

    def test_a_log_grown_too_large_is_set_aside_by_the_next_worker(self, place: Place) -> None:
        Path(f"{place.path}-log").write_text("old\n" * 300_000)
        place.queue.push("work")

        place.start(print)
        place.await_idle()

        wait_for(lambda: place.queue.tasks() == [], lambda: "the task")
        assert place.log() == "work\n"
        assert Path(f"{place.path}-log~").read_text().startswith("old\n")

    @pytest.mark.parametrize("option", [{}, {"time_limit": SOON}], ids=["inline", "time_limit"])
    def test_the_log_of_a_worker_that_runs_stays_bounded(self, place: Place, option: dict[str, Any]) -> None:
        enough = place.path.with_name("enough")

        def handler(work: object) -> None:
            number = 0
            while not enough.exists():
                sys.stdout.write(f"{number} {'x' * 100}\n" * 1000)
                number += 1
                time.sleep(0.01)
            place.note(number)

        place.queue.push("endless")
        place.start(handler, **option)
        log, aside = Path(f"{place.path}-log"), Path(f"{place.path}-log~")
        wait_for(lambda: aside.exists() and aside.stat().st_size > LARGEST // 2, lambda: "the log set aside")
        first = aside.stat().st_mtime_ns
        wait_for(lambda: aside.stat().st_mtime_ns != first and log.stat().st_size < 20 * LARGEST, lambda: "another")
        enough.touch()

        place.await_lines(1)
        place.await_idle()
        assert aside.stat().st_size <= 2 * LARGEST

    @pytest.mark.parametrize("option", [{}, {"time_limit": SOON}], ids=["inline", "time_limit"])
    def test_a_log_that_was_moved_away_begins_anew(self, place: Place, option: dict[str, Any]) -> None:
        place.queue.push("first")
        place.queue.push("keeps the worker", not_before=soon(30))

        def handler(work: object) -> None:
            sys.stdout.write(f"ran {work}\n")
            place.note(work)

        place.start(handler, linger=SOON, **option)
        place.await_lines(1)
        log = Path(f"{place.path}-log")

        log.rename(place.path.with_name("moved"))
        wait_for(log.exists, lambda: "a log anew")
        place.queue.push("second")
        place.await_lines(2)
        place.queue.push("third")
        place.await_lines(3)

        wait_for(lambda: "ran third\n" in log.read_text(), place.log)
        assert place.path.with_name("moved").read_text().startswith("ran first\n")

    def test_no_queue_is_called_as_a_log_set_aside(self, place: Place) -> None:
        names = ["default", "1", "~", "default~", "log~", "mail", "mail~", "old"]
        logs = {beside(str(place.path), "log", name) for name in names}

        assert len(logs) == len(names)
        assert not logs & {aside(log) for log in logs}

    def test_what_ends_a_worker_stands_in_the_log(self, place: Place) -> None:
        def handler(work: object) -> None:
            raise KeyboardInterrupt

        place.queue.push("work")
        place.start(handler)
        place.await_idle()

        assert "KeyboardInterrupt" in place.log()
        assert [task.attempts for task in place.queue.tasks()] == [0]


class TestRefusals:
    def test_a_queue_that_stays_in_its_process(self) -> None:
        queue = open_backend("memory://here")

        with pytest.raises(InvalidLocation, match=r"memory://here stays in its process"):
            start(Worker(queue, print), "memory://here")

    def test_a_python_that_cannot_fork(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "fork")

        with pytest.raises(ForkUnavailable, match=r"start\(\) needs os.fork"):
            place.start(print)

    @pytest.mark.parametrize("kind", ["lock", "log"])
    def test_a_file_that_cannot_be_written(self, place: Place, kind: str) -> None:
        blocked = Path(f"{place.path}-{kind}")
        blocked.mkdir()

        with pytest.raises(BackendUnavailable, match=f"q.db-{kind} cannot be .*: Is a directory"):
            place.start(print)

        blocked.rmdir()
        assert place.start(print)

    def test_a_system_that_is_out_of_processes(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        fork = os.fork
        monkeypatch.setattr(os, "fork", refuse)
        with pytest.raises(ForkUnavailable, match="the system refused another process"):
            place.start(print)

        monkeypatch.setattr(os, "fork", fork)
        assert place.start(print)


def test_a_worker_whose_code_was_changed_says_so_once(place: Place) -> None:
    module = place.path.with_name("deployed.py")
    program = """
        import os, sys, time
        import lowq

        @lowq.task_queue(sys.argv[1])
        def handler(queue, work):
            pass

        handler.queue.push("last", not_before=lowq.SystemClock().now() + lowq.taskqueue.timedelta(seconds=40))
        handler("first")
    """
    module.write_text(textwrap.dedent(program))
    run = "import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, '.'); import deployed"
    subprocess.run([sys.executable, "-c", run, "x", place.path], cwd=place.path.parent, check=True)
    wait_for(lambda: place.queue.count() == Counts(scheduled=1), lambda: place.log())
    before = place.log()

    module.write_text(textwrap.dedent(program) + "# deployed\n")

    def is_said() -> bool:
        place.queue.push("second")  # again and again: what a worker has seen of its files it believes for a second
        return "has changed" in place.log()

    wait_for(is_said, place.log)
    place.queue.push("third")
    wait_for(lambda: place.queue.count() == Counts(scheduled=1), lambda: place.log())
    assert "has changed" not in before
    assert place.log().count("deployed.py has changed, and this worker runs what it was") == 1
