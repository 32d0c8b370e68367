"""Checks of queues with a fault that is known, by `lowq check` and by pytest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nested import environment

HARNESSES = Path(__file__).parent.with_name("harnesses.py")
URL = "https://example.org/issues/167"


def check(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lowq", "check", *arguments, "--only", "ORDER-11", "--seed", "1", "--quick"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, cwd=cwd)


def pytest_of_the_suite(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--pyargs", "lowq_conformance", "-p", "no:cacheprovider"]
    command += ["-p", "no:randomly", "--lowq-only=ORDER-11", "--lowq-profile=quick", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, cwd=cwd, env=environment()
    )


@pytest.mark.parametrize(
    ("arguments", "code", "whole"),
    [
        (["LastFirst", "--known", f"ORDER-11={URL}"], 0, "known"),
        (["KnownLastFirst"], 0, "known"),
        (["KnownButKept"], 1, "mended"),
        (["SometimesButKept"], 0, "kept"),
    ],
)
def test_a_known_fault_is_no_failure_until_it_is_gone(
    arguments: list[str], code: int, whole: str, tmp_path: Path
) -> None:
    target, *options = arguments

    done = check(f"{HARNESSES}:{target}", *options, "--json", "report.json", cwd=tmp_path)

    assert done.returncode == code, done.stdout + done.stderr
    told = json.loads((tmp_path / "report.json").read_text())
    assert [told["verdict"], told["clauses"][0]["verdict"]] == [whole, whole]
    assert f"{target}: {whole} (1 {whole})" in done.stdout
    assert ("~ ORDER-11: Thousands" in done.stdout) == (whole == "known")
    assert ("no longer broken: take it out" in " ".join(done.stdout.split())) == (whole == "mended")


def test_a_wrong_statement_is_told_before_anything_runs(tmp_path: Path) -> None:
    done = check(f"{HARNESSES}:UnknownKnown", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "known: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_known_faults_on_the_command_line_are_of_one_target(tmp_path: Path) -> None:
    done = check("memory", "sqlite", "--known", f"ORDER-11={URL}", cwd=tmp_path)

    assert done.returncode == 2
    assert "are about one TARGET" in done.stderr


@pytest.mark.skipif("LOWQ_EXHAUSTIVE" not in os.environ, reason="long: LOWQ_EXHAUSTIVE=1")
def test_under_pytest_a_known_fault_is_expected_to_fail_also_by_several_processes(tmp_path: Path) -> None:
    files = ["--lowq-junit=junit.xml", "--lowq-badge=badge.svg"]
    known = pytest_of_the_suite(f"--lowq-harness={HARNESSES}:KnownLastFirst", "-n", "2", *files, cwd=tmp_path)

    assert known.returncode == 0, known.stdout
    assert f'<skipped message="known: {URL}">' in (tmp_path / "junit.xml").read_text()
    assert "0 kept, 1 known" in (tmp_path / "badge.svg").read_text()
    assert sorted(os.listdir(tmp_path)) == ["badge.svg", "junit.xml"]
    assert re.search(r"\d+ xfailed", known.stdout)
    assert "failed," not in known.stdout
    assert "KnownLastFirst: known (1 known)" in known.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["KnownButKept"], 1, "no longer broken: take it out"),
        (["KnownButKept", f"--lowq-sometimes=ORDER-11={URL}"], 0, "KnownButKept: kept (1 kept)"),
        (["UnknownKnown"], 4, "there is no clause 'ODER-1'"),
    ],
)
def test_under_pytest_the_same_is_said(arguments: list[str], code: int, says: str, tmp_path: Path) -> None:
    target, *options = arguments

    done = pytest_of_the_suite(f"--lowq-harness={HARNESSES}:{target}", *options, cwd=tmp_path)

    assert done.returncode == code, done.stdout + done.stderr
    assert says in " ".join((done.stdout + done.stderr).split())
