"""Several processes at one queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from processes import BOUND, python

from lowq import Item, Run, State, Worker, open_backend
from lowq.backend import QueueGone

PROGRAM = """
import json, os, signal, sys, time
from datetime import timedelta
import lowq

def handler(work):
    print(json.dumps(["begun", work, os.getpid()]), flush=True)
    if work == "long":
        time.sleep(600)
    if work == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)

def told(run):
    print(json.dumps(["told", run.task.work, os.getpid(), run.outcome]), flush=True)

print(os.getpid(), flush=True)
queue = lowq.open_backend(sys.argv[1])
worker = lowq.Worker(
    queue, handler, processes=2, on_run=told, lease_for=timedelta(seconds=0.5), grace=timedelta(seconds=60)
)
worker.run_forever()
print("finished", flush=True)
"""


class Team:
    """A started PROGRAM and the lines that it printed."""

    def __init__(self, path: Path) -> None:
        self.process: subprocess.Popen[str] = python(PROGRAM, path)
        assert self.process.stdout is not None
        self.out = self.process.stdout
        self.pid = int(self.out.readline())

    def next(self, kind: str) -> list[object]:
        """The next line of that kind."""
        for line in self.out:
            if line.startswith(f'["{kind}"'):
                found: list[object] = json.loads(line)
                return found
        raise AssertionError(f"the program ended: {self.process.communicate()}")

    def rest(self) -> list[str]:
        """The lines up to its end, which came within the bound; the lines read ahead are not lost, as to `answer`."""
        watchdog = threading.Timer(BOUND, self.process.kill)
        watchdog.start()
        lines = self.out.read().splitlines()
        watchdog.cancel()
        assert self.process.stderr is not None
        assert self.process.wait(BOUND) == 0, self.process.stderr.read()
        self.process.communicate()
        return lines


def test_the_runs_of_all_processes_are_told_to_the_parent_each_once(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    queue.push_many([Item(number) for number in range(40)])
    told: list[Run] = []
    pids: list[int] = []

    def on_run(run: Run) -> None:
        told.append(run)
        pids.append(os.getpid())

    def handler(work: int) -> None:
        if work == 7:
            raise KeyError("seven")

    drained = Worker(queue, handler, processes=3, on_run=on_run).drain()

    assert drained == told
    assert sorted(run.task.work for run in told) == list(range(40))
    assert set(pids) == {os.getpid()}
    (failed,) = [run for run in told if run.outcome != "done"]
    assert (failed.outcome, failed.task.work) == ("retry", 7)
    assert isinstance(failed.error, KeyError)
    queue.close()


def test_sigterm_ends_all_processes_after_their_tasks_in_hand(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    team = Team(tmp_path / "q.db")
    queue.push("short")
    assert team.next("told")[1:] == ["short", team.pid, "done"]

    team.process.send_signal(signal.SIGTERM)

    assert team.rest() == ["finished"]
    assert queue.count().leased == 0
    queue.close()


def test_the_second_sigterm_gives_back_what_they_have_in_hand(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    team = Team(tmp_path / "q.db")
    queue.push("long")
    team.next("begun")

    team.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        team.process.wait(0.3)
    team.process.send_signal(signal.SIGTERM)

    assert team.next("told")[1:] == ["long", team.pid, "released"]
    assert team.rest() == ["finished"]
    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]
    queue.close()


def test_a_killed_process_is_replaced_and_its_task_runs_again(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    team = Team(tmp_path / "q.db")
    queue.push("deadly")
    first = team.next("begun")
    second = team.next("begun")
    third = team.next("begun")

    assert len({first[2], second[2], third[2]}) == 3
    team.process.send_signal(signal.SIGTERM)
    assert team.rest()[-1] == "finished"
    queue.close()


def test_the_processes_of_a_killed_parent_end(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    team = Team(tmp_path / "q.db")
    queue.push("short")
    team.next("begun")

    team.process.kill()

    # Its output pipe reaches its end when the last process that holds it is gone.
    team.process.communicate(timeout=BOUND)
    queue.close()


def test_storage_that_is_gone_ends_all_with_the_named_error(tmp_path: Path) -> None:
    queue = open_backend(tmp_path / "q.db")
    for path in tmp_path.iterdir():
        path.unlink()

    with pytest.raises(QueueGone):
        Worker(queue, print, processes=2).run_forever()
    queue.close()
