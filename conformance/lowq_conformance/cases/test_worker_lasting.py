"""WORKER, more: workers that last. What they do with long tasks, with failing ones, with times, and after a kill.

What a harness does not state (`attempts`, `retry_after`) is not asked. The queue's clock is moved no faster than time
really passes where a worker must be able to do something meanwhile, by whichever clock it does it.

Long: each clause of a worker that lasts has its own way to be put to the test.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any

import pytest

from lowq_conformance.cases.expect import claim
from lowq_conformance.cases.timing import fall_due, later
from lowq_conformance.cases.waiting import Lateness
from lowq_conformance.cases.worker_fixtures import (
    MOMENT,
    comes_back,
    expect_at_most,
    lease_over,
    lease_span,
    q,
    reaper,
    run_after_a_kill,
    task,
    waiting,
    workers,
)
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.turns import Turn
from lowq_conformance.subject.workers import Workers, describe_turns, most_at_once

__all__ = ["q", "reaper", "workers"]

pytestmark = pytest.mark.waits

LONG = 1.7
"""Leases that a long task takes: so that one that was renewed once is over, too."""
BEHIND = 2
"""Tasks that wait behind a long one, where a worker may have taken them too early."""
STEPS = 12
"""Steps in which a lease passes."""
OFTEN = 3
"""How often something is looked at that the machine may have spoilt."""
STANDS = 3.0
"""Seconds for which a worker stands still at most."""
LONGEST_RETRY = timedelta(days=1)
PATIENT = 5.0
"""Seconds for which a retry is really waited for at most."""
ODD = timedelta(milliseconds=637)
"""A part of a second."""
LAST = timedelta(milliseconds=300)
"""What is left of the time until a retry when it is looked for."""
MARGIN = timedelta(milliseconds=20)
"""By how much clocks of one machine may differ."""


@pytest.mark.waits(long=True)
@pytest.mark.clause("WORKER-8")
def test_a_task_that_takes_longer_than_its_lease_is_run_once(q: Client, workers: Workers) -> None:
    """A worker renews, or its leases are longer than the shortest; one that was not served in time is no witness.

    What waits behind it is nobody's, or is kept by who has it in hand: it is run once, too, or goes to who claims it.
    """
    for number in range(OFTEN):
        work, after = task(number, does="wait", at=f"long {number}"), task(f"after {number}")
        behind = [task(f"behind {number} {each}") for each in range(BEHIND)]
        for each in (work, *behind):
            q.push(each)
        workers.start()
        workers.wait_begun(work)
        late = Lateness()
        try:
            spend(workers, LONG)
            stolen = take_all(q, len(behind) + 1)
        finally:
            late.close()
        if late.worst > lease_span(workers).total_seconds() / 4:
            workers.handler.open(f"long {number}")
            continue
        if work_text(work) in stolen:
            raise Broken(f"{format_value(work)} was handed out, while its living worker had it in hand")
        workers.handler.open(f"long {number}")
        q.push(after)
        workers.start()
        workers.run(work, after)
        lease_over(workers)
        workers.start()
        workers.until(partial(is_run_again, workers, work), MOMENT)
        if len(turns := workers.of(work)) > 1:
            raise Broken(
                f"{format_value(work)} was run {len(turns)} times by workers that live:\n{describe_turns(turns)}"
            )
        for each in behind:
            turns, taken = workers.of(each), work_text(each) in stolen
            if len(turns) + taken > 1:
                said = (
                    f"run {len(turns)} times by workers that live"
                    if not taken
                    else "acked by another client, and run"
                )
                raise Broken(f"{format_value(each)}, behind a long task, was {said}:\n{describe_turns(turns)}")
        return
    raise NotObserved("the machine was too slow to see it")


def take_all(q: Client, most: int) -> set[str]:
    """The works, as texts, that could be claimed, and were acked, at most so many; none where nobody claims."""
    taken = set[str]()
    while q.has("claim") and len(taken) < most and (held := q.claim()) is not None:
        q.ack(held)
        taken.add(work_text(held.work))
    return taken


def is_run_again(workers: Workers, work: Any) -> bool:
    """Whether there is more than one turn at the work."""
    return len(workers.of(work)) > 1


def spend(workers: Workers, leases: float) -> None:
    """So many leases pass on the queue's clock, and as much time really does."""
    step = lease_span(workers) / STEPS
    for _ in range(int(leases * STEPS)):
        if workers.subject.can_pass_time:
            time.sleep(step.total_seconds())
        workers.subject.pass_time(workers.place, step)


