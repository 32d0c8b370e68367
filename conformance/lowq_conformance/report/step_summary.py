"""The report in Markdown, for the summary that GitHub shows of a step: what is broken first."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.report import SIGNS, ClauseReport, Report, ranges
from lowq_conformance.support.text import excerpt, printable

LONGEST = 6000
"""Characters of one proof."""
MOST = 20
"""Proofs of one target; the others are named only. A step's summary may have 1 MiB."""

MARKS = re.compile(r"([\\`*_{}\[\]<>#~@])")
"""What would be markup, or call somebody by name."""


def summarize(reports: Sequence[Report]) -> str:
    """The reports, each with its proofs, then all the clauses that say more than that they were kept."""
    return "\n".join(_target(report) for report in reports) + "\n"


def _target(report: Report) -> str:
    parts = [f"## lowq check {code(report.target)}: {report.verdict}"]
    seconds = f"{report.seconds:.1f} s, {report.spread()}, profile {report.profile}"
    parts.append(f"{report.counts() or 'no clause'} in {seconds}.")
    if report.interrupted or report.ended:
        parts.append(f"It ended before its end: {words(report.ended) or 'it was interrupted'}.")
    if report.trouble:
        parts.append(f"**It cannot be checked to the end:** {words(report.trouble)}")
    parts += [f"- **{id}** {words(report[id].remark)}" for id in report.ids(Verdict.MENDED)]
    breaks = report.breaks()
    parts += [_proof(clauses) for clauses in breaks[:MOST]]
    if rest := [clause.id for clauses in breaks[MOST:] for clause in clauses]:
        parts.append(f"Not shown here: {', '.join(rest)}.")
    if unseen := report.ids(Verdict.NOT_OBSERVED):
        parts.append(f"Not observed: {ranges(unseen)}.")
    rows = [_row(clause) for clause in report.clauses if clause.verdict is not Verdict.NOT_PROMISED]
    if rows:
        table = "\n".join(["| clause | verdict | promise |", "|---|---|---|", *rows])
        parts.append(f"<details><summary>The clauses that are promised</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _proof(clauses: Sequence[ClauseReport]) -> str:
    parts = [f"### {SIGNS[each.verdict]} {each.id}: {words(each.text)}" for each in clauses]
    parts += [words(str(fault)) for fault in dict.fromkeys(each.known for each in clauses) if fault is not None]
    parts.append(fence(clauses[0].evidence))
    parts.append(f"again: {code(clauses[0].rerun)}")
    return "\n\n".join(parts)


def _row(clause: ClauseReport) -> str:
    said = CLAUSES[clause.id].text + (f" ({clause.remark})" if clause.remark else "")
    return f"| {clause.id} | {SIGNS[clause.verdict]} {clause.verdict} | {words(said).replace('|', chr(92) + '|')} |"


def words(told: str) -> str:
    """A stranger's words in one line, of which nothing becomes markup but addresses of the web."""
    line = " ".join(printable(excerpt(told, LONGEST)).split())
    parts = re.split(r"(https?://[^\s<>`|]+)", line)
    return "".join(part if at % 2 else MARKS.sub(r"\\\1", part) for at, part in enumerate(parts))


def code(told: str) -> str:
    """A stranger's words in one line, as they are typed."""
    line = " ".join(printable(excerpt(told, LONGEST)).split())
    ticks = "`" * (_longest_run(line) + 1)
    space = " " if "`" in line else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fence(told: str) -> str:
    """A stranger's lines as they are, behind a fence longer than any within."""
    text = printable(excerpt(told, LONGEST))
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}text\n{text}\n{ticks}"


def _longest_run(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, re.findall("`+", text)), default=0)
