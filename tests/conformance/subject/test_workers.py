"""The workers of a test are all ended, whenever they are first heard of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lowq_conformance.subject.loading import load
from lowq_conformance.subject.reaper import Reaper
from lowq_conformance.subject.workers import Workers


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    programs = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(2)]
    yield programs
    for program in programs:
        program.kill()
        program.wait()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    reaper = Reaper()
    yield Workers(load("sqlite"), tmp_path / "place", tmp_path, reaper)
    reaper.close()


def test_a_worker_that_begins_a_turn_while_others_are_killed_is_killed(
    sleepers: list[subprocess.Popen[bytes]], workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start` told of another process, one that was gone, and its turn is not in the log before the first look."""
    known, unheard = sleepers
    workers.know([known.pid])
    kill = os.kill

    def begun_just_before(pid: int, number: int) -> None:
        if pid == known.pid and number:
            (tmp_path / "turns").write_text(json.dumps(["begin", "late", 1, unheard.pid, "work"]) + "\n")
        kill(pid, number)

    monkeypatch.setattr("lowq_conformance.subject.workers.os.kill", begun_just_before)

    workers.kill()

    assert workers.running() == []
    assert unheard.wait(30) is not None


def test_a_worker_whose_turn_was_over_before_it_was_read_is_ended(
    sleepers: list[subprocess.Popen[bytes]], workers: Workers, tmp_path: Path
) -> None:
    """`start` need not tell of it."""
    lines = [["begin", "quick", 1, sleepers[0].pid, "work"], ["end", "quick", 2, None]]
    (tmp_path / "turns").write_text("".join(json.dumps(line) + "\n" for line in lines))

    workers.turns()
    workers.kill()

    assert sleepers[0].wait(30) is not None
