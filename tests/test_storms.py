"""A short one of each storm of the bench: nothing is lost, stranded or doubled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from processes import BOUND

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("storm", ["kills", "starts", "duplicates", "stopped"])
def test_nothing_is_lost_in(storm: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "bench.storms", storm, "--seconds", "1.5"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3 * BOUND,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert ran.stdout.startswith(f"{storm}: ")
    assert ", 0 " in ran.stdout
