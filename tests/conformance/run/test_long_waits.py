"""That a run will take long is said as it begins, with what can be done about it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.contract.promises import Traits
from lowq_conformance.run.long_waits import tell_waits
from lowq_conformance.storm.performer import NoJournal
from lowq_conformance.subject.under_test import UnderTest
from nested import environment

HARNESSES = Path(__file__).parent.with_name("harnesses.py")
ALL = frozenset({"lease", "not_before", "prompt"})


class Still:
    """A harness that moves no clock."""


class Moving:
    """A harness whose queue's clock is moved."""

    def pass_time(self, place: Path, by: timedelta) -> None:
        """Nothing of it is looked at here."""


def told(harness: Any, promises: frozenset[str] = ALL, **traits: Any) -> str:
    return tell_waits(UnderTest("my.py:Queue", harness, promises, replace(Traits(), **traits), NoJournal()))


@pytest.mark.parametrize(
    ("promises", "traits", "said"),
    [
        (ALL, {"fixed_lease": timedelta(seconds=30)}, "a lease is handed on after 30 s at the earliest"),
        (ALL, {"grace": timedelta(seconds=9)}, "a lease is handed on after 10 s at the earliest"),
        (ALL, {"resolution": timedelta(seconds=2)}, "a due time is 8 s ahead at least"),
        (ALL - {"prompt"}, {"patience": timedelta(seconds=20)}, "an empty queue is asked for 20 s each time"),
    ],
)
def test_what_the_suite_really_waits_for_is_told(promises: frozenset[str], traits: Any, said: str) -> None:
    assert told(Still(), promises, **traits).startswith(f"my.py:Queue: {said}, so that this takes many minutes")
    assert "pass_time" in told(Still(), promises, **traits)


@pytest.mark.parametrize("traits", [{}, {"grace": timedelta(seconds=2)}, {"patience": timedelta(seconds=20)}])
def test_where_nothing_takes_long_nothing_is_told(traits: Any) -> None:
    assert told(Still(), **traits) == ""


def test_where_the_clock_is_moved_only_patience_takes_long() -> None:
    assert told(Moving(), fixed_lease=timedelta(seconds=30)) == ""
    assert told(Moving(), ALL - {"prompt"}, patience=timedelta(seconds=20)).endswith("several tests wait at once")


@pytest.mark.parametrize(
    "command",
    [
        ["lowq", "check", f"{HARNESSES}:HoldsLong", "--only", "DELIVER-3"],
        ["pytest", "-p", "no:cacheprovider", "--pyargs", "lowq_conformance", f"--lowq-harness={HARNESSES}:HoldsLong",
         "--lowq-only=DELIVER-3"],
    ],
    ids=["lowq check", "pytest"],
)  # fmt: skip
def test_it_is_said_once_as_the_run_begins(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("a lease is handed on after 30 s at the earliest") == 1
