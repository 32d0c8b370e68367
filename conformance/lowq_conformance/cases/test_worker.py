"""WORKER: a worker of the queue's own, which runs what was pushed; real processes, and real signals."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lowq_conformance.cases.exit_window import SOON, freeze_worker, measure
from lowq_conformance.cases.starter import Starter
from lowq_conformance.cases.worker_fixtures import (
    MOMENT,
    comes_back,
    expect_at_most,
    own_roots,
    q,
    reaper,
    require_given_back,
    run_after_a_kill,
    task,
    waiting,
    workers,
)
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.performer import Step
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.handler import ERRORS
from lowq_conformance.subject.workers import Workers

__all__ = ["q", "reaper", "workers"]

pytestmark = pytest.mark.waits

MANY = 40
OFTEN = 4
"""How often it is tried whether of several processes more than may be run tasks at once."""
SLOWLY = 30.0
"""Seconds for which workers are met at their end at most that wait for more before they go."""
BUSY = 6.0
"""Seconds for which they are met at most: far more than it takes where the machine is not busy."""
TURN = 0.003
"""Seconds that a turn takes."""
SHORTLY = 0.012
"""Seconds from a start to a kill, at most."""
STARTERS = 3
LULL = 0.05
"""Seconds in which a worker runs what there is and ends, so that all who start meet without one."""
STARTED = 30.0
"""Seconds within which a program that starts a worker has ended."""


def orders(workers: Workers, logs: Path, slots: int = 0) -> Orders:
    """What other processes must know to use the queue, so many of which meet."""
    subject, lease = workers.subject, timedelta(minutes=1)
    meeting = logs / "meeting" if slots else None
    return Orders(
        subject.target, subject.promises, subject.traits, workers.place, logs, lease, meeting=meeting, slots=slots
    )


@pytest.mark.clause("WORKER-1")
def test_everything_that_was_pushed_is_run(q: Client, workers: Workers) -> None:
    works = [task(number) for number in range(MANY)]
    for work in works[: MANY // 2]:
        q.push(work)
    workers.start()
    for work in works[MANY // 2 :]:
        q.push(work)
    workers.start()

    workers.run(*works)


@pytest.mark.clause("WORKER-1")
def test_a_falsy_work_is_run_like_any_other(q: Client, workers: Workers) -> None:
    falsy: list[Any] = [0, "", False, None, [], {}]
    for work in falsy:
        q.push(work)
        workers.start()

        workers.run(work)


@pytest.mark.clause("WORKER-2")
@pytest.mark.judges("WORKER-5")
def test_nothing_is_stranded_by_a_worker_that_is_about_to_exit(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    fresh = count()
    roots = own_roots(q)
    way = measure(q, workers, lambda **does: task(next(fresh), **does), roots, profile.lingering)
    allowed, asked = workers.subject.traits.workers, 0
    end = time.monotonic() + (SLOWLY if way.lingers else BUSY)
    for point in way.points(random, profile.endings):
        if time.monotonic() > end:
            break
        number = next(fresh)
        last = task(number, does="freeze", after=list(point), of=roots, at=f"point {number}")
        after = task(next(fresh))
        q.push(last)
        workers.start()
        with freeze_worker(workers, workers.wait_begun(last), way):
            q.push(after)
            workers.start()

        workers.run(after, last)
        if allowed is not None and asked < OFTEN and len(workers.running()) > allowed:
            asked += 1
            keep_busy(q, workers, allowed, number)
            expect_at_most(workers, allowed, "WORKER-5")


def keep_busy(q: Client, workers: Workers, allowed: int, number: int) -> None:
    """More tasks than may be run at once were there and waited for a while, so that a worker too many took one."""
    gate = f"gate {number}"
    works = [task(f"{number} {each}", does="wait", at=gate) for each in range(allowed + 1)]
    for work in works:
        q.push(work)
    workers.start()
    workers.until(lambda: all(workers.of(work) for work in works), MOMENT)
    workers.handler.open(gate)
    workers.run(*works)


@pytest.mark.clause("WORKER-3")
def test_one_failing_task_stops_no_other(q: Client, workers: Workers) -> None:
    """Nor does one whose error says nothing, or much, or cannot be written or sent as it is."""
    others = [task(number) for number, _ in enumerate([None, *ERRORS])]
    for other, how in zip(others, [None, *ERRORS], strict=True):
        q.push(task(f"before {other['n']}", does="fail", **({} if how is None else {"as": how})))
        q.push(other)
    workers.start()

    workers.run(*others)


@pytest.mark.clause("WORKER-4")
def test_a_queue_runs_again_after_its_worker_was_killed_with_a_task_in_hand(q: Client, workers: Workers) -> None:
    """What was pushed while it lived may be in hand, too, where several run at once, or a worker takes some ahead."""
    q.push(waiting(0))
    workers.start()
    workers.wait_begun(waiting(0))
    q.push(task(1))
    workers.kill()
    q.push(task(2))
    workers.handler.open("gate")
    workers.start()

    run_after_a_kill(workers, task(2))
    comes_back(workers, waiting(0), task(1))


@pytest.mark.clause("WORKER-4")
def test_a_queue_runs_again_wherever_its_worker_was_killed(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    for number in range(profile.kills):
        q.push(task(number, does="take", seconds=TURN))
        workers.start()
        time.sleep(random.uniform(0, SHORTLY))
        workers.kill()
        q.push(task(-number - 1))
        workers.start()

        run_after_a_kill(workers, task(-number - 1))
    comes_back(workers, *(task(number, does="take", seconds=TURN) for number in range(profile.kills)))


@pytest.mark.clause("WORKER-5")
def test_no_start_makes_a_worker_too_many(q: Client, workers: Workers) -> None:
    allowed = count_allowed(workers)
    for number in range(allowed):
        q.push(waiting(number))
    workers.start()
    workers.wait_begun(waiting(0))
    workers.until(lambda: len(workers.turns()) >= allowed, MOMENT)
    for number in range(allowed, allowed + 4):
        q.push(waiting(number))
        workers.start()

    workers.until(lambda: len(workers.turns()) > allowed, MOMENT)
    expect_at_most(workers, allowed)
    workers.handler.open("gate")
    workers.run(*(waiting(number) for number in range(allowed + 4)))
    expect_at_most(workers, allowed)


@pytest.mark.clause("WORKER-5")
def test_many_that_start_at_once_make_no_worker_too_many(
    workers: Workers, tmp_path: Path, profile: Profile, agents: Agents
) -> None:
    allowed = count_allowed(workers)
    logs = tmp_path / "logs"
    logs.mkdir()
    works = [task(number, does="take", seconds=TURN) for number in range(STARTERS * profile.starts)]
    workers.note(f"{STARTERS} processes at once, {profile.starts} times each: q.push(…); start(place, handler)")
    crew = [agents.starting(orders(workers, logs, STARTERS)) for _ in range(STARTERS)]
    try:
        for slot, agent in enumerate(crew):
            steps: list[Step] = [["open"]]
            for number, work in enumerate(works[slot::STARTERS]):
                steps += [
                    ["nap", LULL * (number % 2)],
                    ["meet", number],
                    ["push", work],
                    ["start", workers.handler.folder],
                ]
            agent.do([{"client": f"starter {slot}", "slot": slot, "steps": steps}])
        for agent in crew:
            agent.talk.limit(workers.bound + STARTED)
            try:
                while agent.busy and agent.heard():
                    pass
            except TimeoutError:
                raise Broken("a push or start() did not return", clause="WORKER-2") from None
        workers.run(*works)
        expect_at_most(workers, allowed)
        workers.kill()
    finally:
        for agent in crew:
            agents.kill(agent)


def count_allowed(workers: Workers) -> int:
    """How many tasks may be run at once. Raises NotPromised where each start asks for more."""
    allowed = workers.subject.traits.workers
    if allowed is None:
        raise NotPromised("each start adds workers")
    return allowed


@pytest.mark.clause("WORKER-6")
def test_sigterm_finishes_or_gives_back_the_task_in_hand(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    for number in range(profile.terms):
        work = task(number, does="wait", at=f"gate {number}")
        q.push(work)
        workers.start()
        workers.wait_begun(work)
        workers.signal(signal.SIGTERM)
        time.sleep(random.uniform(0, SHORTLY))
        workers.handler.open(f"gate {number}")
        if not workers.until(lambda: not workers.running()):
            raise Broken(f"told to stop, and free to end, the processes {workers.running()} went on")
        if workers.undone([work]):
            require_given_back(workers, work)


@pytest.mark.clause("WORKER-7")
def test_the_clean_up_code_of_who_starts_a_worker_runs_once_and_there(workers: Workers, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    folder.mkdir()
    starter = Starter(orders(workers, folder), workers.handler, task(0), folder)
    workers.note("in a program of its own: q.push(…); start(place, handler); and it ends")
    pid = run_program(starter)
    workers.know(map(int, (folder / "pids").read_text().split()))
    workers.run(task(0))
    workers.until(lambda: not workers.running(), SOON)
    workers.signal(signal.SIGTERM)
    workers.until(lambda: not workers.running(), SOON)
    workers.kill()

    lines = [
        *(folder / "traces").read_text().splitlines(),
        *(f"{pid} {line}" for name in ("stdout", "file") for line in (folder / name).read_text().splitlines()),
    ]
    for what in ("a finally block", "an atexit handler", "buffered in standard output", "buffered in a file"):
        ran = [int(line.split()[0]) for line in lines if line.endswith(what)]
        if ran != [pid]:
            where = ", ".join("the starter" if each == pid else f"process {each}" for each in ran) or "no process"
            raise Broken(f"of the program that called start(), {what} came {len(ran)} times, in {where}")


def run_program(starter: Starter) -> int:
    """The program has ended well; the process that it was."""
    with open(starter.folder / "stdout", "wb") as out, open(starter.folder / "stderr", "wb") as errors:
        program = subprocess.Popen(
            [sys.executable, "-P", "-m", "lowq_conformance.cases.starter"],
            env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=errors,
        )
        try:
            program.communicate(pickle.dumps(starter), timeout=STARTED)
        except subprocess.TimeoutExpired:
            raise Broken(f"the program that called start() did not end within {STARTED:g} seconds") from None
        finally:
            program.kill()
            program.wait()
    if program.returncode:
        said = (starter.folder / "stderr").read_text(errors="replace").strip().splitlines()[-1:]
        raise Broken(f"the program that called start() ended with {program.returncode}: {''.join(said)}")
    return program.pid