@pytest.mark.clause("WORKER-9")
def test_a_worker_that_stood_still_past_its_lease_settles_nothing(q: Client, workers: Workers) -> None:
    if not q.has("claim"):
        raise NotPromised("nobody else claims")
    if workers.subject.traits.one_at_a_time:
        raise NotPromised("it hands out one task at a time")
    for number in range(OFTEN):
        work = task(number, does="wait", at=f"stands {number}")
        held = take_from_who_stands_still(q, workers, work)
        workers.handler.open(f"stands {number}")
        if held is not None:
            break
        workers.run(work)  # it stood still with a lock in hand, or its leases are longer
    else:
        raise NotPromised("the leases of its worker are longer than the shortest that can be asked for")
    workers.until(lambda: workers.of(work)[0].end is not None, MOMENT)
    q.push(task("after"))
    workers.start()
    workers.run(task("after"))  # what it had in hand is behind it by now
    if (again := claim(q)) is not None:
        raise Broken(
            f"{format_value(again.work)} is handed out, which the worker took away from the one that has it in hand"
        )
    try:
        q.ack(held)
    except Refused as refused:
        raise Broken(f"the worker settled what had gone to somebody else: {refused}") from refused


def take_from_who_stands_still(q: Client, workers: Workers, work: Any) -> Held | None:
    """What a client claims while the worker that has the work in hand stands still and its lease is over."""
    q.push(work)
    workers.start()
    turn = workers.wait_begun(work)
    workers.note(f"os.kill({turn.pid}, SIGSTOP)")
    workers.reaper.thaw(turn.pid, STANDS)
    os.kill(turn.pid, signal.SIGSTOP)
    try:
        lease_over(workers)
        return claim(q, lease_for=MINUTE)
    finally:
        workers.note(f"os.kill({turn.pid}, SIGCONT)")
        workers.reaper.thaw(turn.pid, 0)
        with suppress(ProcessLookupError):
            os.kill(turn.pid, signal.SIGCONT)


@pytest.mark.clause("WORKER-10")
def test_a_task_that_always_fails_is_tried_as_often_as_stated_and_blocks_nobody(q: Client, workers: Workers) -> None:
    attempts = workers.subject.traits.attempts
    if attempts is None:
        raise NotPromised("attempts: how often a task is tried is not stated")
    failing = task(0, does="fail")
    q.push(failing)
    workers.start()
    workers.wait_begun(failing)
    q.push(task(1))
    workers.start()
    workers.run(task(1))
    for number in range(1, attempts + 1):
        if not tried(q, workers, failing, number):
            raise Broken(f"{format_value(failing)} was tried {number - 1} times, where {attempts} are stated")
    if tried(q, workers, failing, attempts + 1, briefly=True):
        raise Broken(f"{format_value(failing)} was tried more than {attempts} times, as is stated")
    q.push(task(2))
    workers.start()
    workers.run(task(2))


def tried(q: Client, workers: Workers, work: Any, number: int, *, briefly: bool = False) -> bool:
    """Whether the work has been tried so often, and its worker has seen to it.

    The queue's clock is moved on where it has not; where time really passes, retries are waited for that are short.
    """
    if not tried_in_time(workers, work, number, briefly=briefly):
        return False
    seen = task(next(fresh))
    q.push(seen)
    workers.start()
    workers.run(seen)
    return True


def tried_in_time(workers: Workers, work: Any, number: int, *, briefly: bool) -> bool:
    """Whether so many turns at the work came to their end."""
    subject = workers.subject

    def over() -> bool:
        return len([turn for turn in workers.of(work) if turn.end is not None]) >= number

    if workers.until(over, workers.bound if number == 1 else 0):
        return True
    if subject.can_pass_time:
        for length in (timedelta(hours=1), LONGEST_RETRY):
            subject.pass_time(workers.place, length)
            workers.start()
            if workers.until(over, MOMENT if briefly else 2 * MOMENT):
                return True
        return workers.until(over, 0 if briefly else workers.bound)
    after = subject.traits.retry_after
    if after is None or after.total_seconds() > PATIENT:
        raise NotPromised("retry_after: how long a retry takes is not stated, or more than can be waited for")
    end = time.monotonic() + 2 * after.total_seconds() + (0 if briefly else workers.bound)
    while time.monotonic() < end:
        workers.start()
        if workers.until(over, MOMENT):
            return True
    return over()


