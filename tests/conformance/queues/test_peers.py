"""docs/peers.md accuses nobody falsely: its verdicts are the suite's, its programs run on the packages alone."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from lowq_conformance.contract.promises import PROMISES, BrokenHarness, check_names, read_promises
from lowq_conformance.queues.peers import PEERS, harness_of
from lowq_conformance.run.runner import run
from lowq_conformance.subject.loading import load

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
QUICK = ("DELIVER-7", "DELIVER-8", "NAMES")
"""What is asked of every peer here; everything the document says takes minutes, and is asked by `LOWQ_PEERS=all`."""


@dataclass(frozen=True)
class Row:
    """A line of the table of verdicts."""

    name: str
    release: str
    verdict: str
    broken: tuple[str, ...]


ROWS = [
    Row(name, release, verdict, tuple(broken.replace(",", " ").split()))
    for name, release, verdict, broken in re.findall(
        r"^\| `([^`]+)` \| ([^|]+) \| [^|]+ \| [^|]+ \| (\w+) \|([^|]*)\|$", DOCUMENT, re.M
    )
]
PROGRAMS = re.findall(r"^<!-- needs: ([^\n]+) -->\n```python\n(.*?)^```$", DOCUMENT, re.M | re.S)


def installed(release: str) -> bool:
    """Whether this release of the package is installed."""
    distribution, _, expected = release.rpartition(" ")
    try:
        return version(distribution) == expected
    except PackageNotFoundError:
        return False


def skip_unless_installed(release: str) -> None:
    """The verdicts are on one version of each package; on another they may be out of date, not wrong."""
    if not installed(release):
        distribution = release.rpartition(" ")[0]
        try:
            there = f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            there = f"no {distribution}"
        pytest.skip(f"docs/peers.md is about {release}; installed is {there}")


def skip_without_package(name: str) -> None:
    try:
        harness_of(name)
    except BrokenHarness as error:
        pytest.skip(str(error))


def test_the_document_has_a_verdict_on_every_peer() -> None:
    assert {row.name for row in ROWS} == PEERS.keys()


def test_every_program_of_the_document_says_which_release_it_needs() -> None:
    assert DOCUMENT.count("```python\n") == len(PROGRAMS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what a peer's package uses
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_loads_and_promises_only_known_words(name: str) -> None:
    skip_without_package(name)
    harness = harness_of(name)()

    check_names(harness, name)
    promises = read_promises(harness.promises, name)
    assert promises <= PROMISES.keys()
    assert load(name).promises == promises


SLOW = ("RACE", "CRASH", "INTERRUPT", "WORKER")
"""The groups that take long."""


def soon(row: Row) -> list[str]:
    """The clauses that are found to be broken soon."""
    return sorted(clause for clause in row.broken if not clause.startswith(SLOW))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.release.replace(" ", "-") + "-" + row.name)
def test_a_verdict_in_the_document_is_what_the_suite_says(row: Row) -> None:
    skip_unless_installed(row.release)
    everything = os.environ.get("LOWQ_PEERS") == "all"

    (report,) = run([row.name], only=() if everything else (*QUICK, *soon(row)), seed=1)

    said = {clause.id: clause.verdict.value for clause in report.clauses}
    broken = {clause for clause, verdict in said.items() if verdict == "broken"}
    assert broken == ({*row.broken} if everything else {*soon(row)})
    assert row.verdict == ("broken" if row.broken else "kept")
    assert "kept" in said.values()


@pytest.mark.parametrize(("release", "program"), PROGRAMS, ids=range(len(PROGRAMS)))
def test_a_counterexample_runs_on_the_package_alone(release: str, program: str, tmp_path: Path) -> None:
    assert "lowq" not in program
    skip_unless_installed(release)

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr


def test_a_missing_package_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "queuelib.py").write_text('raise ModuleNotFoundError("No module named queuelib", name="queuelib")')

    done = subprocess.run(
        [sys.executable, "-m", "lowq", "check", "queuelib"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines() == ["lowq check: queuelib: queuelib is missing: pip install queuelib"]


WORKER = """
import os, signal, sys, time
from pathlib import Path
from lowq_conformance.queues.peers.huey import Worker

place = Path(sys.argv[1])
ran = place / "ran"
ran.touch()

def handler(work):
    with open(ran, "a") as file:
        file.write(f"begin {work}\\n")
    time.sleep(0.3 * (work == "slow"))
    with open(ran, "a") as file:
        file.write(f"end {work}\\n")

def until(line):
    end = time.monotonic() + 20
    while line not in ran.read_text().splitlines():
        assert time.monotonic() < end, ran.read_text()
        time.sleep(0.01)

harness = Worker()
client = harness.open(place)
client.push("first")
(killed,) = harness.start(place, handler)
until("end first")
os.kill(killed, signal.SIGKILL)
assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
client.push("second")
(told,) = harness.start(place, handler)
until("end second")  # it sets its signal handlers when its worker has started
client.push("slow")
until("begin slow")
os.kill(told, signal.SIGTERM)
assert os.waitstatus_to_exitcode(os.waitpid(told, 0)[1]) == 0
client.close()
print(ran.read_text(), end="")
"""


def test_hueys_own_worker_runs_what_was_pushed_after_a_kill_too_and_finishes_when_told_to_stop(
    tmp_path: Path,
) -> None:
    skip_without_package("huey-worker")

    done = subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], capture_output=True, text=True, timeout=60)

    assert done.stdout.splitlines() == [
        *("begin first", "end first", "begin second", "end second", "begin slow", "end slow")
    ], done.stderr
