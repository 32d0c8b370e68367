"""The process that the hosts are forked from: what it has imported, they need not import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lowq_conformance.run.constants import INI

PROGRAM = """
import sys
from lowq_conformance.run.session import import_tests

import_tests(sys.argv[1])
names = ("lowq_conformance.cases.test_input", "lowq_conformance.cases.test_worker")
print([name for name in names if name in sys.modules])
"""


def import_in(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-P", "-c", PROGRAM, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_tests_are_imported_once_for_all_hosts(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text(INI)
    done = import_in(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.splitlines()[-1] == "['lowq_conformance.cases.test_input', 'lowq_conformance.cases.test_worker']"
    )


def test_tests_that_cannot_be_imported_are_told(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nminversion = 9999\n")
    done = import_in(tmp_path)
    assert done.returncode == 1
    assert "the suite's tests cannot be imported: pytest left with 4" in done.stderr