@pytest.mark.clause("WORKER-11")
def test_a_retry_comes_no_earlier_than_stated(q: Client, workers: Workers) -> None:
    """Most of it passes on the queue's clock, and what really passes counts, too, whichever clock it goes by; the end
    of it really passes, so that a retry is seen which comes a part of a second too early."""
    subject, after = workers.subject, workers.subject.traits.retry_after
    if after is None:
        raise NotPromised("retry_after: how long a retry takes is not stated")
    failing = task(0, does="fail")
    if subject.can_pass_time:
        subject.pass_time(workers.place, ODD)  # a clock that stands still may stand at a whole second
    q.push(failing)
    workers.start()
    tried(q, workers, failing, 1)
    passed = timedelta(0)
    if subject.can_pass_time:
        passed = max(after / 2, after - LAST)
        subject.pass_time(workers.place, passed)
    left = (after - passed).total_seconds()
    workers.start()
    if not workers.until(lambda: len(workers.of(failing)) > 1, MOMENT + (left if left <= PATIENT else 0)):
        return
    first, second, *_ = workers.of(failing)
    really = timedelta(seconds=(second.begin - (first.end or first.begin)) / 1e9)
    if really + passed < after - subject.resolution - MARGIN:
        raise Broken(
            f"a task that failed was tried again after {(really + passed).total_seconds():.3f} s, where "
            f"{after.total_seconds():g} s are stated"
        )


@pytest.mark.clause("WORKER-12")
def test_never_more_tasks_are_run_at_once_than_workers(q: Client, workers: Workers) -> None:
    allowed = workers.subject.traits.workers
    if allowed is None:
        raise NotPromised("each start adds workers")
    works = [waiting(number) for number in range(allowed + 3)]
    for work in works:
        q.push(work)
    workers.start()
    workers.until(lambda: len(workers.turns()) > allowed, MOMENT)
    expect_at_most(workers, allowed)
    workers.handler.open("gate")
    workers.run(*works)
    for number in range(allowed + 3):
        q.push(task(-1 - number, does="take", seconds=0.005))
    workers.start()
    workers.run(*(task(-1 - number, does="take", seconds=0.005) for number in range(allowed + 3)))
    most = most_at_once(workers.turns())
    if len(most) > allowed:
        raise Broken(f"{len(most)} turns at once, where {allowed} are asked for:\n{describe_turns(most)}")


@pytest.mark.clause("WORKER-14")
def test_a_task_with_a_time_runs_at_its_time(q: Client, workers: Workers) -> None:
    subject, scheduled = workers.subject, task(0)
    due = later(q)
    pushed = time.monotonic_ns()
    q.push(scheduled, not_before=due)
    q.push(task(1))
    workers.start()
    workers.run(task(1))
    if subject.can_pass_time:
        subject.pass_time(workers.place, (due - subject.now(workers.place)) / 2)
        workers.start()
        workers.until(lambda: workers.of(scheduled), MOMENT)
    early = workers.of(scheduled)
    least = 0 if subject.can_pass_time and subject.knows_now else pushed + sooner(subject.delay - subject.resolution)
    if early and (subject.knows_now or early[0].begin < least):
        raise Broken(f"{format_value(scheduled)} was run before its time")
    fall_due(q, due)
    workers.start()
    workers.run(scheduled)
    first = workers.of(scheduled)[0]
    if not subject.can_pass_time and first.begin < least:
        raise Broken(f"{format_value(scheduled)} was run {(least - first.begin) / 1e6:.0f} ms before its time")


def sooner(length: timedelta) -> int:
    """Nanoseconds that must have passed by then, whichever clock is looked at."""
    return (length - MARGIN) // timedelta(microseconds=1) * 1000


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

    def fall_due_meanwhile(number: int) -> Any:
        due = later(q)
        q.push(task(number), not_before=due)
        fall_due(q, due)
        return task(number)

    rounds = profile.kills if workers.subject.can_pass_time else min(profile.kills, 3)
    killed_on_the_way(q, workers, random, rounds, fall_due_meanwhile)


