"""How times of a history are told to people."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

STEPS = ((1e-3, "ms", 1000.0), (1.0, "s", 1000.0), (60.0, "min", 600.0), (3600.0, "h", 100.0), (86400.0, "days", inf))
"""How many seconds one is, what it is called, and from how many on the next is used."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What the times of a history are counted in: `seconds` says how long one is; None: that is not known."""

    seconds: float | None = None

    def length(self, time: float) -> str:
        """A length of time, with its unit and in four digits at most; where the unit is not known, as it was told."""
        if self.seconds is None:
            return format_length(time)
        length = time * self.seconds
        for one, name, most in STEPS:
            if abs(length) < one * most:
                return f"{float(f'{length / one:.4g}'):g} {name}"
        return f"{length / 86400:.4g} days"

    def since(self, first: float, when: float) -> str:
        """A time from the first one on."""
        return self.length(when - first)


NANOSECONDS = Unit(1e-9)


def format_length(time: float) -> str:
    """A length of time in six digits, or in as many as there are before the point."""
    return f"{time:,.0f}" if 1e6 <= abs(time) < 1e15 else f"{time:.6g}"
