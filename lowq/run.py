"""What became of a task that a worker took."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from lowq.backend import Task

Outcome: TypeAlias = Literal["done", "retry", "dead", "released", "lost"]
"""Acked; waits for its next attempt, without an error where its handler asked so by Later; set aside for a person;
given back uncounted, because the worker was told to stop; settled by nobody here, because the lease went to somebody
else meanwhile."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt at a task: how it ended at the instant `at`, what was raised, and when the task runs again."""

    task: Task
    outcome: Outcome
    error: BaseException | None
    at: datetime
    next_due: datetime | None

    @property
    def attempt(self) -> int:
        """How many attempts the task has had. A claim that only sets it aside, as they are used up, is none."""
        used_up = self.outcome == "dead" and self.error is None
        return self.task.attempts - used_up
