"""`lowq check TARGET --repro FILE`: the files, what is said, and what is left when it ends early."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from conformance.report.test_outputs import a_report
from conformance.run.test_call_program import FACTS, say_broken
from conformance.run.test_command import HARNESSES, check
from conformance.started import MARK, left_by
from lowq_conformance.report.report import Report
from lowq_conformance.run import command, reproduction
from lowq_conformance.run.output_file import Unwritable
from lowq_conformance.run.probe import find_packages, how_imported
from lowq_conformance.run.reproduction import run_program, try_clause
from lowq_conformance.run.reproduction_files import ReproductionFiles
from lowq_conformance.subject.loading import load
from rich.console import Console

ORDER = ("ORDER-1", "broken", "q = open(place)\nq.push('a')\nq.push('b')\ntask = q.claim()  # 'b', expected 'a'")


def write(path: str, report: Report) -> str:
    """The files were written, and this was said."""
    said = io.StringIO()
    with ReproductionFiles(path, report.target) as files:
        files.write(report, (), Console(file=said, width=200))
    return said.getvalue().strip()


def test_a_broken_queue_is_a_program_that_fails_and_the_text_of_an_issue(tmp_path: Path) -> None:
    asked = ["--only", "ORDER-1", "--seed", "5", "--repro", "shows.py", "--json", "report.json"]
    done = check(f"{HARNESSES}:LastFirst", *asked, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    last = "ORDER-1: shows.py failed 3 of 3 times; the text of an issue is in shows.py.md"
    assert done.stdout.splitlines()[-1] == last
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "broken"
    assert sorted(os.listdir(tmp_path)) == ["report.json", "shows.py", "shows.py.md"]

    program = (tmp_path / "shows.py").read_text()
    (tmp_path / "sound.py").write_text(program.replace("LastFirst", "Sound"))
    env = {**os.environ, "PYTHONPATH": str(HARNESSES.parent), "TMPDIR": str(tmp_path)}
    alone, sound = (
        subprocess.run([sys.executable, name], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        for name in ("shows.py", "sound.py")
    )
    assert (alone.returncode, alone.stderr.splitlines()[-1]) == (1, "AssertionError: got 'b', expected 'a'")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "lowq" not in program
    assert len(program.splitlines()) < 20

    issue = (tmp_path / "shows.py.md").read_text()
    assert issue.startswith("# ORDER-1 is broken: First in, first out for one client\n\nVersions: Python 3.")
    assert program in issue
    assert f"PYTHONPATH={HARNESSES.parent} python shows.py\n" in issue
    assert "got 'b', expected 'a'\n" in issue
    assert f"lowq check {HARNESSES}:LastFirst --only ORDER-1 --seed 5\n" in issue


def test_where_nothing_is_broken_nothing_is_written_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "shows.py"

    said = write(str(path), a_report(("ORDER-1", "kept", ""), ("ORDER-2", "not observed", "nobody raced")))

    assert said == f"Nothing was seen to be broken, so that {path} was not written."
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (
            "q = open(place)\nq.push(1, headers={'a': 'b'})\n\nit came out without them",
            "it comes of several answers",
        ),
        ("q.push(<thread 7>)  # expected it to be refused", "is no text of a program"),
    ],
)
def test_what_no_program_can_show_is_an_issue_with_the_reason(tmp_path: Path, evidence: str, why: str) -> None:
    path = tmp_path / "shows.py"

    said = write(str(path), a_report(("HEADERS-1", "broken", evidence), target=f"{HARNESSES}:Sound"))

    assert said.startswith(f"HEADERS-1: {path} was not written: ")
    assert why in said
    assert os.listdir(tmp_path) == ["shows.py.md"]
    issue = (tmp_path / "shows.py.md").read_text()
    assert "A program cannot show it: " in issue
    assert why in issue
    assert evidence in issue


def test_the_first_clause_that_a_program_shows_is_taken(tmp_path: Path) -> None:
    two = a_report(("DELIVER-1", "broken", "both had it"), ORDER, target=f"{HARNESSES}:LastFirst")

    said = write(str(tmp_path / "shows.py"), two)

    assert said.startswith("ORDER-1: ")
    assert "Broken, too: DELIVER-1." in (tmp_path / "shows.py.md").read_text()


def test_a_program_that_does_not_fail_is_not_written() -> None:
    facts = replace(FACTS, folder=str(HARNESSES.parents[1]))

    found = try_clause(say_broken(ORDER[0], ORDER[2]), facts, "shows.py")

    assert (found.program, found.failed, found.lacks) == ("", 0, "one was written, and did not fail")


def test_a_program_that_does_not_end_is_killed_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduction, "BOUND", 2.0)
    monkeypatch.setenv(MARK, str(tmp_path))
    program = "import os, time\nos.fork()\ntime.sleep(600)\n"

    assert run_program(program, FACTS, "shows.py") == (-1, "it did not end within 2 seconds")
    assert left_by(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("path", "others", "said"),
    [
        ("nowhere/shows.py", [], "nowhere/shows.py cannot be written: No such file or directory"),
        (
            "there.py",
            [],
            "there.py is there already, and --repro overwrites nothing: remove it, or name another",
        ),
        ("other.py", [], "other.py.md is there already, and --repro overwrites nothing"),
        ("link.py", [], "link.py is there already"),
        ("asyncio.py", [], "asyncio.py cannot be the program: it would hide the module asyncio from itself"),
        ("harnesses.py", [], "harnesses.py cannot be the program: it would hide the module harnesses from itself"),
        ("lowq.py", [], "lowq.py cannot be the program: it would hide the module lowq from itself"),
        ("shows.py", ["--json", "./shows.py.md"], "--json and --repro name the same file"),
        ("shows.py", ["memory"], "--repro is about one TARGET"),
    ],
)
def test_files_that_cannot_be_written_are_told_before_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, others: list[str], said: str
) -> None:
    begun: list[object] = []
    monkeypatch.setattr(command, "run", lambda *given, **_: begun.append(given))
    monkeypatch.chdir(tmp_path)
    for name in ("there.py", "other.py.md"):
        Path(name).write_text("mine")
    Path("link.py").symlink_to("nowhere.py")

    done = CliRunner().invoke(command.check, [f"{HARNESSES}:LastFirst", "--repro", path, *others])

    assert done.exit_code == 2, done.output
    assert said in done.output
    assert begun == []
    assert sorted(os.listdir()) == ["link.py", "other.py.md", "there.py"]
    assert Path("there.py").read_text() == Path("other.py.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["shows", "a-b.py", "is_a_folder.py"])
def test_any_other_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("is_a_folder").mkdir()

    with ReproductionFiles(name, "memory"):
        pass

    assert os.listdir() == ["is_a_folder"]


def test_an_issue_that_cannot_be_written_leaves_no_program_either(tmp_path: Path) -> None:
    (tmp_path / "shows.py.md").mkdir()

    with pytest.raises(Unwritable, match="is there already"), ReproductionFiles(str(tmp_path / "shows.py")):
        pass

    assert os.listdir(tmp_path) == ["shows.py.md"]


def test_a_work_may_be_that_of_the_task_which_was_handed_out(tmp_path: Path) -> None:
    (tmp_path / "leases.py").write_text(
        "from types import SimpleNamespace\n"
        "class Harness:\n"
        "    def open(self, place): return self\n"
        "    def push(self, work): ...\n"
        "    def claim(self): return SimpleNamespace(task=SimpleNamespace(work='b'))\n"
    )
    facts = replace(FACTS, line="from leases import Harness", make="Harness()", folder=str(tmp_path))

    found = try_clause(say_broken(ORDER[0], ORDER[2]), facts, "shows.py")

    assert (found.failed, found.seen) == (3, "got 'b', expected 'a'")


def test_versions_are_of_the_packages_that_a_harness_stands_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not of what those happen to import."""
    (tmp_path / "beside_it.py").write_text("import click\n")
    (tmp_path / "stands_on.py").write_text("import json\nimport beside_it\nfrom rich.console import Console\n")
    monkeypatch.syspath_prepend(tmp_path)
    import_module("stands_on")

    assert find_packages("stands_on") == {"click", "rich"}


