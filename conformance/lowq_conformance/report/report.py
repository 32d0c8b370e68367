"""What a run found: clause by clause, as values, as JSON, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowq_conformance.contract.clauses import CLAUSES, GROUPS
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.verdict import Verdict, Whole, of_clauses
from lowq_conformance.history.counterexample import Counterexample

STYLES = {
    Verdict.KEPT: "green",
    Verdict.BROKEN: "bold red",
    Verdict.NOT_PROMISED: "dim",
    Verdict.NOT_OBSERVED: "yellow",
}
SIGNS = {Verdict.KEPT: "✓", Verdict.BROKEN: "✗", Verdict.NOT_PROMISED: "·", Verdict.NOT_OBSERVED: "?"}
EXITS: dict[Whole, int] = {"kept": 0, "broken": 1, "incomplete": 3}
UNUSABLE = 2


@dataclass(frozen=True, slots=True)
class ClauseReport:
    """What is said of one clause, and why; `rerun` is the command that looks at it again.

    `fault` is what the judge found, its times in nanoseconds, where a history of many clients broke the clause;
    `grounds` what stands behind one that many clients kept. `seed` is the one that found what is told.
    """

    id: str
    verdict: Verdict
    text: str
    evidence: str
    rerun: str
    fault: Counterexample | None = None
    grounds: Effort | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found out about one target; `unchecked` are clauses that this version has no check for.

    `seeds` are how many it was made with, from `seed` on; `ended` says why it stopped before its end, `trouble` what
    the harness did that nobody can check, in one line.
    """

    target: str
    seed: int
    seconds: float
    clauses: tuple[ClauseReport, ...]
    unchecked: tuple[str, ...] = ()
    interrupted: bool = field(default=False)
    profile: str = "default"
    seeds: int = 1
    ended: str = ""
    trouble: str = ""

    @property
    def verdict(self) -> Whole:
        """The verdict of the whole."""
        return of_clauses(clause.verdict for clause in self.clauses)

    @property
    def exit_code(self) -> int:
        """0 kept, 1 broken, 3 incomplete, 2 where the harness made trouble."""
        return UNUSABLE if self.trouble else EXITS[self.verdict]

    def __getitem__(self, id: str) -> ClauseReport:
        for clause in self.clauses:
            if clause.id == id:
                return clause
        raise KeyError(id)

    def ids(self, verdict: Verdict | str) -> tuple[str, ...]:
        """The clauses of that verdict."""
        return tuple(clause.id for clause in self.clauses if clause.verdict == verdict)

    def breaks(self) -> list[list[ClauseReport]]:
        """The broken clauses, those together that one and the same proof breaks."""
        found: dict[str, list[ClauseReport]] = {}
        for clause in self.clauses:
            if clause.verdict is Verdict.BROKEN:
                found.setdefault(clause.evidence or clause.id, []).append(clause)
        return list(found.values())

    def spread(self) -> str:
        """The seeds in words: ``seed 7``, ``seeds 7 to 9``."""
        return f"seed {self.seed}" if self.seeds == 1 else f"seeds {self.seed} to {self.seed + self.seeds - 1}"

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "target": self.target,
            "seed": self.seed,
            "seeds": self.seeds,
            "profile": self.profile,
            "verdict": self.verdict,
            "interrupted": self.interrupted,
            "ended": self.ended,
            "trouble": self.trouble,
            "seconds": round(self.seconds, 3),
            "clauses": [
                {
                    "id": clause.id,
                    "verdict": clause.verdict.value,
                    "text": clause.text,
                    "evidence": clause.evidence,
                    "grounds": None if clause.grounds is None else clause.grounds.as_json(),
                    "seed": clause.seed,
                    "rerun": clause.rerun,
                }
                for clause in self.clauses
            ],
        }


def worst(reports: Sequence[Report]) -> int:
    """The exit code of several reports: trouble with a harness before broken before incomplete before kept."""
    codes = {report.exit_code for report in reports}
    return next((code for code in (UNUSABLE, 1, 3) if code in codes), 0)