@pytest.mark.clause("WORKER-4")
def test_a_queue_runs_again_though_its_worker_was_killed_on_the_way_to_its_next_task(
    q: Client, workers: Workers, random: Random, profile: Profile
) -> None:
    """At lines and steps between one task and the next, which waits: where one is acked, and the other claimed."""

    def push(number: int) -> Any:
        q.push(task(number))
        return task(number)

    killed_on_the_way(q, workers, random, profile.kills, push)
    q.push(task("last"))
    workers.start()
    run_after_a_kill(workers, task("last"))


fresh = count(1000)


def killed_on_the_way(q: Client, workers: Workers, random: Random, many: int, push: Callable[[int], Any]) -> None:
    """So many workers were killed at lines or steps that come after a turn, in which `push` had one more wait.

    Three in four die at steps, where Python tells of them: there are few, and nothing that others see changes between
    two of them. All are spread over the way, so that a queue that is wrong for two steps in twelve is found whatever
    the seed. After each kill what was in hand is run, before another one is killed: who gives up a task whose workers
    die again and again is right.
    """
    lines, steps = way_to_the_next(q, workers)
    at_steps = min(steps, many - many // 4)
    points = [("step", each) for each in spread(random, steps, at_steps)]
    points += [("line", each) for each in spread(random, max(1, lines), many - at_steps)]
    for kind, after in points:
        at, first = f"killed {next(fresh)}", f"begun {next(fresh)}"
        freezing = task(at, does="freeze", after=[kind, after], at=at, first=first)
        q.push(freezing)
        workers.start()
        workers.wait_begun(freezing)
        work = push(next(fresh))
        workers.handler.open(first)
        met = workers.until(partial(is_met, workers, freezing), MOMENT)
        workers.note(f"the worker {'stands at' if met else 'is past'} {kind} {after} after its turn")
        workers.kill()
        comes_back(workers, work)


def spread(random: Random, most: int, many: int) -> list[int]:
    """So many of 1 to `most`, as far apart as can be: any `most / many` in a row, rounded up, have one of them."""
    offset = random.random()
    return [1 + int((number + offset) * most / many) for number in range(many)]


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


def way_to_the_next(q: Client, workers: Workers) -> tuple[int, int]:
    """How many lines and steps there are between a turn and the next one of the same worker, where Python tells."""
    counting, following = (
        task(next(fresh), does="count", at="the next"),
        task(next(fresh), does="wait", at="the next"),
    )
    q.push(counting)
    q.push(following)
    workers.start()
    workers.wait_begun(following)
    lines, steps = workers.handler.load_counts("the next")
    workers.handler.open("the next")
    workers.run(counting, following)
    return min(lines, 3000), min(steps, 60)


@pytest.mark.clause("WORKER-15")
def test_a_work_that_was_done_may_be_pushed_again_and_runs_again(q: Client, workers: Workers) -> None:
    work = task(0)
    for times in (1, 2, 3):
        push_until_run(q, workers, work, times)


@pytest.mark.clause("WORKER-15")
def test_so_it_is_when_a_worker_was_killed_that_had_it_in_hand(q: Client, workers: Workers) -> None:
    if "crash" not in workers.subject.promises:
        raise NotPromised("needs crash")
    q.push(waiting(0))
    workers.start()
    workers.wait_begun(waiting(0))
    workers.kill()
    workers.handler.open("gate")
    comes_back(workers, waiting(0))
    done = len([turn for turn in workers.of(waiting(0)) if turn.done])
    push_until_run(q, workers, waiting(0), done + 1)


def push_until_run(q: Client, workers: Workers, work: Any, times: int) -> None:
    """The work is pushed until it has been run so often: when a worker has acked, nobody tells."""
    end = time.monotonic() + workers.bound

    def done() -> bool:
        return len([turn for turn in workers.of(work) if turn.done]) >= times

    while not done():
        if time.monotonic() > end:
            raise Broken(
                f"{format_value(work)} was done {times - 1} times and pushed again, and was not run again within "
                f"{workers.bound:g} seconds"
            )
        q.push(work)
        workers.start()
        workers.until(done, MOMENT)
