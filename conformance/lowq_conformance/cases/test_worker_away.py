"""WORKER-13: workers whose server goes away while they run a task, for longer than their clients have patience.

Nobody is accused of being slow to come back: all is done again, in a fresh place and with new workers, before it is
believed; unless no worker is left.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lowq_conformance.cases.away import ATTEMPTS, find_bound
from lowq_conformance.cases.waiting import Lateness, Missed, find_missed
from lowq_conformance.cases.worker_fixtures import comes_back, reaper, task, waiting
from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.served_place import ServedPlace, takes_address
from lowq_conformance.subject.subject import Subject
from lowq_conformance.subject.workers import SLOWER, Workers

__all__ = ["reaper"]

pytestmark = pytest.mark.waits

LONGER = 1.5
"""How many times the queue's patience its server is away."""
LOOK = 0.1
"""Seconds between two looks at how slow the machine is."""
WORKS = [task(1), task(2)]


@pytest.mark.clause("WORKER-13")
@pytest.mark.together("server")
def test_a_worker_goes_on_when_its_server_is_there_again(
    subject: Subject, tmp_path: Path, reaper: Reaper, profile: Profile
) -> None:
    """The task in hand ends while the server is away. Nobody starts another worker afterwards."""

    def play(attempt: int) -> None:
        subject.journal.calls.clear()
        place, turns = tmp_path / f"place{attempt}", tmp_path / f"turns{attempt}"
        for each in (place, turns):
            each.mkdir()
        workers, late = Workers(subject, place, turns, reaper), Lateness()
        try:
            require_going_on(subject, workers, profile, late)
        except Missed as missed:
            if attempt + 1 < ATTEMPTS:
                raise
            raise Missed(f"{missed}; {describe(workers)}") from missed
        finally:
            late.close()
            workers.kill()

    if said := find_missed(ATTEMPTS, play):
        raise Broken(said)


def require_going_on(subject: Subject, workers: Workers, profile: Profile, late: Lateness) -> None:
    """The workers' server went away and came back, and they went on. Raises Missed, and Broken where none is left."""
    served = subject.serve(workers.place)
    if subject.traits.outlasts is None and served.has("restart"):
        raise NotPromised("nothing that was pushed outlasts its server")
    if not served.has("restart"):
        if not takes_address(subject.harness.start):
            raise NotPromised("its server cannot be stopped, and start takes no address")
        workers.address = served.need_proxy().address
    q = subject.open(workers.place, address=workers.address)
    q.push(waiting(0))
    for work in WORKS:
        q.push(work)
    workers.start()
    workers.wait_begun(waiting(0))

    be_away(served, subject, workers)

    began = time.monotonic()
    while workers.undone(WORKS):
        gone = bool(workers.told) and not workers.running()
        seconds = find_bound(SLOWER * subject.traits.patience, profile, None if gone else late)
        if workers.until(lambda: not workers.undone(WORKS), LOOK) or time.monotonic() - began < seconds:
            continue
        left = f"{len(workers.undone(WORKS))} of {len(WORKS)} tasks were not run within {seconds:.1f} s"
        said = f"{left} after the server was there again, and nobody had stopped the worker"
        raise Broken(f"{said}; {describe(workers)}") if gone else Missed(said)
    try:
        comes_back(workers, waiting(0))
    except Broken as broken:
        raise Missed(str(broken)) from broken


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


def describe(workers: Workers) -> str:
    """Whether another start helps."""
    running = workers.running()
    workers.start()
    helped = workers.until(lambda: not workers.undone(WORKS))
    who = "its process lives" if running else "its process is gone"
    return f"{who}, and after one more start() they were {'run' if helped else 'not run either'}"
