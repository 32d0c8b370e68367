"""A badge with the verdict, as an SVG picture that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Sequence

from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.report.html import element, text
from lowq_conformance.report.report import Report

LABEL = "lowq check"
BACK, FORE = "#3d434b", "#ffffff"
"""Behind the label, and every letter."""
COLOURS = {"kept": "#17672f", "broken": "#b3201a", "unseen": "#7d5000"}
"""Behind the verdict; white stands out from each of them, and from BACK, by more than 4.5 to 1 (WCAG 2)."""
NARROW, WIDE = frozenset("fijlrt1 .,|"), frozenset("mwMW%")
HIGH, AIR = 20, 6


def draw_badge(reports: Sequence[Report]) -> str:
    """The badge of one run over one target or several."""
    said, colour = sum_up(reports)
    left, right = width_of(LABEL) + 2 * AIR, width_of(said) + 2 * AIR
    told = f"{LABEL}: {said}"
    parts = [
        element("title", text(told)),
        element("rect", width=f"{left + right}", height=f"{HIGH}", rx="3", fill=BACK),
        element("rect", x=f"{left}", width=f"{right}", height=f"{HIGH}", rx="3", fill=COLOURS[colour]),
        element("rect", x=f"{left}", width="4", height=f"{HIGH}", fill=COLOURS[colour]),
        _write(LABEL, AIR),
        _write(said, left + AIR),
    ]
    picture = element(
        "svg",
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        width=f"{left + right}",
        height=f"{HIGH}",
        role="img",
        aria_label=told,
    )
    return picture + "\n"


def sum_up(reports: Sequence[Report]) -> tuple[str, str]:
    """The verdict of all of them in a few words, and how it looks; the worst counts."""
    counts = {verdict: sum(len(report.ids(verdict)) for report in reports) for verdict in Verdict}
    if any(report.trouble for report in reports):
        return "cannot be checked", "broken"
    for verdict, looks in ((Verdict.BROKEN, "broken"), (Verdict.MENDED, "broken"), (Verdict.NOT_OBSERVED, "unseen")):
        if counts[verdict]:
            return f"{counts[verdict]} {verdict}", looks
    if not any(counts[verdict] for verdict in (Verdict.KEPT, Verdict.KNOWN)):
        return "nothing was tried", "unseen"
    known = f", {counts[Verdict.KNOWN]} known" if counts[Verdict.KNOWN] else ""
    return f"{counts[Verdict.KEPT]} kept{known}", "kept"


def width_of(words: str) -> int:
    """About how wide the words are, in pixels; `textLength` makes it so."""
    return round(sum(4.5 if each in NARROW else 10.5 if each in WIDE else 7 for each in words))


def _write(words: str, left: int) -> str:
    font = "Verdana, 'DejaVu Sans', Geneva, sans-serif"
    attributes = f'x="{left}" y="14" textLength="{width_of(words)}" lengthAdjust="spacingAndGlyphs"'
    return f'<text {attributes} fill="{FORE}" font-family="{font}" font-size="11">{text(words)}</text>'
