"""docs/strangers.md accuses nobody falsely: its verdicts are the suite's, its programs run on the packages alone."""

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "strangers.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Row:
    """A line of the table of verdicts."""

    release: str
    target: str
    verdict: str
    broken: tuple[str, ...]


ROWS = [
    Row(release, target, verdict, tuple(broken.replace(",", " ").split()))
    for release, target, verdict, broken in re.findall(
        r"^\| [^|]+ \| ([^|]+) \| `lowq check ([^`]+)` \| (\w+) \|([^|]*)\|$", DOCUMENT, re.M
    )
]
PROGRAMS = re.findall(r"(?:^<!-- needs: ([^\n]+) -->\n)?^```python\n(.*?)^```$", DOCUMENT, re.M | re.S)


def skip_unless_installed(release: str) -> None:
    """The verdicts are on one version of each package; on another they may be out of date, not wrong."""
    distribution, _, expected = release.rpartition(" ")
    if distribution != "Python's" and version(distribution) != expected:
        pytest.skip(f"docs/strangers.md is about {release}; {version(distribution)} is installed")


def test_the_document_has_a_verdict_on_every_harness_of_the_examples() -> None:
    harnesses = {
        f"examples/{file.name}:{node.name}"
        for file in (ROOT / "examples").glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and "open" in {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
    }

    assert {row.target for row in ROWS} == harnesses


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.target)
def test_a_verdict_in_the_document_is_what_the_suite_says(row: Row, tmp_path: Path) -> None:
    skip_unless_installed(row.release)
    report = tmp_path / "verdict.json"

    done = subprocess.run(
        [sys.executable, "-m", "lowq", "check", row.target, "--seed", "1", "--json", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode in (0, 1), done.stdout + done.stderr
    said = json.loads(report.read_text())
    broken = {clause["id"]: clause["evidence"] for clause in said["clauses"] if clause["verdict"] == "broken"}
    assert (said["verdict"], sorted(broken)) == (row.verdict, sorted(row.broken)), broken


@pytest.mark.parametrize(("release", "program"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_counterexample_runs_on_the_package_alone(release: str, program: str, tmp_path: Path) -> None:
    assert release in {row.release for row in ROWS}
    assert "lowq" not in program
    skip_unless_installed(release)

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
