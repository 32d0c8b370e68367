"""The sides of a clause: what each test said of it, and the report they come to."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lowq_conformance.clauses import CLAUSES
from lowq_conformance.judge import Fault
from lowq_conformance.report import ClauseReport, Report
from lowq_conformance.verdict import Verdict, of_sides


class Side(NamedTuple):
    """A clause, a verdict and the evidence for it; `fault` is that of the judge, as JSON."""

    clause: str
    verdict: str
    evidence: str
    fault: dict[str, Any] | None = None


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

    def saw(self, test: str, sides: Iterable[Iterable[Any]]) -> None:
        """The test said this; it counts once, however often it is told."""
        self.sides[test] = [Side(*side) for side in sides]

    def broken(self) -> frozenset[str]:
        """The clauses that a test has found broken."""
        return frozenset(s.clause for sides in self.sides.values() for s in sides if s.verdict == Verdict.BROKEN)

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
        said = [side for sides in self.sides.values() for side in sides if side.clause == id]
        unfinished = any(id in ids and test not in self.sides for test, ids in self.planned.items())
        if id in self.lacks:
            said = said or [Side(id, Verdict.NOT_PROMISED, f"needs {self.lacks[id]}")]
        elif unfinished or not said:
            said.append(Side(id, Verdict.NOT_OBSERVED, "no test of it came to an end"))
        verdict = of_sides(Verdict(side.verdict) for side in said)
        telling = (side for side in said if side.verdict == verdict and side.evidence)
        shown = min(telling, key=lambda side: len(side.evidence), default=Side(id, verdict, ""))
        fault = None if shown.fault is None else Fault.of_json(shown.fault)
        return ClauseReport(id, verdict, CLAUSES[id].text, shown.evidence, self._rerun(id), fault)

    def _rerun(self, id: str) -> str:
        """The command that looks at one clause again."""
        more = [part for promise in self.promised for part in ("--promise", promise)]
        return shlex.join(["lowq", "check", self.target, "--only", id, "--seed", str(self.seed), *more])
