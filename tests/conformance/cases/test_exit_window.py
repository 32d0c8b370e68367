"""A worker is met on its way to its end wherever the suite chooses to, on a busy machine as on an idle one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lowq_conformance.cases.exit_window import ExitWindow
from lowq_conformance.subject.freezing import tell_kept
from lowq_conformance.subject.handler import Handler
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.turn_log import TurnLog
from processes import BOUND, python, wait_for

PROGRAM = """
    import json, os, sys
    from lowq_conformance.subject.handler import Handler

    def make(name):
        os.close(os.open(sys.argv[1] + "/" + name, os.O_CREAT | os.O_WRONLY))

    Handler(sys.argv[1])(json.loads(sys.argv[2]))
    make("a")
    make("b")
    os.read(0, 1)
    os._exit(0)
"""


def made(folder: Path) -> str:
    """The files that the program has made on its way."""
    return "".join(name for name in "ab" if (folder / name).exists())


def stands_still(pid: int) -> bool:
    """Whether the process stands still, rather than having ended."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        there, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if there:
            return os.WIFSTOPPED(status)
        time.sleep(0.001)
    raise AssertionError(f"process {pid} neither ended nor stood still")


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker that has one turn, at this work, and is not there any more after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*, kept: bool = True, **work: Any) -> subprocess.Popen[str]:
        started.append(python(PROGRAM, tmp_path, json.dumps(work)))
        if kept:
            tell_kept(tmp_path, started[-1].pid)
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


def ended(worker: subprocess.Popen[str]) -> int:
    """The exit code of a worker whose way is free."""
    worker.communicate(timeout=BOUND)
    return worker.returncode


@pytest.mark.parametrize(
    ("kind", "after", "there"),
    [
        ("step", 1, {""}),
        ("step", 2, {"a"}),
        ("line", 1, {""}),
        ("line", 2, {""}),
        ("line", 3, {"a"}),
        ("line", 5, {"ab"}),
        ("seconds", 0.0, {"", "a", "ab"}),
    ],
)
def test_a_worker_stands_still_where_it_is_told_to(
    start: Start, tmp_path: Path, kind: str, after: float, there: set[str]
) -> None:
    worker = start(does="freeze", after=[kind, after], at="gate")
    assert stands_still(worker.pid)
    assert Handler(str(tmp_path)).is_open("gate")
    assert made(tmp_path) in there

    os.kill(worker.pid, signal.SIGCONT)
    assert (ended(worker), made(tmp_path)) == (0, "ab")


def test_a_worker_that_nobody_keeps_does_not_stand_still_yet(start: Start, tmp_path: Path) -> None:
    """Where the tests are killed before they know it, it would stand there for ever."""
    worker = start(kept=False, does="freeze", after=["step", 1], at="gate")
    wait_for(lambda: any(turn.done for turn in TurnLog(tmp_path).turns()))
    assert not Handler(str(tmp_path)).is_open("gate")

    tell_kept(tmp_path, worker.pid)
    assert stands_still(worker.pid)
    os.kill(worker.pid, signal.SIGCONT)
    assert ended(worker) == 0


def test_a_worker_whose_tests_are_over_does_not_stand_still(start: Start, tmp_path: Path) -> None:
    worker = start(kept=False, does="freeze", after=["step", 1], at="gate")
    wait_for(lambda: any(turn.done for turn in TurnLog(tmp_path).turns()))
    tmp_path.rename(tmp_path.with_name("over"))

    assert ended(worker) == 1  # at the first file that it wants to make


def test_a_worker_goes_on_when_its_moment_is_over(start: Start, reaper: Reaper) -> None:
    worker = start(does="freeze", after=["step", 1], at="gate")
    assert stands_still(worker.pid)
    reaper.keep(worker.pid)
    reaper.thaw(worker.pid, 0.001)

    assert ended(worker) == 0


