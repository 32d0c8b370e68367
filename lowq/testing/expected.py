"""What a test expects of a task, and where a task is otherwise.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict

from lowq.backend import State, Task
from lowq.clock import Clock, FakeClock, shift, to_micros
from lowq.excerpt import excerpt
from lowq.testing.matching import differences, show_value
from lowq.testing.table import clock_time

WAITING = (State.SCHEDULED, State.READY)
"""The states that assertions look at unless told otherwise: pushed and not taken yet."""


class Like(TypedDict, total=False):
    """What a task may be expected to be like.

    `work` may name a part of an object only, and hold types, predicates and ANY. `at` is the not-before, `in_` says
    it from now: exact on a fake clock and within a second on the real one, unless `within` says otherwise. `due` is
    whether the task could be claimed now. `headers` are compared where they are named, and may be types, predicates
    and ANY. `states` are those that are looked at: scheduled and ready.
    """

    work: Any
    priority: int
    key: str
    at: datetime
    in_: timedelta
    due: bool
    within: timedelta
    headers: Mapping[str, Any]
    states: Sequence[State]


_KINDS: dict[str, type] = {
    "priority": int,
    "key": str,
    "in_": timedelta,
    "due": bool,
    "within": timedelta,
    "headers": Mapping,
}
_ARTICLE = {int: "an int", str: "a str", timedelta: "a timedelta", bool: "True or False", Mapping: "a mapping"}


class _Anything:
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Anything()
"""Equal to everything."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a task should be like; what is None or ANY does not matter."""

    work: Any
    priority: int | None
    key: str | None
    at: datetime | None
    due: bool | None
    within: timedelta
    headers: dict[str, Any]
    states: tuple[State, ...]

    def misses(self, task: Task) -> list[str]:
        """Where the task is otherwise, a line for each place."""
        found = differences(self.work, task.work, "work")
        if self.priority is not None and task.priority != self.priority:
            found.append(f"priority: expected {self.priority}, got {task.priority}")
        if self.key is not None and task.key != self.key:
            found.append(f"key: expected {show_value(self.key)}, got {show_value(task.key)}")
        if self.at is not None and not self._at_that_time(task):
            got = "none: it was due at once" if task.not_before is None else clock_time(task.not_before)
            found.append(f"not_before: expected {clock_time(self.at)}, got {got}")
        if self.due is not None and (task.state is State.SCHEDULED) == self.due:
            got = f"not due before {clock_time(task.not_before)}" if self.due and task.not_before else "it is due"
            found.append(
                f"due: expected {'a task that is due' if self.due else 'one that is not due yet'}, got {got}"
            )
        return found + differences(self.headers, dict(task.headers), "headers")

    def _at_that_time(self, task: Task) -> bool:
        return task.not_before is not None and self.at is not None and abs(task.not_before - self.at) <= self.within

    def __str__(self) -> str:
        words = [] if self.work is ANY else [f"work={self.work!r}"]
        words += [f"priority={self.priority}"] if self.priority is not None else []
        words += [f"key={self.key!r}"] if self.key is not None else []
        words += [f"at={clock_time(self.at)}"] if self.at is not None else []
        words += [f"due={self.due}"] if self.due is not None else []
        words += [f"headers={self.headers!r}"] if self.headers else []
        words += [f"states={', '.join(self.states)}"] if self.states != WAITING else []
        return ", ".join(words)

    def describe(self, what: str) -> str:
        """`what`, and what it should be like."""
        return f"{what} with {self}" if str(self) else what


def expect(like: Like, clock: Clock) -> Expected:
    """What `like` says, its times on that clock. Raises TypeError or ValueError for what no task can be like."""
    if unknown := set(like) - set(Like.__annotations__):
        raise TypeError(f"{min(unknown)}: no task is described by that; known are {', '.join(Like.__annotations__)}")
    for name, kind in _KINDS.items():
        given = like.get(name)
        if given is not None and (not isinstance(given, kind) or (kind is int and isinstance(given, bool))):
            hint = "; say timedelta(seconds=…)" if kind is timedelta else ""
            raise TypeError(f"{name}: expected {_ARTICLE[kind]}, got {type(given).__name__} {excerpt(given)}{hint}")
    at, in_ = like.get("at"), like.get("in_")
    within = like.get("within")
    if within is not None and within < timedelta(0):
        raise ValueError(f"within: expected zero or more, got {within}")
    if at is not None and in_ is not None:
        raise ValueError("at, in_: both say when; give one of them")
    if in_ is not None:
        at = shift(clock.now(), in_)
    if at is not None:
        to_micros(at, "at" if in_ is None else "in_")
    return Expected(
        work=like.get("work", ANY),
        priority=like.get("priority"),
        key=like.get("key"),
        at=at,
        due=like.get("due"),
        within=_tolerance(clock) if within is None else within,
        headers=dict(like.get("headers") or {}),
        states=states_of(like.get("states", WAITING)),
    )


def _tolerance(clock: Clock) -> timedelta:
    return timedelta(0) if isinstance(clock, FakeClock) else timedelta(seconds=1)


def states_of(states: Sequence[State]) -> tuple[State, ...]:
    """The states to look at. Raises TypeError or ValueError where there are no such states."""
    if isinstance(states, str) or not isinstance(states, Collection):
        raise TypeError(f"states: expected a list of states, such as ['ready'], got {excerpt(states)}")
    if unknown := [state for state in states if state not in tuple(State)]:
        found = excerpt(unknown[0])
        raise ValueError(f"states: expected {', '.join(State)}, got {found}; a task that is done is gone")
    return tuple(State(state) for state in states)
