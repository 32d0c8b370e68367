"""WORKER, workers that end at the wrong moment: killed or told to stop on their way from one task to the next, or
while what failed waits for its retry.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lowq_conformance.cases.timing import fall_due, later
from lowq_conformance.cases.worker_fixtures import (
    AT_ONCE,
    MOMENT,
    comes_back,
    fresh,
    keep_busy,
    lease_over,
    own_roots,
    q,
    reaper,
    require_given_back,
    run_after_a_kill,
    task,
    tried_in_time,
    waiting,
    workers,
)
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.subject.births import standing_at_birth
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.turn_log import Turn
from lowq_conformance.subject.workers import Workers

__all__ = ["q", "reaper", "workers"]

pytestmark = pytest.mark.waits

TOGETHER = 24
"""Tasks that fall due together: who moves them one by one is met between two steps more often than elsewhere."""
REALLY = 5
"""How often something falls due at most where that is really waited for."""

SETTLES = 0.1
"""Seconds in which a worker sees to what failed."""

STEPS_OF_A_RETRY = 2
"""At how many steps a worker dies that sees to what failed."""

Push = Callable[[], list[Any]]
"""Has more wait, and tells what."""


@pytest.mark.clause("WORKER-14")
def test_tasks_with_times_are_run_though_workers_were_killed_as_they_fell_due(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """While it waits, and where others fall due while a worker runs something else, on its way to what is next."""
    early, due = task("waits for its time"), later(q)
    q.push(early, not_before=due)
    q.push(waiting(0))
    workers.start()
    workers.wait_begun(waiting(0))
    workers.kill()
    workers.handler.open("gate")
    fall_due(q, due)
    workers.start()
    run_after_a_kill(workers, early)

    def fall_due_meanwhile() -> list[Any]:
        due, works = later(q), [task(next(fresh)) for _ in range(TOGETHER)]
        for work in works:
            q.push(work, not_before=due)
        fall_due(q, due)
        return works

    rounds = profile.kills if workers.subject.can_pass_time else min(profile.kills, REALLY)
    killed_on_the_way(q, workers, random, rounds, fall_due_meanwhile)


@pytest.mark.clause("WORKER-4")
def test_a_queue_runs_again_though_its_worker_was_killed_on_the_way_to_its_next_task(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """At lines and steps between one task and the next, which waits: where one is acked, and the other claimed."""
    killed_on_the_way(q, workers, random, profile.kills, partial(push_one, q))
    q.push(task("last"))
    workers.start()
    run_after_a_kill(workers, task("last"))


@pytest.mark.clause("WORKER-6")
def test_sigterm_on_the_way_to_the_next_task_loses_nothing(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """What a worker has taken that hears of it only then is run, or given back."""
    if "crash" not in workers.subject.promises:
        raise NotPromised("needs crash")
    if not profile.stops:
        return
    lines, _ = way_to_the_next(q, workers, partial(push_one, q))
    for after in spread_over_lines(random, lines, profile.stops):
        with standing_on_the_way(q, workers, "own", after, partial(push_one, q)) as way:
            workers.signal(signal.SIGTERM)
            workers.reaper.thaw(way.pid, 0)
        if not workers.until(lambda: not workers.running()):
            raise Broken(f"told to stop, and free to end, the processes {workers.running()} went on")
        for work in way.works:
            require_given_back(workers, work)


@pytest.mark.clause("WORKER-6")
def test_sigterm_to_a_worker_that_is_starting_loses_nothing(
    q: Client, workers: Workers, random: Random, profile: Profile, tmp_path: Path
) -> None:
    """Its main thread stands still at a line beside others, one of which has begun a task, or soon would have."""
    if not profile.stops:
        return
    lines = lines_of_a_start(q, workers, tmp_path / "counted")
    for number, at in enumerate(spread(random, lines, min(lines, profile.stops))):
        folder, work = tmp_path / f"birth {number}", task(f"as it starts {number}", does="wait", at=f"gate {number}")
        stands = folder / "stands"
        folder.mkdir()
        del workers.subject.journal.calls[1:]  # what was before is over
        q.push(work)
        with standing_at_birth(folder, at, own_roots(q)):
            workers.start()
        workers.until(stands.exists, MOMENT)
        workers.until(partial(workers.of, work), MOMENT)
        if stands.exists():
            workers.note(f"the worker's main thread stands at {stands.read_text()}, beside another one")
        workers.signal(signal.SIGTERM)
        (folder / "go").touch()
        workers.handler.open(f"gate {number}")
        if not workers.until(lambda: not workers.running()):
            raise Broken(f"told to stop, and free to end, the processes {workers.running()} went on")
        if workers.undone([work]):
            require_given_back(workers, work)
            workers.signal(signal.SIGTERM)
            workers.until(lambda: not workers.running())


def lines_of_a_start(q: Client, workers: Workers, folder: Path) -> int:
    """How many lines of the queue's own the main thread of a worker runs beside others, until a task is done."""
    folder.mkdir()
    work = task("is counted", does="take", seconds=MOMENT)
    q.push(work)
    with standing_at_birth(folder, 0, own_roots(q)):
        workers.start()
    workers.run(work)
    come = folder / "come"
    lines = come.stat().st_size if come.exists() else 0
    workers.signal(signal.SIGTERM)
    workers.until(lambda: not workers.running())
    return lines


