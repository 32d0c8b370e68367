"""The suite as a pytest plugin: where it tries the harness out, and files that it cannot write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HARNESS = """
from pathlib import Path

import lowq

class Harness:
    promises = {"fifo", "lease"}
    dedupe = "until_done"

    def open(self, place):
        with open(Path(__file__).with_name("places"), "a") as places:
            places.write(f"{place}\\n")
        return lowq.open_backend(place / "q.db")
"""


def test_a_check_writes_to_its_own_folder_only_so_that_whoever_is_killed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(HARNESS)
    command = [sys.executable, "-m", "lowq", "check", "mine.py", "--only", "DELIVER-1", "--quick"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)

    places = [Path(line) for line in (tmp_path / "places").read_text().splitlines()]
    assert any("lowq-probe-" in str(place) for place in places)
    assert [
        place for place in places if not any(above.name.startswith("lowq-check-") for above in place.parents)
    ] == []


def test_a_journal_that_cannot_be_written_is_told_before_anything_is_tried(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--pyargs", "lowq_conformance", "--lowq-harness=memory"]
    command += ["--lowq-only=DELIVER-1", "--lowq-journal=nowhere/calls"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=120)

    assert done.returncode == 4
    assert "ERROR: nowhere/calls cannot be written: No such file or directory" in done.stderr