def show(reports: Sequence[Report], console: Console) -> None:
    """The table, and below it what broke clauses, each proof once."""
    console.print(_matrix(reports) if len(reports) > 1 else _table(reports[0]))
    for report in reports:
        for clauses in report.breaks():
            _show_broken(report, clauses, console, many=len(reports) > 1)
    for report in reports:
        _show_sum(report, console)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.target}, {report.spread()}", title_justify="left", box=None, pad_edge=False)
    table.add_column("clause", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("promise")
    for group, title in GROUPS.items():
        clauses = [clause for clause in report.clauses if CLAUSES[clause.id].group == group]
        if clauses:
            table.add_row("", "", Text(title, style="bold"))
        for clause in clauses:
            words = Text(clause.text)
            if clause.verdict is not Verdict.BROKEN and clause.evidence:
                words.append(f" ({clause.evidence})", style="dim")
            table.add_row(clause.id, _sign(clause.verdict), words)
    return table


def _matrix(reports: Sequence[Report]) -> Table:
    table = Table(title=f"seed {reports[0].seed}", title_justify="left", box=None, pad_edge=False)
    table.add_column("clause", no_wrap=True)
    for report in reports:
        table.add_column(report.target, overflow="fold")
    table.add_column("promise")
    by_target = [{clause.id: clause for clause in report.clauses} for report in reports]
    for id, clause in CLAUSES.items():
        if any(id in clauses for clauses in by_target):
            cells = [_sign(clauses[id].verdict) if id in clauses else Text("") for clauses in by_target]
            table.add_row(id, *cells, clause.text)
    return table


def _sign(verdict: Verdict) -> Text:
    return Text(f"{SIGNS[verdict]} {verdict}", style=STYLES[verdict])


def _show_broken(report: Report, clauses: Sequence[ClauseReport], console: Console, *, many: bool) -> None:
    console.print()
    for clause in clauses:
        of = f" of {report.target}" if many else ""
        console.print(Text(f"✗ {clause.id}{of}: {clause.text}", style="bold red"))
    console.print()
    for line in clauses[0].evidence.splitlines():
        console.print(Text(f"    {line}"), soft_wrap=True)
    console.print()
    console.print(Text(f"  again: {clauses[0].rerun}", style="dim"), soft_wrap=True)


def _show_sum(report: Report, console: Console) -> None:
    counts = ", ".join(f"{len(report.ids(verdict))} {verdict}" for verdict in Verdict if report.ids(verdict))
    style = {"kept": "bold green", "broken": "bold red", "incomplete": "bold yellow"}[report.verdict]
    console.print()
    sentence = Text.assemble((f"{report.target}: {report.verdict}", style), f" ({counts}) in {report.seconds:.1f} s")
    if report.seeds > 1:
        sentence.append(f", {report.seeds} seeds: {report.seed} to {report.seed + report.seeds - 1}")
    if report.interrupted:
        sentence.append("; interrupted")
    elif report.ended:
        sentence.append(f"; {report.ended}")
    console.print(sentence, soft_wrap=True)
    if report.trouble:
        console.print(Text(f"{report.target} cannot be checked to the end: {report.trouble}", style="bold red"))
    if report.unchecked:
        console.print(
            Text(f"Not checked by this version, and no part of the verdict: {ranges(report.unchecked)}", style="dim")
        )


def ranges(ids: Sequence[str]) -> str:
    """Clause ids, short: ``DELIVER-6, RACE-1 to 7``."""
    runs: list[tuple[str, int, int]] = []
    for id in ids:
        group, _, number = id.partition("-")
        if runs and runs[-1][0] == group and runs[-1][2] == int(number) - 1:
            runs[-1] = (group, runs[-1][1], int(number))
        else:
            runs.append((group, int(number), int(number)))
    return ", ".join(f"{group}-{first}" + (f" to {last}" if last > first else "") for group, first, last in runs)
