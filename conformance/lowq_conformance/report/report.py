"""What a run found: clause by clause, as values, as JSON, and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowq_conformance.contract.clauses import CLAUSES, GROUPS
from lowq_conformance.contract.effort import Effort, count_of
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.verdict import Verdict, Whole, of_clauses
from lowq_conformance.history.counterexample import Counterexample

STYLES = {
    Verdict.KEPT: "green",
    Verdict.BROKEN: "bold red",
    Verdict.NOT_PROMISED: "dim",
    Verdict.NOT_OBSERVED: "yellow",
    Verdict.KNOWN: "yellow",
    Verdict.MENDED: "bold red",
}
SIGNS = {
    Verdict.KEPT: "✓",
    Verdict.BROKEN: "✗",
    Verdict.NOT_PROMISED: "·",
    Verdict.NOT_OBSERVED: "?",
    Verdict.KNOWN: "~",
    Verdict.MENDED: "!",
}
WHOLE_STYLES: dict[Whole, str] = {
    "kept": "bold green",
    "known": "bold green",
    "broken": "bold red",
    "mended": "bold red",
    "incomplete": "bold yellow",
}
EXITS: dict[Whole, int] = {"kept": 0, "known": 0, "broken": 1, "mended": 1, "incomplete": 3}
TAKE_IT_OUT = "no longer broken: take it out of what is known"
UNUSABLE = 2


@dataclass(frozen=True, slots=True)
class ClauseReport:
    """What is said of one clause, and why; `rerun` is the command that looks at it again.

    `fault` is what the judge found, its times in nanoseconds, where a history of many clients broke the clause;
    `effort` what stands behind one that many clients kept. `seed` is the one that found what is told; `known` is the
    fault that is known of the clause, and `seconds` are what its own tests took.
    """

    id: str
    verdict: Verdict
    text: str
    evidence: str
    rerun: str
    fault: Counterexample | None = None
    effort: Effort | None = None
    seed: int = 0
    known: Fault | None = None
    seconds: float = 0.0

    @property
    def remark(self) -> str:
        """What is said beside the words of a clause: what proves a broken one is not."""
        if self.known is None:
            return "" if self.verdict is Verdict.BROKEN else self.evidence
        if self.verdict is Verdict.KNOWN:
            return str(self.known)
        said = [TAKE_IT_OUT] if self.verdict is Verdict.MENDED else []
        return "; ".join(part for part in (*said, self.evidence, str(self.known)) if part)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found out about one target; `unchecked` are clauses that this version has no check for.

    `seeds` are how many it was made with, from `seed` on; `ended` says why it stopped before its end, `trouble` what
    the harness did that nobody can check, in one line. `hidden` are how many clauses were left out to be short.
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
    hidden: int = 0

    @property
    def verdict(self) -> Whole:
        """The verdict of the whole."""
        return of_clauses(clause.verdict for clause in self.clauses)

    @property
    def exit_code(self) -> int:
        """0 kept or known, 1 broken or mended, 3 incomplete, 2 where the harness made trouble."""
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
        """The broken clauses, those together that one and the same proof breaks, and behind them those that are known
        to be."""
        found: dict[tuple[Verdict, str], list[ClauseReport]] = {}
        for verdict in (Verdict.BROKEN, Verdict.KNOWN):
            for clause in self.clauses:
                if clause.verdict is verdict:
                    found.setdefault((verdict, clause.evidence or clause.id), []).append(clause)
        return list(found.values())

    def leave_out_unpromised(self) -> Report:
        """The report without the clauses that are not promised, to be shown."""
        clauses = tuple(clause for clause in self.clauses if clause.verdict is not Verdict.NOT_PROMISED)
        return replace(self, clauses=clauses, hidden=len(self.clauses) - len(clauses))

    @property
    def hides(self) -> str:
        """How many clauses were left out, in words."""
        return f"Not promised, and hidden: {count_of(self.hidden, 'clause')}."

    def counts(self) -> str:
        """How many clauses have which verdict, in words: ``115 kept, 2 known``."""
        return ", ".join(f"{len(ids)} {verdict}" for verdict in Verdict if (ids := self.ids(verdict)))

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
                    "grounds": None if clause.effort is None else clause.effort.tell(),
                    "seed": clause.seed,
                    "rerun": clause.rerun,
                    "known": None if clause.known is None else clause.known.link,
                    "seconds": round(clause.seconds, 3),
                    "sometimes": clause.known is not None and clause.known.sometimes,
                }
                for clause in self.clauses
            ],
        }


def worst(reports: Sequence[Report]) -> int:
    """The exit code of several reports: trouble with a harness before broken before incomplete before kept."""
    codes = {report.exit_code for report in reports}
    return next((code for code in (UNUSABLE, 1, 3) if code in codes), 0)


def show(reports: Sequence[Report], console: Console, *, hide_not_promised: bool = False) -> None:
    """What broke clauses, each proof once, what was not known first; then the table of all clauses, or of those that
    are promised; and the sum."""
    many = len(reports) > 1
    breaks = [(report, clauses) for report in reports for clauses in report.breaks()]
    for report, clauses in sorted(breaks, key=lambda each: each[1][0].verdict is Verdict.KNOWN):
        _show_broken(report, clauses, console, many=many)
    shown = [report.leave_out_unpromised() if hide_not_promised else report for report in reports]
    console.print(_matrix(shown) if many else _table(shown[0]))
    for report in shown:
        if report.hidden:
            console.print(Text(report.hides, style="dim"))
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
            if remark := clause.remark:
                words.append(f" ({remark})", style="dim")
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
    for clause in clauses:
        of = f" of {report.target}" if many else ""
        sign, style = SIGNS[clause.verdict], STYLES[clause.verdict]
        console.print(Text(f"{sign} {clause.id}{of}: {clause.text}", style=style))
        if clause.known is not None:
            console.print(Text(f"  {clause.known}", style=style), soft_wrap=True)
    console.print()
    for line in clauses[0].evidence.splitlines():
        console.print(Text(f"    {line}"), soft_wrap=True)
    console.print()
    console.print(Text(f"  again: {clauses[0].rerun}", style="dim"), soft_wrap=True)
    console.print()


def _show_sum(report: Report, console: Console) -> None:
    style = WHOLE_STYLES[report.verdict]
    console.print()
    sentence = Text.assemble(
        (f"{report.target}: {report.verdict}", style), f" ({report.counts()}) in {report.seconds:.1f} s"
    )
    if report.seeds > 1:
        sentence.append(f", {report.seeds} seeds: {report.seed} to {report.seed + report.seeds - 1}")
    if report.interrupted:
        sentence.append("; interrupted")
    elif report.ended:
        sentence.append(f"; {report.ended}")
    console.print(sentence, soft_wrap=True)
    for id in report.ids(Verdict.MENDED):
        console.print(Text(f"{id} of {report.target}: {report[id].remark}", style="bold red"), soft_wrap=True)
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
