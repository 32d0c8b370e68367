"""A check that is interrupted, wherever it then is: it says what was seen, and no process of it is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest
from conformance.started import MARK, left_by, started_by
from lowq_conformance.run.interrupt import Interruption

STARTING, IN_A_TEST, IN_A_STORM = "log", "journal*", "*.calls"
"""Files of which the first shows how far a check is."""


def begun(tmp_path: Path, mark: str, instant: str, *options: str) -> subprocess.Popen[str]:
    """A check of the queue in SQLite, in a process group of its own, as soon as it has come to that instant."""
    places = tmp_path / "places"
    places.mkdir()
    command = [sys.executable, "-m", "lowq", "check", "sqlite", "memory", "--seed", "1", *options]
    checking = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(places), MARK: mark},
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not any(fnmatch(name, instant) for _, _, names in os.walk(places) for name in names):
        assert checking.poll() is None, checking.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.01)
    return checking


@pytest.mark.parametrize(
    ("instant", "sent", "options"),
    [
        (STARTING, signal.SIGINT, []),
        (STARTING, signal.SIGTERM, ["-n", "2"]),
        (IN_A_TEST, signal.SIGTERM, []),
        (IN_A_STORM, signal.SIGINT, ["--only", "RACE,CRASH"]),
        (IN_A_STORM, signal.SIGINT, ["-n", "2", "--budget", "10m"]),
        (IN_A_STORM, signal.SIGTERM, ["-n", "2", "--only", "CRASH,WORKER"]),
    ],
)
def test_an_interrupted_check_says_what_it_saw_and_leaves_nobody_behind(
    tmp_path: Path, instant: str, sent: signal.Signals, options: list[str]
) -> None:
    mark = str(tmp_path)
    checking = begun(tmp_path, mark, instant, "--json", "report.json", "--html", "page.html", *options)
    os.killpg(checking.pid, sent)  # as a terminal does
    said, _ = checking.communicate(timeout=120)

    assert checking.returncode == 130, said
    assert "sqlite: incomplete" in said
    assert "interrupted" in said
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["target"], told["interrupted"], told["verdict"]) == ("sqlite", True, "incomplete")
    assert "The run was interrupted" in (tmp_path / "page.html").read_text()
    assert left_by(mark) == []
    assert list((tmp_path / "places").iterdir()) == []


def test_a_check_that_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    mark = str(tmp_path)
    checking = begun(tmp_path, mark, IN_A_STORM, "-n", "2", "--only", "RACE,CRASH")
    assert len(started_by(mark)) > 4
    checking.kill()
    checking.communicate(timeout=120)  # its pipe is closed when the last that writes to it is gone

    assert left_by(mark) == []


def test_a_signal_is_noted_and_what_was_done_about_it_before_is_done_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.seen
        signal.raise_signal(signal.SIGINT)
        assert interruption.seen

    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.seen
    finally:
        signal.signal(signal.SIGINT, before)
