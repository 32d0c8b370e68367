"""Collects each test's verdict per clause and folds them into a report."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.known import Fault, spell
from lowq_conformance.contract.profile import DEFAULT, Profile
from lowq_conformance.contract.verdict import Verdict, of_sides
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.report.report import ClauseReport, Report
from lowq_conformance.sweep.schedule import STOPPED

UNSEEN = "no test of it came to an end"


class TestVerdict(NamedTuple):
    """A clause, a verdict and the evidence for it; `fault` is that of the judge and `effort` what stands behind a
    clause that was kept by many clients, both as JSON; `schedule` is the one that breaks it, where that is known."""

    clause: str
    verdict: str
    evidence: str
    fault: dict[str, Any] | None = None
    effort: dict[str, Any] | None = None
    schedule: str = ""


@dataclass(slots=True)
class Tally:
    """One run over one target: what was asked, what is planned, and what the tests said so far.

    `lacks` are the clauses that take a promise which was not made, and that promise; `known` the faults that are
    known, by clause, those that the command `stated` among them; `planned` the tests, each with the clauses that it
    alone must have seen to the end; `expected` how many tests are to say something, with all seeds, and `lengths`
    how many seconds they took; `took` are the seconds of a run that is over. `schedule` is the one that is to be made
    again, where there is one; `doing` is what is done now, in words, and `hint` what is odd about it. What was not
    seen is so because it was `interrupted`, because the run `ended` for that reason, or because of the `trouble` that
    the harness made.
    """

    target: str
    seed: int
    selected: frozenset[str]
    promised: tuple[str, ...]
    lacks: Mapping[str, str] = field(default_factory=dict)
    stated: Mapping[str, Fault] = field(default_factory=dict)
    known: Mapping[str, Fault] = field(default_factory=dict)
    planned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    profile: Profile = DEFAULT
    schedule: str = ""
    doing: str = ""
    hint: str = ""
    sides: dict[tuple[str, int], list[TestVerdict]] = field(default_factory=dict)
    lengths: dict[tuple[str, int], float] = field(default_factory=dict)
    expected: int = 0
    seeds: int = 1
    started: float = field(default_factory=time.monotonic)
    took: float | None = None
    interrupted: bool = False
    ended: str = ""
    trouble: str = ""

    def saw(self, test: str, sides: Iterable[Iterable[Any]], seed: int | None = None, seconds: float = 0.0) -> None:
        """The test said this with the seed, or that of the run, and took so long; it counts once, however often it is
        told."""
        at = (test, self.seed if seed is None else seed)
        self.sides[at], self.lengths[at] = [TestVerdict(*side) for side in sides], seconds

    def tests(self, seed: int) -> list[str]:
        """The tests that have said something with this seed."""
        return [test for test, said in self.sides if said == seed]

    def find_broken(self) -> frozenset[str]:
        """The clauses asked for that a test has found broken; what is seen of others is not told."""
        sides = (side for said in self.sides.values() for side in said)
        return self.selected.intersection(side.clause for side in sides if side.verdict == Verdict.BROKEN)

    def find_unknown(self) -> frozenset[str]:
        """The broken clauses of which no fault is known."""
        return self.find_broken().difference(self.known)

    def end(self) -> None:
        """The run is over, and took as long as it did until now."""
        self.took = time.monotonic() - self.started

    def report(self) -> Report:
        """What is known so far."""
        ids = [id for id in CLAUSES if id in self.selected]
        collected = self._collect()
        return Report(
            self.target,
            self.seed,
            time.monotonic() - self.started if self.took is None else self.took,
            tuple(self._judge(id, collected.get(id, [])) for id in ids if CLAUSES[id].checked),
            tuple(id for id in ids if not CLAUSES[id].checked),
            self.interrupted,
            profile=self.profile.name,
            seeds=self.seeds,
            ended=self.ended,
            trouble=self.trouble,
        )

    def _judge(self, id: str, said: list[tuple[int, TestVerdict]]) -> ClauseReport:
        unfinished = any(id in ids and (test, self.seed) not in self.sides for test, ids in self.planned.items())
        if id in self.lacks:
            said = said or [(self.seed, TestVerdict(id, Verdict.NOT_PROMISED, f"needs {self.lacks[id]}"))]
        elif unfinished or not said:
            why = "the run was interrupted" if self.interrupted else self.ended or self.trouble.split("\n")[0]
            said.append((self.seed, TestVerdict(id, Verdict.NOT_OBSERVED, why or UNSEEN)))
        verdict = of_sides(Verdict(side.verdict) for _, side in said)
        fault = self.known.get(id)
        final = verdict if fault is None else fault.judge(verdict, in_part=bool(self.schedule))
        telling = [(seed, side) for seed, side in said if side.verdict == verdict and side.evidence]
        seed, shown = min(  # a schedule shows it again in every run
            telling,
            key=lambda each: (not each[1].schedule, _asks_for_more(each[1]), len(each[1].evidence)),
            default=(self.seed, TestVerdict(id, verdict, "")),
        )
        effort = [Effort(**side.effort) for _, side in said if verdict is Verdict.KEPT and side.effort is not None]
        behind = Effort.together(effort) if effort else None
        return ClauseReport(
            id,
            final,
            CLAUSES[id].text,
            shown.evidence if behind is None else str(behind),
            self._rerun(id, seed, shown.schedule),
            None if shown.fault is None else Counterexample.of_json(shown.fault),
            behind,
            seed,
            fault,
            sum(length for (test, _), length in self.lengths.items() if id in self.planned.get(test, ())),
        )

    def _collect(self) -> dict[str, list[tuple[int, TestVerdict]]]:
        """What each test said of each clause, by the seed; what one seed has shown, another need not show again."""
        by_test: dict[tuple[str, str], list[tuple[int, TestVerdict]]] = {}
        for (test, seed), sides in self.sides.items():
            for side in sides:
                by_test.setdefault((side.clause, test), []).append((seed, side))
        collected: dict[str, list[tuple[int, TestVerdict]]] = {}
        for (id, _), said in by_test.items():
            kept = any(side.verdict == Verdict.KEPT for _, side in said)
            collected.setdefault(id, []).extend(
                each for each in said if not (kept and each[1].verdict == Verdict.NOT_OBSERVED)
            )
        return collected

    def _rerun(self, id: str, seed: int, schedule: str) -> str:
        """The command that looks at one clause again, or makes one schedule."""
        more = [part for promise in self.promised for part in ("--promise", promise)]
        if id in self.stated:
            more += [part for word, said in spell({id: self.stated[id]}) for part in (f"--{word}", said)]
        if self.profile is not DEFAULT and (not schedule or schedule.endswith(f",{STOPPED}")):
            more.append(f"--{self.profile.name}")  # which says how long somebody stands still
        if schedule:
            return shlex.join(["lowq", "check", self.target, "--schedule", schedule, *more])
        return shlex.join(["lowq", "check", self.target, "--only", id, "--seed", str(seed), *more])


def _asks_for_more(side: TestVerdict) -> bool:
    """Whether it tells only that a test asks for promises beside the clause's own."""
    return side.verdict == Verdict.NOT_PROMISED and side.evidence.startswith("needs ")
