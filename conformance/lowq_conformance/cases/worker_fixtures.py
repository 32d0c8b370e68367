"""What the tests of workers share: the fixtures, works that their handler obeys, and what is expected of turns."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lowq_conformance.cases.expect import require_return
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.subject.client import Client
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.subject import Subject
from lowq_conformance.subject.workers import Workers, describe_turns, most_at_once
from lowq_conformance.support.own_code import own_code

MOMENT = 0.25
"""Seconds in which a worker too many would take a task."""
AT_ONCE = 1.0
"""Seconds after which a worker that is there would have begun; fewer may run than are stated."""
LONGEST_RETRY = timedelta(days=1)
PATIENT = 5.0
"""Seconds for which a retry is really waited for at most."""

fresh = count(1000)
"""Numbers of works that nobody else has."""


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """What ends the workers when nobody else does."""
    made = Reaper()
    yield made
    made.close()


@pytest.fixture
def workers(subject: Subject, tmp_path: Path, reaper: Reaper) -> Iterator[Workers]:
    """The workers of the queue under test, none of which is left."""
    place, turns = tmp_path / "place", tmp_path / "turns"
    for each in (place, turns):
        each.mkdir()
    made = Workers(subject, place, turns, reaper)
    yield made
    made.kill()


@pytest.fixture
def q(subject: Subject, workers: Workers) -> Client:
    """A client of the queue that the workers run."""
    return subject.open(workers.place)


def task(number: Any, **does: Any) -> Any:
    """A work like no other."""
    return {"n": number, **does}


def waiting(number: int) -> Any:
    """A work whose handler waits at the gate."""
    return task(number, does="wait", at="gate")


def own_roots(q: Client) -> list[str]:
    """Where the queue's own code is."""
    return [str(root) for root in own_code(q.raw, q.subject.harness).roots]


def comes_back(workers: Workers, *works: Any) -> None:
    """What was in hand is run when its lease has run out, where a kill is to lose nothing."""
    if "crash" in workers.subject.promises and workers.undone(works):
        require_return(workers.subject)
        lease_over(workers)
        workers.start()
        workers.run(*works)


def run_after_a_kill(workers: Workers, *works: Any) -> None:
    """What was pushed after a worker was killed is run, by one that was started then. Raises Broken.

    A server may still carry out what the killed one had asked for, so that the task is held in its name for a lease.
    """
    if "server" in workers.subject.promises and not workers.until(lambda: not workers.undone(works)):
        lease_over(workers)
        workers.start()
    workers.run(*works)


def require_given_back(workers: Workers, work: Any) -> None:
    """The work, whose turn did not come to its end, is run again: at once, or when its lease has run out."""
    workers.start()
    if workers.until(lambda: not workers.undone([work]), MOMENT):
        return
    require_return(workers.subject)
    lease_over(workers)
    workers.start()
    if not workers.until(lambda: not workers.undone([work])):
        raise Broken(f"{format_value(work)} was neither finished nor given back: no other worker runs it")


def lease_over(workers: Workers) -> None:
    """The leases of workers that are no more have run out."""
    traits = workers.subject.traits
    workers.subject.pass_time(workers.place, lease_span(workers) + traits.grace + traits.resolution)


def lease_span(workers: Workers) -> timedelta:
    """How long a worker holds what it has in hand, as far as anybody outside knows."""
    return workers.subject.lease(workers.subject.traits.shortest_lease)


def expect_at_most(workers: Workers, allowed: int, clause: str | None = None) -> None:
    """At no instant were more turns under way than workers were asked for, as the clause says, or else the test's."""
    most = most_at_once(workers.turns())
    if len(most) > allowed:
        what = f"{len(most)} turns at once, where {allowed} are asked for"
        raise Broken(f"{what}:\n{describe_turns(most)}", clause=clause)


def tried(q: Client, workers: Workers, work: Any, number: int, *, briefly: bool = False) -> bool:
    """Whether the work has been tried so often, and its worker has seen to it.

    The queue's clock is moved on where it has not; where time really passes, retries are waited for that are short.
    """
    if not tried_in_time(workers, work, number, briefly=briefly):
        return False
    go_on(q, workers)
    return True


def go_on(q: Client, workers: Workers) -> None:
    """Each worker has seen to what it ran before: all have a further task in hand at once, as many as run at once.

    Else the clock would be moved while one has its task in hand still, whose lease would end.
    """
    gate, together = f"all {next(fresh)}", workers.subject.traits.workers or max(1, len(workers.running()))
    works = keep_busy(q, workers, gate, together)
    workers.handler.open(gate)
    workers.run(*works)


def keep_busy(q: Client, workers: Workers, gate: str, many: int) -> list[Any]:
    """The works of so many tasks which wait at the gate, each in a worker's hand where so many run at once."""
    works = [task(f"{gate}: {number}", does="wait", at=gate) for number in range(many)]
    for work in works:
        q.push(work)
        workers.start()
    workers.until(lambda: all(workers.of(work) for work in works), AT_ONCE)
    return works


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
