"""What is said of a recorded history: in words, as JSON, and as a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from lowq_conformance.checker.judge import SMALL, Judgement
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.spec import Spec
from lowq_conformance.history.units import Unit
from lowq_conformance.report.figure import proof
from lowq_conformance.report.html import document, element, text
from lowq_conformance.report.page import facts, stamp, versions
from lowq_conformance.report.stylesheet import STYLE
from lowq_conformance.support.text import printable

SIGNS = {"bad": "✗", "proved": "✓", "not refuted": "?"}
STYLES = {"bad": "bold red", "proved": "bold green", "not refuted": "bold yellow"}
LOOKS = {"bad": "broken", "proved": "kept", "not refuted": "unseen"}


@dataclass(frozen=True, slots=True)
class HistoryReport:
    """The judgement on the history in a file, the promises it was held to, and the seconds that reading and judging
    took."""

    file: str
    spec: Spec
    judgement: Judgement
    seconds: float

    @property
    def exit_code(self) -> int:
        """1 bad, 0 otherwise."""
        return 1 if self.judgement.verdict == "bad" else 0

    @property
    def meaning(self) -> str:
        """The verdict in a sentence."""
        said = self.judgement
        match said.verdict:
            case "bad":
                kinds = len(said.faults)
                return f"{kinds} kind{'s' if kinds > 1 else ''} of fault, each proved by the few operations shown."
            case "proved":
                return "An order of the operations was found that explains every answer."
        why = f"it has more than {SMALL} operations" if said.ops > SMALL else "the search came to no end"
        more = f" {said.undecided_works:,} works were too tangled to decide." if said.undecided_works else ""
        return f"Nothing was found against it, and no order that explains it was looked for to the end: {why}.{more}"

    @property
    def promises(self) -> str:
        """What the history was held to, in words."""
        spec = self.spec
        order = "first in, first out" if spec.fifo else "any order"
        dedupe = {"off": "equal works are all added"}.get(spec.dedupe, f"equal works are refused {spec.dedupe}")
        told = [order, "priorities" if spec.priority else "no priorities", dedupe]
        if spec.fifo:
            due = {"push": "their push", "due": "their time", None: "nothing"}[spec.due_order]
            told.append(f"tasks with a time are ordered by {due}")
            told.append(f"a returned task goes to {'its old' if spec.requeue == 'place' else 'any'} place")
        if spec.grace is None:
            told.append("a lease that ran out may be handed on")
        else:
            told.append(f"a lease that ran out is handed on within {spec.grace:g}")
        if spec.max_deliveries is not None:
            counted = "claims" if spec.counts_release else "claims that were not released"
            told.append(f"a task that comes back after {spec.max_deliveries} {counted} may be set aside")
        if spec.eps:
            told.append(f"clocks agree within {spec.eps:g}")
        return ", ".join(told)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON."""
        said = self.judgement
        return {
            "history": self.file,
            "verdict": said.verdict,
            "operations": said.ops,
            "unknown": said.unknown_ops,
            "undecided_works": said.undecided_works,
            "seconds": round(self.seconds, 3),
            "spec": asdict(self.spec),
            "faults": [{**fault.as_json(), "timeline": fault.draw()} for fault in said.faults],
        }

    def show(self, console: Console) -> None:
        """The verdict, and each fault as a timeline and a sentence."""
        said = self.judgement
        for fault in said.faults:
            console.print(
                Text(f"✗ {fault.kind} ({fault.clause}): {_fit(fault.said)}", style="bold red"), soft_wrap=True
            )
            console.print()
            for line in fault.draw().splitlines():
                console.print(Text(f"    {line}"), soft_wrap=True)
            console.print()
        console.print(Text(f"held to: {self.promises}", style="dim"), soft_wrap=True)
        unknown = f", {said.unknown_ops:,} of them unknown" if said.unknown_ops else ""
        counts = f" ({said.ops:,} operations{unknown}) in {self.seconds:.1f} s. {self.meaning}"
        console.print(
            Text.assemble((f"{_fit(self.file)}: {said.verdict}", STYLES[said.verdict]), counts), soft_wrap=True
        )

    def page(self, command: str, now: datetime) -> str:
        """The report as one page that needs nothing beside itself; `command` is what was typed."""
        said = self.judgement
        unknown = f", {said.unknown_ops:,} of them unknown" if said.unknown_ops else ""
        head = element(
            "header",
            element("h1", f"lowq check: the history {text(self.file, 300)}"),
            element("p", f"{SIGNS[said.verdict]} {said.verdict}", class_=f"whole {LOOKS[said.verdict]}"),
            element("p", text(self.meaning)),
            facts(
                ("operations", f"{said.ops:,}{unknown}"),
                ("seconds", f"{self.seconds:.1f}"),
                ("held to", text(self.promises)),
                ("versions", text(versions())),
                ("made", stamp(now)),
                ("again", element("code", text(command, 1200))),
            ),
        )
        faults = [_article(fault, number) for number, fault in enumerate(said.faults)]
        heading = [element("h2", "What no order explains")] if faults else []
        return document(f"lowq check: {self.file}", STYLE, element("main", "\n".join([head, *heading, *faults])))


def _article(fault: Counterexample, number: int) -> str:
    title = f"✗ {text(fault.kind)} ({fault.clause}): {text(fault.said, 2000)}"
    return element(
        "article",
        element("h3", title, id=f"fault{number}-title"),
        proof(fault, Unit(), f"fault{number}-operations"),
        aria_labelledby=f"fault{number}-title",
    )


def _fit(said: str) -> str:
    return printable(said).replace("\n", " ")
