"""WORKER-13: workers whose server goes away while they run a task, for longer than their clients have patience."""

from __future__ import annotations

import time

import pytest

from lowq_conformance.cases.worker_fixtures import comes_back, q, reaper, task, waiting, workers
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.subject.served_place import ServedPlace, takes_address
from lowq_conformance.subject.subject import Subject
from lowq_conformance.subject.workers import Workers

__all__ = ["q", "reaper", "workers"]

pytestmark = pytest.mark.waits

LONGER = 1.5
"""How many times the queue's patience its server is away."""
TASKS = 2


@pytest.mark.clause("WORKER-13")
@pytest.mark.together("server")
def test_a_worker_goes_on_when_its_server_is_there_again(
    subject: Subject, workers: Workers, profile: Profile
) -> None:
    """The task in hand ends while the server is away. Nobody starts another worker afterwards."""
    served = subject.serve(workers.place)
    if subject.traits.outlasts is None and served.has("restart"):
        raise NotPromised("nothing that was pushed outlasts its server")
    if not served.has("restart"):
        if not takes_address(subject.harness.start):
            raise NotPromised("its server cannot be stopped, and start takes no address")
        workers.address = served.need_proxy().address
    q = subject.open(workers.place, address=workers.address)
    works = [task(number) for number in range(1, TASKS + 1)]
    q.push(waiting(0))
    for work in works:
        q.push(work)
    workers.start()
    workers.wait_begun(waiting(0))

    be_away(served, subject, workers)

    if not workers.until(lambda: not workers.undone(works), workers.bound + profile.away):
        left = workers.undone(works)
        seconds = workers.bound + profile.away
        raise Broken(
            f"{len(left)} of {TASKS} tasks were not run within {seconds:g} s after the server was there again, and "
            f"nobody had stopped the worker; {describe(workers, left)}"
        )
    comes_back(workers, waiting(0))


def be_away(served: ServedPlace, subject: Subject, workers: Workers) -> None:
    """The server was away for longer than clients wait, and the task in hand has ended meanwhile."""
    if served.has("kill") and subject.traits.outlasts == "kill":
        away = served.go_away
    elif not served.has("restart"):
        away = served.go_away  # for whoever goes through the proxy
    elif served.has("freeze"):
        away = served.stand_still
    else:
        workers.handler.open("gate")
        served.restart()
        return
    away()
    try:
        workers.handler.open("gate")
        time.sleep(LONGER * subject.traits.patience.total_seconds())
    finally:
        served.restore()


def describe(workers: Workers, left: list[object]) -> str:
    """Whether another start helps."""
    running = workers.running()
    workers.start()
    helped = workers.until(lambda: not workers.undone(left))
    who = "its process lives" if running else "its process is gone"
    return f"{who}, and after one more start() they were {'run' if helped else 'not run either'}"
