"""The values of the sequential model: tasks, leases, spans of time, and the mismatch."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple


class Span(NamedTuple):
    """An operation was called at `call` and returned at `ret`; it acted in between."""

    call: float
    ret: float


class Mismatch(AssertionError):
    """The model has no such answer: `clause` is broken, `said` says by what, and `expected` was the answer due."""

    def __init__(self, clause: str, said: str, expected: str = "") -> None:
        super().__init__(f"{clause}: {said}")
        self.clause = clause
        self.said = said
        self.expected = expected


class Overtaken(Mismatch):
    """A task was handed out although `first` was due and comes before it."""

    first: ModelTask


@dataclass(slots=True)
class ModelTask:
    """A task as the model keeps it; `number` is its place in push order, `past` what has happened to it."""

    number: int
    work: Any
    equal: Hashable
    priority: int = 0
    not_before: float | None = None
    key: str | None = None
    id: str | None = None
    client: str = ""
    batch: int | None = None
    state: Literal["waiting", "leased", "dead", "acked", "cancelled", "replaced"] = "waiting"
    hold: ModelLease | None = None
    attempts: int = 0
    buried: int = 0
    """Attempts before it was redriven; a queue counts anew from there, or on."""
    deliveries: int = 0
    """Claims that count for the limit after which it may be set aside, at most; since it was redriven."""
    reason: str | None = None
    renamed: bool = False
    """It was redriven, perhaps as a new task with another id, which no claim has told since."""
    past: set[str] = field(default_factory=set)

    @property
    def returned(self) -> bool:
        """It was handed out before."""
        return self.state == "leased" or not self.past.isdisjoint({"released", "ran out", "redriven"})

    @property
    def standing(self) -> bool:
        """It is scheduled, ready or leased."""
        return self.state in ("waiting", "leased")

    @property
    def was_set_aside(self) -> bool:
        """It is dead since it was handed out too often."""
        return self.state == "dead" and "set aside" in self.past

    def __str__(self) -> str:
        return f"{self.work!r}" if self.key is None else f"{self.work!r} (key {self.key!r})"


@dataclass(slots=True, eq=False)
class ModelLease:
    """One claim of a task: the lease may have ended at `early`, and must have ended at `late`."""

    task: ModelTask
    early: float
    late: float
    client: str = ""
    settled: bool = False
    past: set[str] = field(default_factory=set)
