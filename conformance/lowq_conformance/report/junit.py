"""The report as JUnit's XML: a suite for each target, a test case for each clause.

What there is of it, and in which order, follows the schemas of Jenkins and of Ant, against which it is read: both
want a time, a class and a name of each case, and neither wants attributes at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.html import element, text
from lowq_conformance.report.report import ClauseReport, Report

NOWHERE = "localhost"
"""Instead of the machine's name, which is nobody's business."""


def write_junit(reports: Sequence[Report], now: datetime) -> str:
    """The reports, which were made at that instant."""
    suites = "\n".join(_suite(report, number, now) for number, report in enumerate(reports))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{element("testsuites", _lines(suites))}\n'


def _suite(report: Report, number: int, now: datetime) -> str:
    cases = [_case(clause, report.target) for clause in report.clauses]
    if report.trouble:
        cases.append(_trouble(report))
    failures = len(report.ids(Verdict.BROKEN)) + len(report.ids(Verdict.MENDED))
    skipped = sum(len(report.ids(each)) for each in (Verdict.NOT_PROMISED, Verdict.NOT_OBSERVED, Verdict.KNOWN))
    facts = {"seed": report.seed, "seeds": report.seeds, "profile": report.profile, "verdict": report.verdict}
    if report.ended or report.interrupted:
        facts["ended"] = report.ended or "interrupted"
    properties = [f'<property name="{name}" value="{text(value)}"/>' for name, value in facts.items()]
    return element(
        "testsuite",
        _lines(element("properties", _lines(*properties)), *cases, element("system-out"), element("system-err")),
        name=f"lowq check {report.target}",
        package="lowq_conformance",
        id=str(number),
        hostname=NOWHERE,
        timestamp=f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S}",
        tests=str(len(cases)),
        failures=str(failures),
        errors=str(int(bool(report.trouble))),
        skipped=str(skipped),
        time=f"{report.seconds:.3f}",
    )


def _case(clause: ClauseReport, target: str) -> str:
    inside = ""
    if clause.verdict is Verdict.BROKEN:
        again = f"{clause.text}\n\n{clause.evidence}\n\nagain: {clause.rerun}"
        inside = element("failure", text(again), message=f"{clause.id}: {clause.text}", type="broken")
    elif clause.verdict is Verdict.MENDED:
        inside = element("failure", text(clause.remark), message=clause.remark, type="mended")
    elif clause.verdict is not Verdict.KEPT:
        said = f"{clause.verdict}: {clause.remark}" if clause.remark else str(clause.verdict)
        inside = element("skipped", message=clause.remark if clause.verdict is Verdict.KNOWN else said)
    return element("testcase", inside, name=f"{clause.id}: {clause.text}", classname=target, time=_time(clause))


def _time(clause: ClauseReport) -> str:
    return f"{clause.seconds:.3f}"


def _trouble(report: Report) -> str:
    """What the harness did that nobody can check, as a case of its own."""
    error = element("error", text(report.trouble), message=report.trouble.split("\n")[0], type="harness")
    return element("testcase", error, name="the harness", classname=report.target, time="0.000")


def _lines(*parts: str) -> str:
    return "\n" + "\n".join(parts) + "\n"