@pytest.mark.clause("WORKER-10")
def test_what_failed_is_tried_again_though_its_worker_was_killed_meanwhile(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """A moment after it failed, and while its worker has something else in hand: a retry is kept, not remembered."""
    attempts, retry_after = workers.subject.traits.attempts, workers.subject.traits.retry_after
    if attempts is None or attempts < 2 or "crash" not in workers.subject.promises:
        raise NotPromised("attempts: more than one, and that a kill loses nothing, are not stated")
    for busy in [False, True] if profile.stops else [random.random() < 0.5]:
        failing = fail_and_kill(q, workers) if not busy else fail_and_kill_while_busy(q, workers)
        turns = workers.of(failing)
        over = (time.monotonic_ns() - (turns[0].end or 0)) / 1e9
        waits = retry_after is not None and over < retry_after.total_seconds()
        if attempts - len(turns) >= (1 if waits else 2):  # a claim may have been cut off, which counts
            require_tried_again(q, workers, failing, sum(turn.end is not None for turn in turns))


@pytest.mark.clause("WORKER-10")
def test_what_failed_is_tried_again_though_its_worker_was_killed_as_it_saw_to_that(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """At lines and steps between a turn that fails and the next task, which waits."""
    attempts = workers.subject.traits.attempts
    if attempts is None or attempts < 3 or "crash" not in workers.subject.promises:
        raise NotPromised("attempts: more than two, and that a kill loses nothing, are not stated")
    if not profile.stops:
        return
    lines, steps = way_to_the_next(q, workers, partial(push_one, q), fails=True)
    points = [("step", each) for each in spread(random, steps, min(steps, STEPS_OF_A_RETRY))]
    points += [("own", each) for each in spread_over_lines(random, lines, profile.stops)]
    for kind, after in points:
        with standing_on_the_way(q, workers, kind, after, partial(push_one, q), fails=True) as way:
            workers.kill()
        comes_back(workers, *way.works)
        turns = workers.of(way.work)
        if attempts - len(turns) >= 2:  # a claim may have been cut off, which counts
            require_tried_again(q, workers, way.work, sum(turn.end is not None for turn in turns))


def fail_and_kill(q: Client, workers: Workers) -> Any:
    """A work that failed, whose worker was killed when it had seen to that."""
    failing = task(next(fresh), does="fail")
    q.push(failing)
    workers.start()
    wait_failed(workers, failing)
    workers.until(lambda: len(workers.of(failing)) > 1, SETTLES)
    workers.kill()
    return failing


def fail_and_kill_while_busy(q: Client, workers: Workers) -> Any:
    """A work that failed, whose worker was killed when it had gone on to something else, which waited meanwhile."""
    first, gate = f"fails {next(fresh)}", f"behind {next(fresh)}"
    failing, behind = task(first, does="fail", first=first), task(gate, does="wait", at=gate)
    with others_busy(q, workers) as wait_begun:
        q.push(failing)
        workers.start()
        wait_begun(failing)
        q.push(behind)
        workers.handler.open(first)
        wait_failed(workers, failing)
        workers.start()
        wait_begun(behind)
        workers.kill()
    workers.handler.open(gate)
    return failing


def wait_failed(workers: Workers, failing: Any) -> None:
    """The first turn at the work is over. Raises Broken where it is not."""
    if not workers.until(lambda: any(turn.end is not None for turn in workers.of(failing))):
        raise Broken(f"{format_value(failing)} was not tried within {workers.bound:g} seconds")


def require_tried_again(q: Client, workers: Workers, work: Any, times: int) -> None:
    """The work, which was tried so often and whose worker was killed then, is tried once more."""
    lease_over(workers)
    workers.start()
    if tried_in_time(workers, work, times + 1, briefly=False):
        return
    seen = push_one(q)
    workers.start()
    workers.run(*seen)  # others are run
    if not tried_in_time(workers, work, times + 1, briefly=True):
        raise Broken(
            f"{format_value(work)} failed, its worker was killed, and it was not tried again, where "
            f"{workers.subject.traits.attempts} attempts are stated"
        )


def push_one(q: Client) -> list[Any]:
    """One more task waits."""
    work = task(next(fresh))
    q.push(work)
    return [work]


def killed_on_the_way(q: Client, workers: Workers, random: Random, many: int, push: Push) -> None:
    """So many workers were killed at lines or steps that come after a turn, in which `push` had more wait.

    Three in four die at steps, where Python tells of them: there are few, and nothing that others see changes between
    two of them. All are spread over the way, so that a queue that is wrong for two steps in twelve is found whatever
    the seed. After each kill what was in hand is run, before another one is killed: who gives up a task whose workers
    die again and again is right.
    """
    lines, steps = way_to_the_next(q, workers, push)
    at_steps = min(steps, many - many // 4)
    points = [("step", each) for each in spread(random, steps, at_steps)]
    points += [("own", each) for each in spread_over_lines(random, lines, many - at_steps)]
    for kind, after in points:
        with standing_on_the_way(q, workers, kind, after, push) as way:
            workers.kill()
        comes_back(workers, *way.works)


@dataclass(frozen=True, slots=True)
class Way:
    """Where a worker stands still: its process, the work of the turn before, and what waits."""

    pid: int
    work: Any
    works: list[Any]


@contextmanager
def standing_on_the_way(
    q: Client, workers: Workers, kind: str, after: int, push: Push, *, fails: bool = False
) -> Iterator[Way]:
    """In the block, a worker stands still at that line or step after its turn, in which `push` had more wait, or is
    past it. Other workers have something in hand until the block ends."""
    at, first = f"ended {next(fresh)}", f"begun {next(fresh)}"
    with others_busy(q, workers) as wait_begun:
        freezing = task(at, does="freeze", after=[kind, after], of=own_roots(q), at=at, first=first)
        freezing |= {"fails": True} if fails else {}
        q.push(freezing)
        workers.start()
        turn = wait_begun(freezing)
        works = push()
        workers.handler.open(first)
        met = workers.until(partial(is_met, workers, freezing), MOMENT)
        workers.note(f"the worker {'stands at' if met else 'is past'} {kind} {after} after its turn")
        yield Way(turn.pid, freezing, works)


@contextmanager
def others_busy(q: Client, workers: Workers) -> Iterator[Callable[[Any], Turn]]:
    """In the block, each worker but one has a task in hand, where so many run at once, so that the one that is looked
    at goes on to what is pushed there.

    What comes of it waits for the turn of that one at a work, and lets the others go where fewer run than are stated.
    """
    gate, others = f"busy {next(fresh)}", (workers.subject.traits.workers or 1) - 1
    keep_busy(q, workers, gate, others)

    def wait_begun(work: Any) -> Turn:
        if not workers.until(lambda: workers.of(work), AT_ONCE):
            workers.handler.open(gate)
        return workers.wait_begun(work)

    try:
        yield wait_begun
    finally:
        workers.handler.open(gate)


def spread(random: Random, most: int, many: int) -> list[int]:
    """So many of 1 to `most`, as far apart as can be: any `most / many` in a row, rounded up, have one of them."""
    offset = random.random()
    return [1 + int((number + offset) * most / many) for number in range(many)]


def spread_over_lines(random: Random, lines: int, many: int) -> list[int]:
    """The same of lines; any three of them that follow one another are at different ones of a loop that has three."""
    return [max(1, each - (each - number) % 3) for number, each in enumerate(spread(random, max(1, lines), many))]


def is_met(workers: Workers, freezing: Any) -> bool:
    """Whether the worker stands still after its turn, has ended, or has gone past that point."""
    return workers.handler.is_open(freezing["at"]) or not workers.running() or busy_elsewhere(workers, freezing)


def busy_elsewhere(workers: Workers, work: Any) -> bool:
    """Whether the process that ran the work has gone on to another one, and ended that."""
    turns = workers.of(work)
    if not turns or turns[0].end is None:
        return False
    later_ones: list[Turn] = [turn for turn in workers.turns() if turn.begin > turns[0].begin]
    return any(turn.end is not None for turn in later_ones)


def way_to_the_next(q: Client, workers: Workers, push: Push, *, fails: bool = False) -> tuple[int, int]:
    """How many lines of the queue's own that tell, and steps, there are between a turn and the next one of the same
    worker, where Python tells, and `push` had more wait."""
    name, first = f"the next {next(fresh)}", f"counted {next(fresh)}"
    counting = task(name, does="count", at=name, of=own_roots(q), first=first)
    counting |= {"fails": True} if fails else {}
    with others_busy(q, workers) as wait_begun:
        q.push(counting)
        workers.start()
        wait_begun(counting)
        works = push()
        workers.handler.open(first)
        workers.until(lambda: any(workers.of(work) for work in works))
        lines, steps = workers.handler.load_counts(name)
    workers.start()
    workers.run(*([] if fails else [counting]), *works)
    return min(lines, 3000), min(steps, 60)
