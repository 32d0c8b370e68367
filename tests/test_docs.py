"""The pages of docs/ are true: their programs run, their queues get the verdicts that the pages show."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from nested import environment

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
