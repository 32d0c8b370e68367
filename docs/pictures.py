"""Makes the pictures of the README and the site, by really running what they show: `python docs/pictures.py`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
ONLY = "DELIVER-3,ORDER-1,LEASE-1,LEASE-2,LEASE-4,KEEP-1"
COLOURS = """:root { --back: #ffffff; --fore: #1b1d21; --dim: #5a6068; --line: #d5d9de; --broken: #b3201a;
  --bar: #dfe8f5; --edge: #40618f; --guilty: #fbdedc; }
@media (prefers-color-scheme: dark) { :root { --back: #15171b; --fore: #e7e9ec; --dim: #a4abb5; --line: #3a4049;
  --broken: #ff948b; --bar: #26354a; --edge: #86a9d8; --guilty: #57211f; } }"""


def lowq(*arguments: str, folder: Path) -> str:
    """What the command wrote, with its colours."""
    return subprocess.run(
        [sys.executable, "-m", "lowq", *arguments],
        cwd=folder,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "86"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    ).stdout


def draw_verdict(folder: Path) -> None:
    """`img/verdict.svg`: the verdict on the queue of check.md, and what breaks its promise."""
    (program,) = re.findall(r"<!-- file: mine\.py -->\n```python\n(.*?)```", (DOCS / "check.md").read_text(), re.S)
    (folder / "mine.py").write_text(program)
    output = lowq("check", "mine.py:Harness", "--quick", "--seed", "1", "--only", ONLY, folder=folder)
    console = Console(record=True, width=86, file=StringIO(), force_terminal=True)
    console.print(Text("$ lowq check mine.py:Harness", style="bold"))
    console.print(Text.from_ansi(output))
    svg = console.export_svg(title="lowq check", font_aspect_ratio=0.61)
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.S)  # the fonts are the reader's own
    svg = svg.replace("Fira Code", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono")
    (DOCS / "img" / "verdict.svg").write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")


def draw_counterexample(folder: Path) -> None:
    """`img/counterexample.svg`: the timeline that `--html` draws of a history in which a task was claimed twice."""
    page = folder / "page.html"
    lowq("check", "--history", str(DOCS.parent / "examples/histories/bad.jsonl"), "--html", str(page), folder=folder)
    text = page.read_text()
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    svg = re.findall(r"<svg.*?</svg>", text, re.S)[0]
    rules = "\n".join(line for line in style.splitlines() if line.startswith("svg"))
    inside = f'<style>{COLOURS}\n{rules}</style><rect width="100%" height="100%" fill="var(--back)"/>'
    head, rest = svg.split(">", 1)
    head = re.sub(r' aria-describedby="[^"]*"', "", head)
    (DOCS / "img" / "counterexample.svg").write_text(f'{head} xmlns="http://www.w3.org/2000/svg">{inside}{rest}\n')


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        (DOCS / "img").mkdir(exist_ok=True)
        draw_verdict(Path(made))
        draw_counterexample(Path(made))
