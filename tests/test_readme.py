"""The README is true: its programs run, its links lead somewhere, its commands are the ones that the gate runs."""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from nested import environment

import lowq

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comment in the line above it."""

    comment: str
    language: str
    text: str


BLOCKS = [
    Block(comment or "", language, text)
    for comment, language, text in re.findall(r"(?:<!-- ([^\n]+) -->\n)?```(\w+)\n(.*?)^```$", README, re.M | re.S)
]
PROGRAMS = [block for block in BLOCKS if block.language == "python"]


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """The block is written to the file that its comment names, and the comment's command was run beside it."""
    command = shlex.split(block.comment.removeprefix("run: "))
    (file,) = (word.partition(":")[0] for word in command if ".py" in word)
    (folder / file).write_text(block.text, encoding="utf-8")
    tool = {"python": [], "pytest": ["-m", "pytest"], "lowq": ["-m", "lowq"]}[command[0]]
    return subprocess.run(
        [sys.executable, *tool, *command[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def test_every_python_block_says_how_it_is_run() -> None:
    assert PROGRAMS
    assert [block.text for block in PROGRAMS if not block.comment.startswith("run: ")] == []


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.comment)
def test_every_program_of_the_readme_runs(block: Block, tmp_path: Path) -> None:
    done = run(block, tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_first_program_has_ten_lines_and_its_worker_greets_everybody(tmp_path: Path) -> None:
    block = PROGRAMS[0]
    lines = [line for line in block.text.splitlines() if line.strip()]

    done = run(block, tmp_path)

    assert len(lines) <= 10
    assert done.returncode == 0, done.stdout + done.stderr
    queue = lowq.open_backend(tmp_path / "jobs.db")
    left = lowq.SystemClock().countdown(timedelta(seconds=60))
    while queue.count() != lowq.Counts() and left() > timedelta(0):
        lowq.SystemClock().sleep(timedelta(milliseconds=20))
    queue.close()
    greetings = {file.name: file.read_text() for file in tmp_path.iterdir() if file.name in {"Ada", "Grace"}}
    assert greetings == {"Ada": "Hello, Ada!", "Grace": "Hello, Grace!"}


@pytest.mark.parametrize("name", ["check", "serve", "tests"])
def test_a_command_is_one_line_that_sets_itself_up(name: str) -> None:
    (block,) = (block for block in BLOCKS if block.comment == f"command: {name}")

    (line,) = block.text.splitlines()

    assert line.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_gate_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (function,) = re.findall(r"^readme_command\(\) \{$.*?^\}$", script, re.M | re.S)
    commands = {
        block.comment.removeprefix("command: "): block.text for block in BLOCKS if "command: " in block.comment
    }

    extracted = {
        name: subprocess.run(
            ["bash", "-c", f'{function}\nreadme_command "$1" "$2"', "bash", name, str(ROOT)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in commands
    }

    assert extracted == commands
    assert "run_readme check" in script
    assert "run_readme tests" in script


def test_every_link_to_a_file_leads_to_one() -> None:
    targets = re.findall(r"\]\(([^)#]+)", README)

    assert targets
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []
