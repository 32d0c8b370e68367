"""The pages of docs/ are true: their programs run, their queues get the verdicts that the pages show."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import click
import pytest
from nested import environment

from lowq import Counts, open_backend
from lowq.cli import commands
from lowq.worker.worker import GRACE

DOCS = Path(__file__).parent.parent / "docs"
ELSEWHERE = {"testing.md", "peers.md"}
"""Pages whose programs are run by other tests."""

BLOCK = re.compile(r"(?:<!-- ([^\n]+) -->\n)?^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the comment in the line above it."""

    comment: str
    indented: bool
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(comment or "", bool(indent), language, text) for comment, indent, language, text in found]


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name not in ELSEWHERE]
PROGRAMS = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]


INLINE = re.compile(r"(?<!`)`(?!`)([^`]+)`")
SHOWN = [
    *PAGES,
    DOCS / "peers.md",
    DOCS / "testing.md",
    *(DOCS.parent / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md", "conformance/README.md")),
]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    tool = {"python": [], "pytest": ["-m", "pytest"], "lowq": ["-m", "lowq"]}[command[0]]
    return subprocess.run(
        [sys.executable, *tool, *command[1:]],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.stem)
def test_the_programs_of_a_page_run(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "python" and not block.indented:  # those are of other packages, to compare
            word, _, what = block.comment.partition(": ")
            assert word in ("run", "file"), f"{page.name}: no test runs this:\n{block.text}"
            command = shlex.split(what)
            (name,) = (each for each in command if each.endswith(".py"))
            (tmp_path / name).write_text(block.text, encoding="utf-8")
            if word == "file":
                compile(block.text, name, "exec")
            elif "flask" not in name or find_spec("flask"):
                done = run(command, tmp_path)
                assert done.returncode == 0, f"{page.name}: {what}\n{done.stdout}{done.stderr}"
        elif block.comment == "shell":
            for line in block.text.splitlines():
                done = run(shlex.split(line.removeprefix("$ ")), tmp_path)
                assert done.returncode == 0, f"{page.name}: {line}\n{done.stdout}{done.stderr}"


def test_the_queue_of_the_page_on_checking_is_broken_and_mended_as_it_says(tmp_path: Path) -> None:
    for block in blocks(DOCS / "check.md"):
        if block.comment.startswith("file: "):
            (tmp_path / block.comment.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
    only = ["--quick", "--seed", "1", "--only", "DELIVER-3,ORDER-1,KEEP-1,LEASE"]

    shown = (tmp_path / "shows.py").read_text()
    (tmp_path / "shows.py").unlink()

    broken = run(["lowq", "check", "mine.py:Harness", *only, "--repro", "shows.py"], tmp_path)
    mended = run(["lowq", "check", "mended.py:Harness", *only], tmp_path)

    assert re.findall(r"^✗ (\S+):", broken.stdout, re.M) == ["LEASE-4", "LEASE-9", "LEASE-11"]
    written = (tmp_path / "shows.py").read_text()
    assert ast.dump(ast.parse(written)) == ast.dump(ast.parse(shown))  # whatever quotes a formatter likes
    assert (mended.returncode, re.findall(r"broken", mended.stdout)) == (0, []), mended.stdout


def test_the_pictures_show_what_the_commands_say() -> None:
    verdict = (DOCS / "img" / "verdict.svg").read_text(encoding="utf-8")
    timeline = (DOCS / "img" / "counterexample.svg").read_text(encoding="utf-8")

    words = verdict.replace("&#160;", " ")
    assert all(each in words for each in ("LEASE-4", "expected it to be refused", "✗ broken", "✓ kept"))
    assert "claim" in timeline
    assert "http" not in re.sub(
        r'xmlns="[^"]*"', "", verdict.replace("https://www.textualize.io", "")
    ) + timeline.replace("http://www.w3.org/2000/svg", "")


def test_nothing_on_the_site_comes_from_elsewhere() -> None:
    config = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")

    assert re.search(r"^  font: false", config, re.M)
    assert "http" not in config


def lines(page: Path) -> Iterator[tuple[str, bool]]:
    """What a page shows of a shell, each with whether it is a line of its own; else it is said in a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        if block.language not in ("python", "javascript", "json", "sql"):
            for line in block.text.replace("\\\n", " ").splitlines():
                yield (shlex.join(json.loads(line[4:])) if line.startswith("CMD [") else line), True
    for said in INLINE.findall(BLOCK.sub("", text)):
        if re.match(r"(\$ )?lowq [^C]", said):
            yield " ".join(said.split()), False


def commands_of(line: str) -> Iterator[list[str]]:
    """The arguments of each `lowq` in a line of a shell; ``…`` stands for any."""
    splitter = shlex.shlex(line, posix=True, punctuation_chars=True)
    splitter.whitespace_split = True
    found: list[str] | None = None
    for word in [*splitter, ";"]:
        if word.rpartition("/")[2].rpartition("=")[2] == "lowq":
            found = []
        elif found is not None and set(word) <= set("();<>|&"):
            if found:  # otherwise it is what is installed
                yield found
            found = None
        elif found is not None:
            found.append("1" if word == "…" else word)


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one_that_lowq_knows(page: Path) -> None:
    for line, alone in lines(page):
        for arguments in commands_of(line) if "lowq" in line else ():
            try:
                name, command, rest = commands.resolve_command(click.Context(commands), arguments)
                assert command is not None
                command.make_context(name, rest)
            except click.exceptions.Exit:  # --help
                pass
            except click.UsageError as error:
                if alone or not isinstance(error, click.MissingParameter):
                    pytest.fail(f"{page.name}: {line}: {error.format_message()}")


def test_what_is_no_command_would_be_found() -> None:
    (found,) = commands_of("X=1 .venv/bin/lowq work --patience 3 'a b' 2>&1 | logger  # lowq too")

    assert found == ["work", "--patience", "3", "a b", "2"]
    with pytest.raises(click.NoSuchOption):
        commands.commands["work"].make_context("work", found[1:])


SHOP = """
from lowq import task_queue

@task_queue("jobs.db", name="mail")
def send(queue, work):
    print("sent", work)
"""


def test_the_line_for_cron_runs_what_is_due_in_crons_bare_environment(tmp_path: Path) -> None:
    (line,) = (line for block in blocks(DOCS / "run.md") for line in block.text.splitlines() if "* * *" in line)
    command = line.split(maxsplit=5)[5]
    assert "%" not in command  # which is a line's end to cron
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, text in (("lowq", f'exec "{sys.executable}" -m lowq "$@"'), ("logger", "exec cat")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    with closing(open_backend(tmp_path / "jobs.db", name="mail")) as queue:
        queue.push("Grüße")
        done = subprocess.run(
            ["/bin/sh", "-c", command.replace("/srv/shop", shlex.quote(str(tmp_path)))],
            env={"HOME": str(tmp_path), "LOGNAME": "shop", "SHELL": "/bin/sh", "PATH": f"{tools}:/usr/bin:/bin"},
            cwd="/", capture_output=True, timeout=180, check=False,
        )  # fmt: skip
        left = queue.count()

    assert left == Counts(), done
    assert (done.stderr, b"1 ready" in done.stdout, b"1 done" in done.stdout) == (b"", True, True)


def test_the_unit_is_one_to_systemd_and_leaves_the_worker_the_time_that_it_takes(tmp_path: Path) -> None:
    (unit,) = (block.text for block in blocks(DOCS / "run.md") if block.language == "ini")
    read = RawConfigParser()
    read.read_string(unit)
    command = shlex.split(read["Service"]["ExecStart"])

    assert timedelta(seconds=int(read["Service"]["TimeoutStopSec"])) > GRACE + timedelta(seconds=3)
    assert int(read["Service"]["RestartSec"]) * 5 > 10  # systemd gives up after five starts in ten seconds
    if tool := shutil.which("systemd-analyze"):
        here = tmp_path / "shop-worker.service"
        here.write_text(unit.replace(command[0], os.path.realpath("/bin/sh")), encoding="utf-8")
        said = subprocess.run([tool, "verify", str(here)], capture_output=True, text=True, timeout=60, check=False)
        assert [line for line in said.stderr.splitlines() if "shop-worker" in line] == []
