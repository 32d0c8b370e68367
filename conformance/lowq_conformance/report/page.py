"""The page of a run: clauses and verdicts, each broken clause with what proves it, and targets side by side."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from lowq_conformance.contract.clauses import CLAUSES, GROUPS
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.history.units import NANOSECONDS
from lowq_conformance.report.figure import proof
from lowq_conformance.report.html import document, element, text
from lowq_conformance.report.report import SIGNS, ClauseReport, Report, ranges
from lowq_conformance.report.stylesheet import STYLE

LOOKS = {
    Verdict.KEPT: "kept",
    Verdict.BROKEN: "broken",
    Verdict.NOT_PROMISED: "dim",
    Verdict.NOT_OBSERVED: "unseen",
    Verdict.KNOWN: "unseen",
    Verdict.MENDED: "broken",
}
WHOLE = {"kept": "kept", "known": "kept", "broken": "broken", "mended": "broken", "incomplete": "unseen"}
PROVED = {Verdict.BROKEN: "What is broken", Verdict.KNOWN: "What is known to be broken"}
"""Verdicts for which there is a proof to show, and what stands above it."""
SHORT = 300
"""Characters of evidence in a table."""
LONGEST_LINK = 2000
"""Characters of an address that is made a link; what is longer is cut and told only."""


def page(reports: Sequence[Report], command: str, now: datetime, *, hide_not_promised: bool = False) -> str:
    """The reports as one page that needs nothing beside itself: what is broken first, and then every clause, or those
    that are promised. `command` is what was typed."""
    alone = len(reports) == 1
    shown = [report.leave_out_unpromised() if hide_not_promised else report for report in reports]
    title = f"lowq check: {', '.join(report.target for report in reports)}"
    parts = [_head(reports, command, now)]
    parts += [_target(report, number, alone=alone) for number, report in enumerate(reports)]
    if not alone:
        parts.append(_matrix(shown))
    parts += [_clauses(report, number, alone=alone) for number, report in enumerate(shown)]
    return document(title, STYLE, element("main", "\n".join(parts)))


def facts(*rows: tuple[str, str]) -> str:
    """Words and what they stand for; the second ones are HTML."""
    return element("dl", "\n".join(element("dt", text(word)) + element("dd", said) for word, said in rows))


def versions() -> str:
    """What the run was made with."""
    return (
        f"lowq {version('lowq')}, {platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}"
    )


def stamp(now: datetime) -> str:
    """An instant, for a person."""
    return f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _head(reports: Sequence[Report], command: str, now: datetime) -> str:
    one = len(reports) == 1
    heading = f"lowq check: {text(reports[0].target, SHORT)}" if one else f"lowq check: {len(reports)} targets"
    return element(
        "header",
        element("h1", heading),
        _verdict(reports[0]) if one else "",
        facts(
            ("seed", _seeds(reports[0])),
            ("profile", reports[0].profile),
            ("seconds", f"{sum(report.seconds for report in reports):.1f}"),
            ("versions", text(versions())),
            ("made", stamp(now)),
            ("command", element("code", text(command, SHORT * 4))),
        ),
    )


def _verdict(report: Report) -> str:
    words = {
        "kept": "Every promise that it makes was kept.",
        "known": "Every promise that it makes was kept, but for the faults that are known.",
        "broken": "It breaks promises that it makes.",
        "mended": "What is said to be known to be broken was kept: take it out of what is known.",
        "incomplete": "Nothing was seen broken, but not every promise was put to the test.",
    }[report.verdict]
    sign = {"kept": "✓", "known": "✓", "broken": "✗", "mended": "!", "incomplete": "?"}[report.verdict]
    said = [element("p", f"{sign} {report.verdict}", class_=f"whole {WHOLE[report.verdict]}")]
    said.append(element("p", f"{words} Clauses: {report.counts() or 'none'}."))
    if report.interrupted:
        said.append(element("p", "The run was interrupted; this is what had been seen.", class_="unseen"))
    elif report.ended:
        said.append(element("p", f"The run ended before its end: {text(report.ended)}.", class_="unseen"))
    if report.trouble:
        said.append(element("p", f"It cannot be checked to the end: {text(report.trouble, 2000)}", class_="broken"))
    if report.unchecked:
        unchecked = f"Not checked by this version, and no part of the verdict: {ranges(report.unchecked)}."
        said.append(element("p", text(unchecked), class_="dim"))
    return "\n".join(said)


def _target(report: Report, number: int, *, alone: bool) -> str:
    """What breaks the clauses of a target, those first of which that was not known."""
    parts = []
    if not alone:
        parts += [element("h2", text(report.target, SHORT)), _verdict(report)]
        parts.append(facts(("seed", _seeds(report)), ("seconds", f"{report.seconds:.1f}")))
    for verdict, title in PROVED.items():
        breaks = [clauses for clauses in report.breaks() if clauses[0].verdict is verdict]
        if breaks:
            ids = [clause.id for clauses in breaks for clause in clauses]
            links = ", ".join(element("a", id, href=f"#{_anchor(number, id)}") for id in ids)
            parts += [element("h2" if alone else "h3", title), element("p", links)]
            parts += [_write_broken(clauses, number, alone=alone) for clauses in breaks]
    return element("section", "\n".join(parts), id=f"target{number}")


def _clauses(report: Report, number: int, *, alone: bool) -> str:
    bodies = []
    for group, title in GROUPS.items():
        clauses = [clause for clause in report.clauses if CLAUSES[clause.id].group == group]
        if clauses:
            head = element("tr", element("th", f"{group}: {text(title)}", scope="rowgroup", colspan="4"))
            bodies.append(element("tbody", head, *(_row(clause, number) for clause in clauses)))
    columns = (element("th", word, scope="col") for word in ("clause", "promise", "verdict", "evidence"))
    caption = element("caption", "The clauses" if alone else f"The clauses of {text(report.target, SHORT)}")
    table = element("table", caption, element("thead", element("tr", *columns)), *bodies)
    hidden = element("p", text(report.hides), class_="dim") if report.hidden else ""
    return element("section", element("h2", "The clauses") if alone else "", table, hidden, class_="clauses")


def _row(clause: ClauseReport, number: int) -> str:
    anchor = _anchor(number, clause.id)
    broken = clause.verdict in PROVED
    said = clause.remark
    if clause.effort is not None and clause.effort.would_have_met:
        said += f"; {clause.effort.would_have_met}"
    evidence = element("a", "what broke it", href=f"#{anchor}") if broken else text(said, SHORT)
    if broken and clause.known is not None:
        evidence += f"; {_write_known(clause.known)}"
    return element(
        "tr",
        element("th", clause.id, scope="row"),
        element("td", text(clause.text)),
        element("td", _sign(clause.verdict), class_="verdict"),
        element("td", evidence, class_="dim"),
        id=None if broken else anchor,
    )


def _write_broken(clauses: Sequence[ClauseReport], number: int, *, alone: bool) -> str:
    """What breaks these clauses, all of them at once."""
    clause = clauses[0]
    anchor = _anchor(number, clause.id)
    level = "h3" if alone else "h4"
    sign = SIGNS[clause.verdict]
    parts = [element(level, f"{sign} {clause.id}: {text(clause.text)}", id=f"{anchor}-title")]
    for also in clauses[1:]:
        parts.append(element(level, f"{sign} {also.id}: {text(also.text)}", id=_anchor(number, also.id)))
    known = dict.fromkeys(each.known for each in clauses if each.known is not None)
    parts += [element("p", _write_known(fault)) for fault in known]
    if clause.fault is not None:
        parts.append(element("p", text(f"{clause.fault.said}.", 2000)))
        parts.append(proof(clause.fault, NANOSECONDS, f"{anchor}-operations"))
    else:
        label = f"The calls that break {clause.id}"
        parts.append(element("pre", text(clause.evidence), tabindex="0", role="region", aria_label=label))
    parts.append(facts(("seed", str(clause.seed)), ("again", element("code", text(clause.rerun, SHORT * 4)))))
    looks = None if clause.verdict is Verdict.BROKEN else "known"
    return element("article", "\n".join(parts), id=anchor, class_=looks, aria_labelledby=f"{anchor}-title")


def _write_known(fault: Fault) -> str:
    """The fault, with a link where it is written down at an address of the web."""
    before, _, _ = str(fault).rpartition(fault.link)
    link = text(fault.link, SHORT)
    if fault.link.startswith(("https://", "http://")) and len(fault.link) < LONGEST_LINK:
        link = element("a", link, href=fault.link, rel="noreferrer")
    return text(before) + link


def _seeds(report: Report) -> str:
    return report.spread().partition(" ")[2]


def _matrix(reports: Sequence[Report]) -> str:
    by_target = [{clause.id: clause for clause in report.clauses} for report in reports]
    columns = [
        element(
            "th",
            element(
                "a", text(report.target, 60).replace("/", "/<wbr>").replace(":", ":<wbr>"), href=f"#target{number}"
            ),
            "<br>",
            element("span", report.verdict, class_=WHOLE[report.verdict]),
            scope="col",
        )
        for number, report in enumerate(reports)
    ]
    columns = [element("th", "clause", scope="col"), *columns, element("th", "promise", scope="col")]
    bodies = []
    for group, title in GROUPS.items():
        ids = [id for id in CLAUSES if CLAUSES[id].group == group and any(id in clauses for clauses in by_target)]
        if ids:
            span = str(len(reports) + 2)
            head = element("tr", element("th", f"{group}: {text(title)}", scope="rowgroup", colspan=span))
            bodies.append(element("tbody", head, *(_cells(id, by_target) for id in ids)))
    table = element(
        "table",
        element("caption", "Clauses by target; each verdict leads to what it rests on"),
        element("thead", element("tr", *columns)),
        *bodies,
    )
    return element("div", table, class_="wide matrix", tabindex="0", role="region", aria_label="Clauses by target")


def _cells(id: str, by_target: Sequence[dict[str, ClauseReport]]) -> str:
    cells = [
        element(
            "td",
            element("a", _sign(clauses[id].verdict), href=f"#{_anchor(number, id)}") if id in clauses else "",
            class_="verdict",
        )
        for number, clauses in enumerate(by_target)
    ]
    return element("tr", element("th", id, scope="row"), *cells, element("td", text(CLAUSES[id].text)))


def _anchor(number: int, id: str) -> str:
    return f"target{number}-{id}"


def _sign(verdict: Verdict) -> str:
    return element("span", f"{SIGNS[verdict]} {verdict}", class_=LOOKS[verdict])
