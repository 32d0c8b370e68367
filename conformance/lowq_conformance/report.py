"""What a run found: clause by clause, as values, as JSON, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowq_conformance.clauses import CLAUSES, GROUPS
from lowq_conformance.judge import Fault
from lowq_conformance.verdict import Verdict, Whole, of_clauses

STYLES = {
    Verdict.KEPT: "green",
    Verdict.BROKEN: "bold red",
    Verdict.NOT_PROMISED: "dim",
    Verdict.NOT_OBSERVED: "yellow",
}
SIGNS = {Verdict.KEPT: "✓", Verdict.BROKEN: "✗", Verdict.NOT_PROMISED: "·", Verdict.NOT_OBSERVED: "?"}
EXITS: dict[Whole, int] = {"kept": 0, "broken": 1, "incomplete": 3}


@dataclass(frozen=True, slots=True)
class ClauseReport:
    """What is said of one clause, and why; `rerun` is the command that looks at it again.

    `fault` is what the judge found, its times in nanoseconds, where a history of many clients broke the clause.
    """

    id: str
    verdict: Verdict
    text: str
    evidence: str
    rerun: str
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found out about one target; `unchecked` are clauses that this version has no check for."""

    target: str
    seed: int
    seconds: float
    clauses: tuple[ClauseReport, ...]
    unchecked: tuple[str, ...] = ()
    interrupted: bool = field(default=False)

    @property
    def verdict(self) -> Whole:
        """The verdict of the whole."""
        return of_clauses(clause.verdict for clause in self.clauses)

    @property
    def exit_code(self) -> int:
        """0 kept, 1 broken, 3 incomplete."""
        return EXITS[self.verdict]

    def __getitem__(self, id: str) -> ClauseReport:
        for clause in self.clauses:
            if clause.id == id:
                return clause
        raise KeyError(id)

    def ids(self, verdict: Verdict | str) -> tuple[str, ...]:
        """The clauses of that verdict."""
        return tuple(clause.id for clause in self.clauses if clause.verdict == verdict)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "target": self.target,
            "seed": self.seed,
            "verdict": self.verdict,
            "seconds": round(self.seconds, 3),
            "clauses": [
                {
                    "id": clause.id,
                    "verdict": clause.verdict.value,
                    "text": clause.text,
                    "evidence": clause.evidence,
                    "rerun": clause.rerun,
                }
                for clause in self.clauses
            ],
        }


def worst(reports: Sequence[Report]) -> int:
    """The exit code of several reports: broken before incomplete before kept."""
    codes = {report.exit_code for report in reports}
    return next((code for code in (1, 3) if code in codes), 0)


def show(reports: Sequence[Report], console: Console) -> None:
    """The table, and below it each broken or unseen clause with its evidence."""
    console.print(_matrix(reports) if len(reports) > 1 else _table(reports[0]))
    for report in reports:
        for clause in report.clauses:
            if clause.verdict is Verdict.BROKEN:
                _show_broken(report, clause, console, many=len(reports) > 1)
    for report in reports:
        _show_sum(report, console)


def _table(report: Report) -> Table:
    table = Table(title=f"{report.target}, seed {report.seed}", title_justify="left", box=None, pad_edge=False)
    table.add_column("clause", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("promise")
    for group, title in GROUPS.items():
        clauses = [clause for clause in report.clauses if CLAUSES[clause.id].group == group]
        if clauses:
            table.add_row("", "", Text(title, style="bold"))
        for clause in clauses:
            words = Text(clause.text)
            if clause.verdict in (Verdict.NOT_OBSERVED, Verdict.NOT_PROMISED) and clause.evidence:
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


def _show_broken(report: Report, clause: ClauseReport, console: Console, *, many: bool) -> None:
    console.print()
    console.print(Text(f"✗ {clause.id}{f' of {report.target}' if many else ''}: {clause.text}", style="bold red"))
    console.print()
    for line in clause.evidence.splitlines():
        console.print(Text(f"    {line}"), soft_wrap=True)
    console.print()
    console.print(Text(f"  again: {clause.rerun}", style="dim"), soft_wrap=True)


def _show_sum(report: Report, console: Console) -> None:
    counts = ", ".join(f"{len(report.ids(verdict))} {verdict}" for verdict in Verdict if report.ids(verdict))
    style = {"kept": "bold green", "broken": "bold red", "incomplete": "bold yellow"}[report.verdict]
    console.print()
    sentence = Text.assemble((f"{report.target}: {report.verdict}", style), f" ({counts}) in {report.seconds:.1f} s")
    if report.interrupted:
        sentence.append("; interrupted")
    console.print(sentence, soft_wrap=True)
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
