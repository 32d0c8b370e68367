"""WORKER, more: workers that last. What they do with long tasks, with failing ones, with times, and after a kill.

What a harness does not state (`attempts`, `retry_after`) is not asked. The queue's clock is moved no faster than time
really passes where a worker must be able to do something meanwhile, by whichever clock it does it.

Long: each clause of a worker that lasts has its own way to be put to the test.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from lowq_conformance.cases.expect import claim, forgets
from lowq_conformance.cases.timing import fall_due, later
from lowq_conformance.cases.waiting import Lateness
from lowq_conformance.cases.worker_fixtures import (
    MOMENT,
    PATIENT,
    comes_back,
    expect_at_most,
    lease_over,
    lease_span,
    q,
    reaper,
    task,
    tried,
    waiting,
    workers,
)
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import format_value
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
    while q.has("claim") and len(taken) < most and (held := claim(q)) is not None:
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
    """What a client claims while the worker that has the work in hand stands still and its lease is over.

    All others stand still, too, so that none of them has it first.
    """
    q.push(work)
    workers.start()
    pid = workers.wait_begun(work).pid
    still = [pid, *(each for each in workers.running() if each != pid)]
    try:
        for each in still:
            workers.note(f"os.kill({each}, SIGSTOP)")
            workers.reaper.thaw(each, STANDS)
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
        lease_over(workers)
        return claim(q, lease_for=MINUTE)
    finally:
        for each in still:
            workers.note(f"os.kill({each}, SIGCONT)")
            workers.reaper.thaw(each, 0)
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


@pytest.mark.clause("WORKER-10")
def test_a_task_that_always_fails_is_tried_as_often_as_stated_and_blocks_nobody(q: Client, workers: Workers) -> None:
    attempts = workers.subject.traits.attempts
    if attempts is None:
        raise NotPromised("attempts: how often a task is tried is not stated")
    failing, silent = task(0, does="fail"), task("silent", does="fail", **{"as": "silent"})
    q.push(failing)
    q.push(silent)
    workers.start()
    workers.wait_begun(failing)
    q.push(task(1))
    workers.start()
    workers.run(task(1))
    for number in range(1, attempts + 1):
        for each in (failing, silent):
            if not tried(q, workers, each, number):
                raise Broken(f"{format_value(each)} was tried {number - 1} times, where {attempts} are stated")
    for each in (failing, silent):
        if tried(q, workers, each, attempts + 1, briefly=True):
            raise Broken(f"{format_value(each)} was tried more than {attempts} times, as is stated")
    q.push(task(2))
    workers.start()
    workers.run(task(2))
    if "dead_letter" in workers.subject.promises and q.push(failing).added is False:
        raise Broken(f"{format_value(failing)} was set aside after {attempts} attempts, and keeps an equal work away")


def is_tried_again(workers: Workers, work: Any, times: int) -> bool:
    """Whether there was a turn at the work after so many."""
    return len(workers.of(work)) > times


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
    for number in range(1, min(subject.traits.attempts or 3, 3)):
        if not tried(q, workers, failing, number):
            return
        passed = timedelta(0)
        if subject.can_pass_time:
            passed = max(after / 2, after - LAST)
            subject.pass_time(workers.place, passed)
        left = (after - passed).total_seconds()
        workers.start()
        again = partial(is_tried_again, workers, failing, number)
        if not workers.until(again, MOMENT + (left if left <= PATIENT else 0)):
            continue
        before, after_it = workers.of(failing)[number - 1 : number + 1]
        really = timedelta(seconds=(after_it.begin - (before.end or before.begin)) / 1e9)
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


@pytest.mark.clause("WORKER-15")
def test_a_work_that_was_done_may_be_pushed_again_and_runs_again(q: Client, workers: Workers) -> None:
    forgets(q, "done")
    work = task(0)
    for times in (1, 2, 3):
        push_until_run(q, workers, work, times)


@pytest.mark.clause("WORKER-15")
def test_so_it_is_when_a_worker_was_killed_that_had_it_in_hand(q: Client, workers: Workers) -> None:
    forgets(q, "done")
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
