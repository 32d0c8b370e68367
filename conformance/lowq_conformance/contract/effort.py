"""How much stands behind a kept clause: histories, operations, and whether each was proved linearizable.

A history that is not refuted is not proved: nothing was found against it, and it was too long to find an order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import floor
from typing import Any, Literal

MISSED = 0.01
"""The chance that what would have been met was missed all the same."""


@dataclass(frozen=True, slots=True)
class Effort:
    """The verdict on the histories of the runs and their size; `proved` where an order of each one was found.

    Of a sweep: how many `schedules` were made at how many `points`, and of how many of the `pairs` of calls all were;
    how many with two pre-emptions (`doubles`), and how many of three clients (`threes`).
    """

    judged: Literal["proved", "not refuted"]
    operations: int
    runs: int
    kills: int
    seconds: float
    schedules: int = 0
    points: int = 0
    pairs: int = 0
    swept_pairs: int = 0
    doubles: int = 0
    threes: int = 0

    @property
    def would_have_met(self) -> str:
        """What would have been seen with 99 %, in words; nothing where too little was done to say so.

        That takes each call, or each kill, to meet a fault with the same chance, whatever the others met.
        """
        if self.one_in is None:
            return ""
        fault, what = ("fault", "kill") if self.kills else ("race", "call")
        return f"a {fault} that one {what} in {self.one_in:,} meets would have been met with 99 %"

    @property
    def one_in(self) -> int | None:
        """What one kill in so many meets, or one call where nobody was killed, would have been met with 99 %."""
        looks = self.kills or self.operations
        if looks == 0:
            return None
        often = floor(1 / (1 - MISSED ** (1 / looks)))
        return often if often > 1 else None

    def tell(self) -> dict[str, Any]:
        """The figures as JSON for a reader: with what would have been seen."""
        return self.as_json() | {"one_in": self.one_in}

    def as_json(self) -> dict[str, Any]:
        """The figures as JSON."""
        return asdict(self) | {"seconds": round(self.seconds, 3)}

    @staticmethod
    def together(several: Iterable[Effort]) -> Effort:
        """Those of all the runs, which are proved where every one is."""
        parts = list(several)
        return Effort(
            "proved" if parts and all(part.judged == "proved" for part in parts) else "not refuted",
            sum(part.operations for part in parts),
            sum(part.runs for part in parts),
            sum(part.kills for part in parts),
            sum(part.seconds for part in parts),
            sum(part.schedules for part in parts),
            sum(part.points for part in parts),
            sum(part.pairs for part in parts),
            sum(part.swept_pairs for part in parts),
            sum(part.doubles for part in parts),
            sum(part.threes for part in parts),
        )

    def __str__(self) -> str:
        said = [self.swept] if self.schedules else []
        if not self.runs:
            return "; ".join(said)
        amounts = [count_of(self.operations, "operation"), count_of(self.runs, "run")]
        if self.kills:
            amounts.append(count_of(self.kills, "kill"))
        return "; ".join([f"{self.judged}: {', '.join(amounts)}, {self.seconds:.1f} s", *said])

    @property
    def swept(self) -> str:
        """What was seen when one call stood still at each point, and another one ran meanwhile."""
        where = f"at {count_of(self.points, 'point')}, in {count_of(self.schedules, 'schedule')}"
        cut = (
            ""
            if self.swept_pairs == self.pairs
            else f", {self.swept_pairs} of {count_of(self.pairs, 'pair')} of calls swept"
        )
        twice = f", and in {count_of(self.doubles, 'schedule')} with two" if self.doubles else ""
        three = f", and in {count_of(self.threes, 'schedule')} of three clients" if self.threes else ""
        return f"no race with one pre-emption {where}{cut}{twice}{three}"


def count_of(number: int, what: str) -> str:
    """So many of something."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
