"""The proof of a fault for a page: the timeline, the same operations as a table, and why no linearization exists."""

from __future__ import annotations

from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.timeline import label
from lowq_conformance.history.units import Unit
from lowq_conformance.report.html import element, text
from lowq_conformance.report.svg import describe_end, draw

MOST_BARS = 40
"""Operations that are drawn; more of them are only listed."""
MOST_ROWS = 200


def proof(fault: Counterexample, unit: Unit, id: str) -> str:
    """The figure, its table with this id, and the sentence."""
    why = element("p", element("strong", "Why no order explains it: "), text(fault.why, 4000), ".")
    return "\n".join([_figure(fault, unit, id), _table(fault, unit, id), why])


def _figure(fault: Counterexample, unit: Unit, id: str) -> str:
    if len(fault.proof) > MOST_BARS:
        return element("p", f"{len(fault.proof)} operations are too many to draw.", class_="dim")
    legend = ["“!” and the thick bar: the answer that no order explains"]
    if any(op.result is None for op in fault.proof):
        legend.append("a dashed bar: not known whether it happened; with an arrow: it never returned")
    picture = draw(fault.proof, fault.culprit, unit, id)
    if 'class="kill"' in picture:
        legend.append("“✕ killed”: where the process was seen dead")
    legend.append("columns are the order of events, not to scale; the times are below")
    return element(
        "figure",
        element("div", picture, class_="wide", tabindex="0", role="region", aria_label="Timeline, may be scrolled"),
        element("figcaption", text("; ".join(legend)), "."),
    )


def _table(fault: Counterexample, unit: Unit, id: str) -> str:
    first = min(op.call for op in fault.proof)
    rows = []
    for op in sorted(fault.proof, key=lambda op: op.call)[:MOST_ROWS]:
        guilty = op.number == fault.culprit.number
        mark = element("strong", " ! no order explains this answer") if guilty else ""
        rows.append(
            element(
                "tr",
                element("th", text(op.process, 80), scope="row"),
                element("td", text(label(op, unit)), mark, class_="call"),
                element("td", text(unit.since(first, op.call)), class_="time"),
                element("td", text(describe_end(op, first, unit).removeprefix("returned at ")), class_="time"),
                class_="guilty" if guilty else None,
            )
        )
    cut = len(fault.proof) - MOST_ROWS
    more = element("p", f"{cut:,} more operations are not shown.", class_="dim") if cut > 0 else ""
    head = "".join(
        element("th", word, scope="col") for word in ("client", "operation and answer", "called", "returned")
    )
    table = element(
        "table",
        element("caption", "The operations in the order of their calls, times from the first one on"),
        element("thead", element("tr", head)),
        element("tbody", *rows),
        id=id,
    )
    around = element("div", table, class_="wide operations", tabindex="0", role="region", aria_label="The operations")
    return around + more
