"""How often each task was handed out and came back, where a queue sets aside what comes back too often."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lowq_conformance.contract.promises import Traits

Task = tuple[Any, Any]
"""What a task is known by: its id, or None where that is not told, and the text of its work."""


@dataclass(slots=True)
class Delivered:
    """A task that is not settled: how many claims count, whether it is in hand, and until when; None: for ever."""

    times: int = 0
    held: bool = False
    until: datetime | None = None


class Deliveries:
    """The tasks of one place."""

    def __init__(self, traits: Traits) -> None:
        self._limit, self._counts_release = traits.max_deliveries, traits.counts_release
        self._tasks: dict[Task, Delivered] = {}
        self._claims: dict[str, Task] = {}

    def note_claim(self, claim: str, task: Task, until: datetime | None) -> None:
        """By the claim of that name it was handed out until then; None: until it is settled."""
        self._claims[claim] = task
        found = self._tasks.setdefault(task, Delivered())
        found.times, found.held, found.until = found.times + 1, True, until

    def note_release(self, claim: str, now: datetime) -> None:
        """What was claimed was given back."""
        found = self._tasks.get(self._claims[claim])
        if found is not None:
            in_time = found.until is None or now < found.until
            found.times -= in_time and not self._counts_release
            found.held = False

    def note_extension(self, claim: str, until: datetime | None) -> None:
        """What was claimed is held until then."""
        if (found := self._tasks.get(self._claims[claim])) is not None:
            found.until = until

    def note_end(self, claim: str) -> None:
        """What was claimed is gone, or dead: if it comes again it is counted anew."""
        self._tasks.pop(self._claims[claim], None)

    def may_be_aside(self, now: datetime) -> bool:
        """Whether one of them came back that was handed out as often as may be."""
        if self._limit is None:
            return False
        return any(
            task.times >= self._limit and not (task.held and (task.until is None or now < task.until))
            for task in self._tasks.values()
        )
