"""The action of the repository: what GitHub would run is run here, and nothing in an input runs by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
(STEP,) = ACTION["runs"]["steps"]
HARNESSES = ROOT / "tests" / "conformance" / "harnesses.py"


def run_step(folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The step as GitHub runs it: its shell, and its environment with each input, or its default, put in."""
    given = {name: inputs.get(name, told.get("default", "")) for name, told in ACTION["inputs"].items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    for name, value in STEP["env"].items():
        environment[name] = given[value.removeprefix("${{ inputs.").removesuffix(" }}")]
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["GITHUB_STEP_SUMMARY"] = str(folder / "summary.md")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEP["run"]]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=200, cwd=folder, env=environment
    )


def test_the_step_checks_and_writes_what_is_asked_for(tmp_path: Path) -> None:
    done = run_step(
        tmp_path,
        targets=f"{HARNESSES}:LastFirst",
        options="--quick --only  ORDER-11",
        known="ORDER-11=https://example.org/a b; touch ran $(touch ran)\n",
        junit="a file.xml",
        badge="badge.svg",
        install="",
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "LastFirst: known (1 known)" in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["a file.xml", "badge.svg", "summary.md"]
    assert "~ ORDER-11" in (tmp_path / "summary.md").read_text()


def test_the_script_has_no_input_in_it() -> None:
    assert "${{" not in STEP["run"]
    assert set(STEP["env"].values()) == {f"${{{{ inputs.{name} }}}}" for name in ACTION["inputs"]}
