"""What a program against a harness must know of it, and the first lines of every such program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lowq_conformance.report.report import ClauseReport


class NoProgram(Exception):
    """No program can show it; the text says why."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a harness.

    `line` imports it and `make` is the expression that makes it; where `make` is empty, `opens` is a callable that
    opens a client without one. `folder` is where its module is, if that must be said. `lease`: whether a claim takes
    the length of a lease; `seconds`: how long one is in a race; `versions` are of what it stands on.
    """

    line: str
    make: str
    folder: str | None
    asynchronous: bool
    only_pushes: bool
    promises: frozenset[str]
    lease: bool
    seconds: float
    pass_time: bool
    now: bool
    versions: dict[str, str]
    opens: str = "harness.open"


def parse_facts(told: dict[str, Any]) -> Facts:
    """What a probe told."""
    return Facts(**{**told, "promises": frozenset(told["promises"])})


def write_head(clause: ClauseReport, facts: Facts, imports: Iterable[str]) -> str:
    """The first lines of a program: what it shows, what it imports, and the harness."""
    ours = [facts.line]
    theirs = {*imports, "import tempfile", "from pathlib import Path"}
    if "from lowq import Item" in theirs:
        theirs.remove("from lowq import Item")
        ours = sorted([*ours, "from lowq import Item"])
    lines = [f'"""{clause.id}: {clause.text}."""', "", *sorted(theirs, key=lambda line: (line[0] == "f", line))]
    lines += ["", *ours, ""]
    return "\n".join([*lines, *([f"harness = {facts.make}"] if facts.make else [])])
