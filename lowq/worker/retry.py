"""How long until the next attempt, and when to give up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from lowq.clock import span
from lowq.excerpt import excerpt

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class Retry:
    """Delays that grow by `factor` from `first` to at most `longest`, and no attempt after `max_attempts`.

    Each delay is drawn from its upper half ("equal jitter": M. Brooker, Exponential Backoff And Jitter, AWS
    Architecture Blog, 2015), so that tasks that failed together do not come back together.
    """

    max_attempts: int = 5
    first: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    longest: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not isinstance(self.max_attempts, int) or isinstance(self.max_attempts, bool):
            raise TypeError(f"max_attempts: expected an int, got {type(self.max_attempts).__name__}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts: expected 1 or more, got {excerpt(self.max_attempts)}")
        if span(self.first, "first") > span(self.longest, "longest"):
            raise ValueError(f"longest: expected {self.first} (first) or more, got {self.longest}")
        if not isinstance(self.factor, (int, float)):
            raise TypeError(f"factor: expected a number, got {type(self.factor).__name__}")
        if not self.factor >= 1:
            raise ValueError(f"factor: expected 1 or more, got {excerpt(self.factor)}")

    def delay(self, attempts: int, random: Random) -> timedelta | None:
        """How long the task waits after its `attempts`-th attempt failed; None: that was the last one."""
        if attempts >= self.max_attempts:
            return None
        whole = self.first
        for _ in range(attempts - 1):
            if not whole:
                break
            if self.factor >= self.longest / whole:  # not multiplied first, which may overflow
                whole = self.longest
                break
            whole *= self.factor
        return whole * random.uniform(0.5, 1.0)
