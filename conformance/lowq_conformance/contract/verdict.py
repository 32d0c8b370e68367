"""What is said of a clause, and of the whole queue."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal


class Verdict(StrEnum):
    """What was seen of one clause."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_PROMISED = "not promised"
    NOT_OBSERVED = "not observed"
    KNOWN = "known"
    """It is broken, and known to be."""
    MENDED = "mended"
    """It is kept, and said to be known to be broken."""


Whole = Literal["kept", "known", "broken", "mended", "incomplete"]
"""`known`: kept but for the faults that are known; `mended`: nothing is broken that is not known to be, but a fault
that is said to be known is not there any more."""


def of_sides(sides: Iterable[Verdict]) -> Verdict:
    """The verdict of a clause from those of its tests: one broken side breaks it, and one unseen side leaves it
    unseen; a side that is not promised is not asked for where another one is."""
    seen = set(sides)
    for verdict in (Verdict.BROKEN, Verdict.NOT_OBSERVED, Verdict.KEPT, Verdict.NOT_PROMISED):
        if verdict in seen:
            return verdict
    return Verdict.NOT_OBSERVED


def of_clauses(verdicts: Iterable[Verdict]) -> Whole:
    """The verdict of a queue from those of its clauses; one of which no clause was judged keeps nothing."""
    seen = set(verdicts)
    if Verdict.BROKEN in seen:
        return "broken"
    if Verdict.MENDED in seen:
        return "mended"
    if Verdict.NOT_OBSERVED in seen or seen.isdisjoint((Verdict.KEPT, Verdict.KNOWN)):
        return "incomplete"
    return "known" if Verdict.KNOWN in seen else "kept"
