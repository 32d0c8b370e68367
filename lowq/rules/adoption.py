"""What a backend keeps of a task that another queue had: the push, checked, and what lies behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lowq.backend import State, Task
from lowq.clock import to_micros
from lowq.rules.entry import Entry, check_each, entry
from lowq.rules.leases import check_reason

MOST_ATTEMPTS = 999_999_999
"""As many claims as every storage can count."""


class Adoption(NamedTuple):
    """A checked task of another queue. `state` is ready, dead, or scheduled until its `not_before`."""

    entry: Entry
    state: State
    attempts: int
    reason: str | None
    pushed_at: int


def adoptions(tasks: Iterable[Task]) -> list[Adoption]:
    """The tasks, checked. InvalidWork, TypeError or ValueError name the index of the one that is wrong."""
    return check_each(tasks, Task, _adoption)


def _adoption(task: Task) -> Adoption:
    if task.state not in (State.READY, State.SCHEDULED, State.DEAD):
        raise ValueError(f"state: expected ready, scheduled or dead, got {str(task.state)!r:.40}")
    if not isinstance(task.attempts, int) or isinstance(task.attempts, bool):
        raise TypeError(f"attempts: expected an int, got {type(task.attempts).__name__}")
    if not 0 <= task.attempts <= MOST_ATTEMPTS:
        raise ValueError(f"attempts: expected 0 to {MOST_ATTEMPTS}, got another number")
    check_reason(task.reason)
    made = entry(task.work, task.key, task.priority, task.not_before, task.headers)
    return Adoption(made, State(task.state), task.attempts, task.reason, to_micros(task.pushed_at, "pushed_at"))
