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


Whole = Literal["kept", "broken", "incomplete"]


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
    return "kept" if Verdict.KEPT in seen and Verdict.NOT_OBSERVED not in seen else "incomplete"
