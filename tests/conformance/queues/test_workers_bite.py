"""The WORKER clauses bite: each broken worker is accused of what it breaks, and no sound one of anything."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues import broken as broken_queues
from lowq_conformance.queues.broken import BROKEN
from lowq_conformance.run.runner import run

MODULES = [f"{broken_queues.__name__}.{name}" for name in ("worker", "lasting")]
WORKERS = [broken for broken in BROKEN.values() if broken.module in MODULES]
FIRST = {worker.clauses: worker for worker in reversed(WORKERS)}
"""One worker for each clause; the others are looked at by LOWQ_EXHAUSTIVE=1."""
ASKED = WORKERS if "LOWQ_EXHAUSTIVE" in os.environ else list(FIRST.values())
SOUND = [f"lowq_conformance.queues.sound.forked:{name}" for name in ("Forked", "Retrying", "Pair")]
SOUND += ["sqlite"] if "LOWQ_EXHAUSTIVE" in os.environ else []  # else by test_profiles.py, and by the gate


@pytest.mark.parametrize("module", MODULES)
def test_every_broken_worker_is_accused_of_what_it_breaks(module: str) -> None:
    workers = [each for each in ASKED if each.module == module]

    only = {each.target: each.clauses[:1] for each in workers}

    reports = run([each.target for each in workers], only=only, seed=1, until_broken=True)

    verdicts = {each.name: report[each.clauses[0]].verdict for each, report in zip(workers, reports, strict=True)}
    assert verdicts == {each.name: Verdict.BROKEN for each in workers}


def test_every_clause_of_workers_has_one_that_breaks_it() -> None:
    served = {"WORKER-13"}  # its workers have a server that goes away: test_suite_bites_servers.py
    assert {id for each in WORKERS for id in each.clauses} | served == {
        id for id, clause in CLAUSES.items() if clause.group == "WORKER" and clause.checked
    }


@pytest.mark.parametrize("target", SOUND)
def test_a_sound_worker_is_accused_of_nothing(target: str) -> None:
    (report,) = run([target], only=["WORKER"], seed=1)

    said = {clause.id: clause.evidence for clause in report.clauses if clause.verdict is not Verdict.KEPT}
    unstated = {"WORKER-11": "retry_after: how long a retry takes is not stated"} if "Forked" in target else {}
    assert said == {"WORKER-13": "needs server", **unstated}


@pytest.mark.parametrize(
    ("name", "accused"),
    [
        ("broken.worker:WaitsAndThenGoes", "WORKER-2"),
        ("broken.worker:UnlocksAndLooks", "WORKER-5"),
        ("sound.forked:Lingering", None),
    ],
)
def test_a_worker_that_waits_before_it_goes_is_met_at_its_end(name: str, accused: str | None) -> None:
    (report,) = run([f"lowq_conformance.queues.{name}"], only=["WORKER-2", "WORKER-5"], seed=1, until_broken=True)

    assert [clause.id for clause in report.clauses if clause.verdict is Verdict.BROKEN] == [accused] * bool(accused)
    assert accused or report["WORKER-2"].verdict is report["WORKER-5"].verdict is Verdict.KEPT


def test_what_was_in_hand_may_be_lost_with_its_workers_where_a_kill_may_lose_something() -> None:
    (report,) = run(["lowq_conformance.queues.sound.forked:AtMostOnce"], only=["WORKER-4"], seed=1)

    assert report["WORKER-4"].verdict is Verdict.KEPT


HARNESSES = """
from lowq_conformance.queues.broken.worker import PATIENCE, SkipsTheFalsy
from lowq_conformance.queues.sound.forked import Pushing

class Skips(Pushing):
    patience = PATIENCE
    _worker = SkipsTheFalsy._worker
"""


def test_a_queue_whose_worker_alone_claims_is_judged_by_what_its_handler_begins_and_ends() -> None:
    told = ["DELIVER-1", "DELIVER-2", "DELIVER-7", "ORDER-1", "ORDER-3", "DEDUPE-1"]
    silent = ["DELIVER-5", "RACE-1", "LEASE-1", "CLOSE-3", "DEDUPE-5"]

    (report,) = run(["lowq_conformance.queues.sound.forked:Pushing"], only=[*told, *silent], seed=1)

    verdicts = {id: report[id].verdict for id in (*told, *silent)}
    assert verdicts == dict.fromkeys(told, Verdict.KEPT) | dict.fromkeys(silent, Verdict.NOT_PROMISED)


def test_a_worker_that_alone_claims_and_skips_falsy_works_is_accused(tmp_path: Path) -> None:
    file = tmp_path / "skips.py"
    file.write_text(HARNESSES)

    (report,) = run([f"{file}:Skips"], only=["DELIVER-7"], seed=1, until_broken=True)

    assert report["DELIVER-7"].verdict is Verdict.BROKEN


KEEPING = """
import subprocess, sys
from lowq_conformance.subject.reaper import Reaper

worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True)
Reaper().keep(worker.pid)
print(worker.pid, flush=True)
sys.stdin.read()
"""


def test_a_worker_does_not_outlive_tests_that_were_killed() -> None:
    tests = subprocess.Popen([sys.executable, "-c", KEEPING], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert tests.stdout is not None
    worker = int(tests.stdout.readline())

    tests.kill()
    tests.communicate()

    end = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < end, f"process {worker} is still there"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path("/proc", str(pid), "status")
    return not (status.exists() and "State:\tZ" in status.read_text())
