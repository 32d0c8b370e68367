"""A worker of the ancestor, a program of its own that knows nothing of lowq, driven against `lowq serve`."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from processes import BOUND, wait_for

from lowq import Backend, Counts, open_backend

PROGRAM = Path(__file__).parents[2] / "old_worker.py"


@contextmanager
def old_worker(url: str, log: Path, *, delay: str = "0.01") -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-I", PROGRAM, "--url", url, "--delay", delay, "--logfile", log],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=BOUND)


@contextmanager
def serving(folder: Path, *settings: str, port: int = 0) -> Iterator[str]:
    """`lowq serve` of the queue q.db in that folder, with these settings; its URL."""
    (folder / "settings.py").write_text("\n".join([f"LOCATION = {str(folder / 'q.db')!r}", *settings]))
    process = subprocess.Popen(
        [sys.executable, "-m", "lowq", "serve", "--port", str(port)],
        cwd=folder, env={"LOWQ_SETTINGS": str(folder / "settings.py")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.match(r"(http://\S+)/ shows ", process.stdout.readline())
        assert found is not None, process.communicate(timeout=BOUND)[1]
        yield found[1]
    finally:
        process.kill()
        process.communicate(timeout=BOUND)


def logged(log: Path) -> list[str]:
    """The payloads in the log, whose lines begin with a time."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in lines]


def counts(queue: Backend, expected: Counts) -> Callable[[], bool]:
    return lambda: queue.count() == expected


def test_two_of_them_log_and_complete_each_task_once(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        queue = open_backend(tmp_path / "q.db")
        for number in range(20):
            queue.push({"mail": number})
        with old_worker(url, tmp_path / "1.txt") as one, old_worker(url, tmp_path / "2.txt") as other:
            wait_for(counts(queue, Counts()))
            for each in (one, other):
                each.send_signal(signal.SIGINT)
                assert (each.wait(BOUND), each.stderr.read()) == (130, "")  # type: ignore[union-attr]
        queue.close()

    assert sorted(logged(tmp_path / "1.txt") + logged(tmp_path / "2.txt")) == sorted(
        f'{{"mail": {number}}}' for number in range(20)
    )


def test_a_higher_priority_comes_first_and_what_is_not_due_does_not_come(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        queue = open_backend(tmp_path / "q.db")
        for priority in (1, 3, 2):
            queue.push(priority, priority=priority)
        queue.push("later", not_before=queue.tasks()[0].pushed_at.replace(year=2999))
        with old_worker(url, tmp_path / "log.txt"):
            wait_for(counts(queue, Counts(scheduled=1)))
        queue.close()

    assert logged(tmp_path / "log.txt") == ["3", "2", "1"]


def test_the_task_of_one_that_was_killed_is_another_ones_after_the_lease(tmp_path: Path) -> None:
    with serving(tmp_path, "from datetime import timedelta", "LEASE_FOR = timedelta(seconds=1)") as url:
        queue = open_backend(tmp_path / "q.db")
        queue.push("a")
        fifo = tmp_path / "fifo"
        subprocess.run(["mkfifo", fifo], check=True)
        with old_worker(url, fifo) as first:  # it takes the task, and nobody reads its log
            wait_for(lambda: queue.tasks()[0].attempts == 1)
            first.kill()
        with old_worker(url, tmp_path / "log.txt"):
            wait_for(counts(queue, Counts()))
        queue.close()

    assert logged(tmp_path / "log.txt") == ['"a"']


def test_one_that_is_too_late_is_told_409_and_completes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "from datetime import timedelta", "LEASE_FOR = timedelta(seconds=0.2)") as url:
        queue = open_backend(tmp_path / "q.db")
        queue.push("a")
        fifo = tmp_path / "fifo"
        subprocess.run(["mkfifo", fifo], check=True)
        with old_worker(url, fifo, delay="30") as late:
            wait_for(lambda: queue.tasks()[0].attempts == 1)
            wait_for(lambda: queue.count() == Counts(ready=1))
            held = queue.claim(lease_for=timedelta(hours=1))
            fifo.read_text()  # now it can go on
            assert late.stderr is not None
            said = late.stderr.readline()
        left = queue.count()
        queue.close()

    assert held is not None
    assert said.startswith("error 409: ")
    assert left == Counts(leased=1)


def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = open_backend(tmp_path / "q.db")
    queue.push("a")
    with old_worker(f"http://127.0.0.1:{port}", tmp_path / "log.txt", delay="0.1") as worker:
        assert worker.stderr is not None
        said = worker.stderr.readline()
        with serving(tmp_path, port=port):
            wait_for(counts(queue, Counts()))
    queue.close()

    assert said.startswith("the server is away: ")
    assert logged(tmp_path / "log.txt") == ['"a"']
