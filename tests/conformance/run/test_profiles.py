"""How much a run looks at, and for how long: profiles, processes and budgets, and what the report says of it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.profile import DEFAULT, PROFILES, QUICK, THOROUGH
from lowq_conformance.report.report import show
from lowq_conformance.report.tally import Tally
from lowq_conformance.run.durations import BadLength, seconds_of
from lowq_conformance.storm.storms import name_of_run
from nested import environment
from rich.console import Console

HARNESSES = Path(__file__).parent.with_name("harnesses.py")


def lowq_check(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lowq", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, cwd=cwd)


def a_run(*sides: tuple[Any, ...], seed: int = 7) -> Tally:
    run = Tally("module:Queue", seed, frozenset(CLAUSES), ())
    for number, side in enumerate(sides):
        run.saw(f"test {number}", [side])
    return run


@pytest.mark.parametrize("field", [field.name for field in fields(DEFAULT)])
def test_quick_looks_at_no_more_than_the_default_and_thorough_at_no_less(field: str) -> None:
    if field in ("name", "says", "jobs", "every", "deaths", "again"):
        return
    quick, default, thorough = (getattr(profile, field) for profile in (QUICK, DEFAULT, THOROUGH))

    if field in ("doubling", "crowding"):
        assert quick == default == 0 < thorough
        return
    assert quick > 0 or field in ("stops", "lingering", "wearing")  # quick does not await what comes seldom
    assert quick <= default <= thorough
    assert default > 0


def test_the_pytest_option_knows_the_profiles(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--help", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=environment())

    assert f"--lowq-profile={{{','.join(PROFILES)}}}" in done.stdout


@pytest.mark.parametrize("target", ["memory", "sqlite"])
def test_a_quick_check_observes_every_clause(target: str, tmp_path: Path) -> None:
    done = lowq_check(target, "--quick", "--seed", "1", "--json", "report.json", cwd=tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())

    assert done.returncode == 0, done.stdout
    assert (told["verdict"], told["profile"]) == ("kept", "quick")
    (race,) = [clause for clause in told["clauses"] if clause["id"] == "RACE-3"]
    assert race["grounds"]["judged"] in ("proved", "not refuted")
    assert race["grounds"]["operations"] > 100
    assert race["evidence"].startswith(race["grounds"]["judged"])


def test_the_workers_of_xdist_say_together_what_one_process_says(tmp_path: Path) -> None:
    only = "--lowq-only=DELIVER,ORDER,DEDUPE,RACE-2"
    command = [sys.executable, "-m", "pytest", "--pyargs", "lowq_conformance", "-p", "no:cacheprovider", only]
    command += ["--lowq-harness=memory", "--lowq-profile=quick", "-n", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=environment()
    )

    assert done.returncode == 0, done.stdout
    assert done.stdout.count("memory: kept") == 1
    assert "not observed" not in done.stdout
    assert "RACE-2      ✓ kept" in done.stdout
    assert "not refuted: " in done.stdout


def test_a_worker_of_xdist_that_dies_has_broken_the_clause_of_its_test(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--pyargs", "lowq_conformance", "-p", "no:cacheprovider"]
    command += [f"--lowq-harness={HARNESSES}:Dies", "--lowq-only=DELIVER-5", "-n", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path, env=environment()
    )

    assert done.returncode == 1, done.stdout
    assert re.search("^DELIVER-5 +✗ broken", done.stdout, re.MULTILINE), done.stdout
    assert "crashed while running" in done.stdout


@pytest.mark.parametrize(
    ("promises", "run"),
    [({"processes"}, "kills"), ({"threads"}, "deaths"), ({"processes", "lease"}, "deaths")],
)
def test_kills_are_deaths_where_no_process_can_be_killed_while_others_go_on(promises: set[str], run: str) -> None:
    assert name_of_run("kills", frozenset(promises)) == run


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("1h30m", 5400), (" 1.5m ", 90), ("1m30s", 90)]
)
def test_a_length_of_time_has_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["90", "5 minutes", "", "m", "-5m", "0s", "30m1h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(BadLength):
        seconds_of(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--budget", "300"], "300 of what? Write 300s for seconds, 300m for minutes"),
        (["-n", "some"], "'some' is neither auto nor a number of processes"),
        (["-n", "0"], "'0' is neither auto nor a number of processes"),
    ],
)
def test_misuse_is_told_in_a_line(options: list[str], said: str, tmp_path: Path) -> None:
    done = lowq_check("memory", *options, cwd=tmp_path)

    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_the_help_fits_a_terminal_of_80_columns() -> None:
    command = [sys.executable, "-m", "lowq", "check", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})

    assert [line for line in told.stdout.splitlines() if len(line) > 80] == []
    for word in ("--quick", "--thorough", "--budget TIME", "-n N", "/dev/shm", "TMPDIR", "Exit status"):
        assert word in told.stdout


GROUNDS = {"judged": "proved", "operations": 1200, "runs": 1, "kills": 0, "seconds": 2.0}


def test_what_stands_behind_a_kept_clause_is_summed_over_its_tests() -> None:
    more = {"judged": "not refuted", "operations": 1, "runs": 1, "kills": 5, "seconds": 0.5}
    clause = a_run(("RACE-1", "kept", "", None, GROUNDS), ("RACE-1", "kept", "", None, more)).report()["RACE-1"]

    assert clause.effort == Effort("not refuted", 1201, 2, 5, 2.5)
    assert clause.evidence == "not refuted: 1,201 operations, 2 runs, 5 kills, 2.5 s"


def test_only_what_an_order_explains_everywhere_is_proved() -> None:
    assert a_run(("RACE-1", "kept", "", None, GROUNDS)).report()["RACE-1"].evidence == (
        "proved: 1,200 operations, 1 run, 2.0 s"
    )


def test_what_one_seed_has_shown_another_need_not_show_again() -> None:
    run = a_run(("RACE-1", "kept", "", None, GROUNDS))
    run.saw("test 0", [("RACE-1", "not observed", "no two claims at once")], seed=8)

    assert run.report()["RACE-1"].verdict == "kept"


def test_what_a_later_seed_finds_is_shown_with_that_seed() -> None:
    run = a_run(("RACE-1", "kept", "", None, GROUNDS))
    run.saw("test 0", [("RACE-1", "broken", "claimed twice")], seed=9)
    run.seeds = 3
    clause = run.report()["RACE-1"]

    assert (clause.verdict, clause.seed) == ("broken", 9)
    assert clause.rerun == "lowq check module:Queue --only RACE-1 --seed 9"
    assert run.report().spread() == "seeds 7 to 9"


def test_one_proof_that_breaks_several_clauses_is_shown_once() -> None:
    out = io.StringIO()
    proof = "c1: claim:w1"
    run = a_run(("RACE-1", "broken", proof), ("DELIVER-3", "broken", proof), ("ORDER-1", "broken", "another"))
    show([run.report()], Console(file=out, width=120))

    assert out.getvalue().count(proof) == 1
    assert "✗ DELIVER-3: Two clients never hold one task" in out.getvalue()
    assert "✗ RACE-1: Racing claims" in out.getvalue()
    assert out.getvalue().count("again: ") == 2
