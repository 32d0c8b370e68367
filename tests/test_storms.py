"""A short one of each storm of the bench: nothing is lost, stranded or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import BOUND, wait_for

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("storm", ["kills", "starts", "duplicates", "stopped", "full", "flipped", "readers"])
def test_nothing_is_lost_in(storm: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.storms", storm, "--seconds", "1.5", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * BOUND,
        check=False,
    )

    if storm == "readers":  # how far the log grows in so short a time hangs on when each reader gets the processor
        assert (json.loads(ran.stdout)["lost"], ran.stderr) == (0, ""), ran.stdout
        return
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    told = json.loads(ran.stdout)
    assert (told.pop("trial"), told.pop("broken")) == (storm, 0)
    reached = [told[word] for word in ("kills", "starts", "works", "pushes", "disks", "files") if word in told]
    assert reached
    assert all(reached)


def test_a_trial_that_is_ended_by_hand_tells_its_figure(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "bench.storms", "kills", "--seconds", "600", "--json"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        wait_for(lambda: any(tmp_path.glob("lowq-trial-*/book")))
        running.send_signal(signal.SIGINT)
        out, errors = running.communicate(timeout=3 * BOUND)

    assert (running.returncode, errors) == (0, "")
    assert json.loads(out)["lost"] == 0
    assert json.loads(out)["pushes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_queue_is_whole_at_its_target_wherever_its_move_is_killed() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.moves", "--kind", "sqlite"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * BOUND,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("1 queues moved, ")
    assert "0 faults" in ran.stdout