INTERRUPTED = """\
import sys
from lowq_conformance.report.tally import Tally
from lowq_conformance.run import command
run = Tally({target!r}, 7, frozenset(["ORDER-1"]), (), {{}})
run.planned["test"] = ("ORDER-1",)
run.saw("test", [("ORDER-1", "broken", {evidence!r})], seconds=1)
command.run = lambda *given, **more: [run.report()]
command.check([{target!r}, "--repro", "shows.py"])
"""
HANGS = """\
import os, pathlib, subprocess, sys, time
if sys.argv[0].endswith("shows.py"):
    subprocess.Popen(["sleep", "600"])
    pathlib.Path(os.environ["SEEN_HANGING"]).touch()
    time.sleep(600)
from harnesses import LastFirst
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_a_program_finds_no_process_and_no_file(tmp_path: Path, sent: signal.Signals) -> None:
    here, mark, seen = tmp_path / "here", str(tmp_path), tmp_path / "seen"
    here.mkdir()
    (tmp_path / "hangs.py").write_text(HANGS)
    path = os.pathsep.join(filter(None, [str(HARNESSES.parent), os.environ.get("PYTHONPATH", "")]))
    checking = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(target=f"{tmp_path}/hangs.py:LastFirst", evidence=ORDER[2])],
        cwd=here,
        env={**os.environ, MARK: mark, "SEEN_HANGING": str(seen), "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    end = time.monotonic() + 60
    while not seen.exists():
        assert checking.poll() is None, checking.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
    checking.send_signal(sent)
    said, _ = checking.communicate(timeout=60)

    assert checking.returncode == 130, said
    assert said.rstrip().endswith("interrupted: shows.py was not written")
    assert left_by(mark) == []
    assert os.listdir(here) == []
    assert sorted(set(os.listdir(tmp_path)) - {"__pycache__"}) == ["hangs.py", "here", "seen"]


@pytest.mark.parametrize(
    ("target", "line", "make"),
    [
        ("memory", "from lowq_conformance.subject.target import maker_of", "maker_of('memory')()"),
        (f"{HARNESSES}:LastFirst", "from harnesses import LastFirst", "LastFirst()"),
        (f"{HARNESSES}:Sound", "from harnesses import Sound", "Sound()"),
        ("conformance.harnesses:Sound", "from conformance.harnesses import Sound", "Sound()"),
    ],
)
def test_a_program_imports_the_harness_as_a_person_would(target: str, line: str, make: str) -> None:
    load(target)

    told = how_imported(target)

    assert (told["line"], told["make"]) == (line, make)


def test_a_callable_opens_the_client_itself(tmp_path: Path) -> None:
    (tmp_path / "makes_lists.py").write_text(
        "class Client:\n    def push(self, work): ...\n    def claim(self): ...\n    def ack(self, claimed): ...\n"
        "def make(place): return Client()\n"
    )
    target = f"{tmp_path}/makes_lists.py:make"
    load(target)

    told = how_imported(target)

    assert told == {"line": "from makes_lists import make", "make": "", "opens": "make", "folder": str(tmp_path)}
