"""`lowq check` as it is typed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr
from pathlib import Path

from lowq_conformance.report.tally import Tally
from lowq_conformance.run.progress import write_lines
from nested import environment

HARNESSES = Path(__file__).parent.with_name("harnesses.py")


def check(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lowq", "check", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, cwd=cwd, env={**os.environ, **environment}
    )


def pytest_of_the_suite(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--pyargs", "lowq_conformance", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, cwd=cwd, env=environment()
    )


def test_a_kept_queue_leaves_with_0_and_writes_the_report(tmp_path: Path) -> None:
    done = check("memory", "--only", "ORDER-1", "--seed", "5", "--json", "report.json", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "memory: kept (1 kept)" in done.stdout
    told = json.loads((tmp_path / "report.json").read_text())
    assert 0 < told.pop("seconds") < 100
    clauses = told.pop("clauses")
    assert 0 < clauses[0].pop("seconds") < 100
    assert told == {
        "target": "memory",
        "seed": 5,
        "seeds": 1,
        "profile": "default",
        "verdict": "kept",
        "interrupted": False,
        "ended": "",
        "trouble": "",
    }
    assert clauses == [
        {
            "id": "ORDER-1",
            "verdict": "kept",
            "text": "First in, first out for one client",
            "evidence": "",
            "grounds": None,
            "seed": 5,
            "rerun": "lowq check memory --only ORDER-1 --seed 5",
            "known": None,
            "sometimes": False,
        }
    ]


def test_a_broken_queue_leaves_with_1(tmp_path: Path) -> None:
    done = check(f"{HARNESSES}:LastFirst", "--only", "ORDER-1", cwd=tmp_path)

    assert done.returncode == 1, done.stderr
    assert "expected 'a'" in done.stdout


def test_what_cannot_be_loaded_leaves_with_2_and_one_line(tmp_path: Path) -> None:
    done = check(f"{HARNESSES}:MisspeltTrait", cwd=tmp_path)

    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_the_users_pytest_settings_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -k smoke\npython_files = none.py\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('the conftest was read')\n")
    done = check(
        "memory",
        "--only",
        "ORDER-1",
        "--json",
        "-",
        cwd=tmp_path,
        PYTEST_ADDOPTS="-k smoke",
        PYTEST_PLUGINS="nowhere",
    )

    assert json.loads(done.stdout)["verdict"] == "kept", done.stderr


def test_the_suite_runs_under_pytest_as_well(tmp_path: Path) -> None:
    asked = pytest_of_the_suite("--lowq-harness=memory", "--lowq-only=ORDER-1", cwd=tmp_path)
    unasked = pytest_of_the_suite(cwd=tmp_path)

    assert asked.returncode == 0, asked.stdout
    assert "memory: kept (1 kept)" in asked.stdout
    assert unasked.returncode == 4, unasked.stdout
    assert "say which with --lowq-harness=TARGET" in unasked.stdout + unasked.stderr


def test_an_interrupted_check_reports_what_was_seen(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    checking = subprocess.Popen(
        [sys.executable, "-m", "lowq", "check", f"{HARNESSES}:Hangs", "--only", "DELIVER-4"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SEEN_HANGING": str(seen)},
    )
    end = time.monotonic() + 90
    while not seen.exists() and time.monotonic() < end:
        time.sleep(0.05)
    checking.send_signal(signal.SIGINT)
    said, _ = checking.communicate(timeout=60)

    assert checking.returncode == 130
    assert "incomplete (1 not observed)" in said
    assert "interrupted" in said


def test_a_schedule_is_made_again_by_its_spelling_and_leaves_with_1(tmp_path: Path) -> None:
    target = "lowq_conformance.queues.broken.race:ClaimsFromMemory"

    done = check(target, "--schedule", "claim,claim", "--json", "report.json", cwd=tmp_path)

    assert done.returncode == 1, done.stderr
    told = {clause["id"]: clause for clause in json.loads((tmp_path / "report.json").read_text())["clauses"]}
    assert told["RACE-1"]["verdict"] == "broken"
    assert told["RACE-1"]["rerun"] == f"lowq check {target} --schedule claim,claim"
    assert told["RACE-5"]["verdict"] == "kept"
    assert (told["RACE-5"]["grounds"]["runs"], told["RACE-5"]["grounds"]["schedules"]) == (0, 1)


def test_what_is_no_schedule_is_said_in_a_line(tmp_path: Path) -> None:
    done = check("memory", "--schedule", "claim@x,claim", cwd=tmp_path)

    assert done.returncode == 2
    assert "'claim@x,claim' is no schedule" in done.stderr


def test_a_file_is_told_now_and_then_what_is_done() -> None:
    lines = io.StringIO()
    times = iter([0.0, 5.0, 10.0, 10.0, 12.0])
    with redirect_stderr(lines):
        watch = write_lines(lambda: next(times))
        for done in (
            "first",
            "test_order.py::test_a_batch_keeps_its_order",
            "sweep of processes: 120 of 400 schedules",
        ):
            watch(Tally("my queue", 1, frozenset(), (), expected=7), done)

    assert lines.getvalue() == "my queue: 0 of 7 tests; a batch keeps its order\n"
