"""The sides of a clause: what each test said of it, and the report they come to."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from lowq_conformance.clauses import CLAUSES
from lowq_conformance.report import ClauseReport, Report
from lowq_conformance.verdict import Verdict, of_sides

Side = tuple[str, str, str]
"""A clause, a verdict and the evidence for it."""


@dataclass(slots=True)
class Run:
    """One run over one target: what was asked, what is planned, and what the tests said so far.

    `lacks` are the clauses that take a promise which was not made, and that promise; `planned` the tests, each with
    the clauses that it alone must have seen to the end.
    """

    target: str
    seed: int
    selected: frozenset[str]
    promised: tuple[str, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)
    planned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sides: dict[str, list[Side]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    interrupted: bool = False

    def saw(self, test: str, sides: list[Side]) -> None:
        """The test said this; it counts once, however often it is told."""
        self.sides[test] = [(id, verdict, evidence) for id, verdict, evidence in sides]

    def broken(self) -> frozenset[str]:
        """The clauses that a test has found broken."""
        return frozenset(id for sides in self.sides.values() for id, verdict, _ in sides if verdict == Verdict.BROKEN)

    def report(self) -> Report:
        """What is known so far."""
        ids = [id for id in CLAUSES if id in self.selected]
        return Report(
            self.target,
            self.seed,
            time.monotonic() - self.started,
            tuple(self._judged(id) for id in ids if CLAUSES[id].checked),
            tuple(id for id in ids if not CLAUSES[id].checked),
            self.interrupted,
        )

    def _judged(self, id: str) -> ClauseReport:
        said = [
            (Verdict(verdict), evidence)
            for sides in self.sides.values()
            for each, verdict, evidence in sides
            if each == id
        ]
        unfinished = any(id in ids and test not in self.sides for test, ids in self.planned.items())
        if id in self.lacks:
            said = said or [(Verdict.NOT_PROMISED, f"needs {self.lacks[id]}")]
        elif unfinished or not said:
            said.append((Verdict.NOT_OBSERVED, "no test of it came to an end"))
        verdict = of_sides(verdict for verdict, _ in said)
        evidence = min((text for each, text in said if each is verdict and text), key=len, default="")
        return ClauseReport(id, verdict, CLAUSES[id].text, evidence, self._rerun(id))

    def _rerun(self, id: str) -> str:
        """The command that looks at one clause again."""
        more = [part for promise in self.promised for part in ("--promise", promise)]
        return shlex.join(["lowq", "check", self.target, "--only", id, "--seed", str(self.seed), *more])