def test_a_worker_that_stands_still_unasked_goes_on(start: Start, reaper: Reaper) -> None:
    """One that still ran took the next task before another one was started, and held what the starter waits for."""
    worker = start(does="freeze", after=["step", 1], at="gate")
    reaper.keep(worker.pid)

    assert ended(worker) == 0


def test_a_process_that_was_forgotten_is_not_kept_again() -> None:
    other = python("import sys; sys.stdin.read()")
    reaper = Reaper()
    reaper.keep(other.pid)
    reaper.forget(other.pid)
    reaper.thaw(other.pid, 0.001)
    reaper.close()

    assert ended(other) == 0


def test_the_lines_and_steps_of_a_worker_are_counted(start: Start, tmp_path: Path) -> None:
    ended(start(does="count", at="end"))

    # two calls and the line of each, which opens a file; and the last two
    assert Handler(str(tmp_path)).load_counts("end") == (6, 2)


def test_what_nobody_counted_is_nothing(tmp_path: Path) -> None:
    assert Handler(str(tmp_path)).load_counts("end") == (0, 0)


def points(way: ExitWindow, many: int) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {"step": [], "line": [], "seconds": []}
    for kind, after in way.points(Random(1), many):
        found[kind].append(after)
    return found


def test_a_worker_is_met_at_each_step_where_they_are_few() -> None:
    found = points(ExitWindow(seconds=0.01, lines=500, steps=7, call=0.001), 60)

    assert sorted(found["step"]) == [1, 2, 3, 4, 5, 6, 7]
    assert len(set(found["line"])) == 26
    assert len(found["seconds"]) == 27
    assert all(0 < seconds <= 0.01 for seconds in found["seconds"])


def test_where_steps_are_many_the_lines_and_instants_are_not_forgotten() -> None:
    found = points(ExitWindow(seconds=0.01, lines=500, steps=50, call=0.001), 60)

    assert [len(set(each)) for each in found.values()] == [20, 20, 20]


def test_a_worker_that_is_no_python_is_met_after_a_while() -> None:
    found = points(ExitWindow(seconds=0.01, lines=0, steps=0, call=0.001), 60)

    assert [len(each) for each in found.values()] == [0, 0, 60]


@pytest.mark.parametrize(("call", "moment"), [(0.001, 0.015), (0.02, 0.06), (3.0, 0.25)])
def test_others_have_the_time_to_act_which_they_were_seen_to_need(call: float, moment: float) -> None:
    assert ExitWindow(seconds=0.01, lines=0, steps=0, call=call).moment == pytest.approx(moment)


def test_a_worker_that_lingers_is_met_at_the_last_lines_that_it_runs_for_the_first_time() -> None:
    way = ExitWindow(0.003, lines=100, steps=3, call=0.001, lingers=1.0)

    met = list(way.points(Random(1), 60))

    assert {kind for kind, _ in met} == {"step", "once"}
    assert sorted(after for kind, after in met if kind == "step") == [1, 2, 3]
    lines = [after for kind, after in met if kind == "once"]
    assert len(lines) == 30
    assert set(lines) <= set(range(61, 101))


LOOP = """
    import json, sys
    from lowq_conformance.subject.handler import Handler

    def wait(rounds):
        for _ in range(rounds):
            json.loads("1")

    work = json.loads(sys.argv[2])
    Handler(sys.argv[1])(work)
    wait(1000)
    open(sys.argv[1] + "/end", "w").close()
"""


def test_each_line_is_counted_once_where_that_is_asked_for(tmp_path: Path) -> None:
    program = tmp_path / "loops.py"
    program.write_text(textwrap.dedent(LOOP))
    work = {"does": "count", "at": "last", "of": [str(program)], "once": True}

    subprocess.run([sys.executable, program, tmp_path, json.dumps(work)], check=True, timeout=BOUND)

    lines, _ = Handler(str(tmp_path)).load_counts("last")
    assert 3 <= lines <= 6
