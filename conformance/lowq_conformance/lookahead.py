"""What a configuration of the search still needs, read off the answers that are to come.

A task that waits and is due is in the way of a claim whose task stands behind it, and of an empty answer, as is one
whose push returned before that was asked for: it must have been handed out before. Where fewer known claims that may
have been given it were called early enough than there are such tasks, unknown claims must have taken the others; and
an unknown claim takes one. So those that need one by some instant are at most as many as the unknown claims that were
called by then (Hall's condition, for any claim that was called early enough will do); a configuration with more is
hopeless. And what is in nobody's way no unknown claim need take.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lowq_conformance.history import Op
from lowq_conformance.packed import Entry, Packed, State


class Place(NamedTuple):
    """Where an operation stands among the known or the unknown ones."""

    known: bool
    at: int


class Placed(NamedTuple):
    """All known operations before `base` are placed, and those of the bits of `window` from there on, and the unknown
    ones of the bits of `used`."""

    base: int
    window: int
    used: int

    def has(self, place: Place) -> bool:
        """The operation at that place is placed."""
        known, at = place
        if not known:
            return bool(self.used >> at & 1)
        return at < self.base or bool(self.window >> (at - self.base) & 1)

    def adding(self, place: Place) -> Placed:
        """That operation is placed as well."""
        base, window, used = self
        if not place.known:
            return Placed(base, window, used | 1 << place.at)
        window |= 1 << (place.at - base)
        while window & 1:
            window >>= 1
            base += 1
        return Placed(base, window, used)


NOBODY = -1
"""The group of the tasks that no known claim was given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A known claim, and the pushes whose task it may have been given."""

    place: Place
    call: float
    ret: float
    empty: bool
    pushes: tuple[tuple[Place, Entry], ...]
    tasks: frozenset[int]


class Lookahead:
    """The answers of a history, and what each may have to do with the others."""

    def __init__(self, model: Packed, places: dict[int, Place]) -> None:
        ops = model.ops
        self.model = model
        self.ordered = model.spec.fifo or model.spec.priority
        added = [(place, i) for i, place in places.items() if ops[i].kind == "push" and ops[i].result != "dup"]
        claims = [(place, ops[i]) for i, place in places.items() if ops[i].kind == "claim"]
        self.unknown = [(place, op.call, op.ret) for place, op in claims if not place.known]
        answers = [self._answer(place, op, added) for place, op in claims if place.known]
        self.answers = sorted(answers, key=lambda answer: answer.ret)
        self.group = _groups(answers)
        self.takers: dict[int, list[Answer]] = defaultdict(list)
        self.rivals: dict[int, list[Answer]] = defaultdict(list)
        for answer in answers:
            for task in answer.tasks:
                self.takers[task].append(answer)
            for group in {self.group[task] for task in answer.tasks}:
                self.rivals[group].append(answer)
        self.added = [(place, model.new(i), ops[i].ret) for place, i in added if place.known]
        self.last_empty = max((answer.call for answer in answers if answer.empty), default=-inf)
        self.equal: dict[str, list[tuple[Place, float]]] = defaultdict(list)
        for place, i in added:
            self.equal[ops[i].equal].append((place, ops[i].call))
        self.settles: dict[int, list[tuple[Place, bool]]] = defaultdict(list)
        for i, place in places.items():
            if ops[i].claim in model.index:
                self.settles[model.index[ops[i].claim]].append((place, ops[i].result == "ok"))

    def group_of(self, task: Entry) -> int:
        """The group of the task: those for which the same known claims, or none, compete."""
        return self.group.get(task.push, NOBODY)

    def _answer(self, place: Place, op: Op, added: Sequence[tuple[Place, int]]) -> Answer:
        empty = op.result == "empty"
        pushes = tuple(
            (each, task)
            for each, i in (() if empty else added)
            if self.model.ops[i].call <= op.ret and self.model.takes(task := self.model.new(i), op)
        )
        return Answer(place, op.call, op.ret, empty, pushes, frozenset(task.push for _, task in pushes))


def _groups(answers: Sequence[Answer]) -> dict[int, int]:
    """For each task a task of its group: those of one group have claims in common that may have been given them."""
    group: dict[int, int] = {}
    for answer in answers:
        joined = {group.setdefault(task, task) for task in answer.tasks}
        for task, of in group.items():
            if of in joined:
                group[task] = min(joined)
    return group


Task = tuple[float, Entry, float]
"""A task that waits, its place in the state, and when its push returned; one that is not pushed yet stands last."""


class Crowd:
    """The tasks of one group that wait, when the known claims were called that may take them, and how many of the
    tasks an unknown claim must have taken. From `until` on there are claims enough."""

    __slots__ = ("front", "needed", "takers", "tasks", "until")

    def __init__(self, tasks: list[Task], takers: list[float]) -> None:
        self.tasks = tasks
        self.takers = takers
        self.until = takers[len(tasks) - 1] if len(tasks) <= len(takers) else inf
        self.front = tasks[0][0]
        self.needed = 0


class Outlook:
    """What is to come at one configuration."""

    def __init__(self, all: Lookahead, placed: Placed, state: State) -> None:
        self._all = all
        self._model = all.model
        self._placed = placed
        self._state = state
        self._first: dict[int, int] = {}

    def settled(self, hold: int) -> bool:
        """No settle of that claim is to come."""
        return all(self._placed.has(place) for place, _ in self._all.settles[hold])

    def kept(self, hold: int) -> bool:
        """A settle of that claim is still to be taken, so that nobody else may claim its task."""
        return any(ok and not self._placed.has(place) for place, ok in self._all.settles[hold])

    def wanted(self, at: int, early: float) -> bool:
        """An unknown claim whose lease may end at `early` may take the task at that place to some purpose: it is in
        the way of an answer to come, and this before a known claim takes it anyway."""
        spec, entry, has = self._model.spec, self._state[at], self._placed.has
        end = min((answer.ret for answer in self._all.takers[entry.push] if not has(answer.place)), default=inf)
        if self._all.ordered and spec.requeue == "any" and early <= end:
            return True
        if spec.dedupe == "until_claimed" and any(
            call <= end and not has(place) for place, call in self._all.equal[self._model.ops[entry.push].equal]
        ):
            return True
        return any(
            answer.empty or (self._all.ordered and self._may_stand_before(at, answer))
            for answer in self._all.answers
            if answer.call <= end and not has(answer.place)
        )

    def _may_stand_before(self, at: int, answer: Answer) -> bool:
        """The claim may be given a task that stands behind the one at that place when it is given."""
        first = at + 1 if self._model.simple else 0
        return any(entry.push in answer.tasks for entry in self._state[first:]) or any(
            not self._placed.has(place) for place, _ in answer.pushes
        )

    def hopeless(self, t: float) -> bool:
        """More tasks would have to be out of the way of an answer than can have been taken after `t`."""
        ahead, has, eps = self._all, self._placed.has, self._model.spec.eps
        self._first = {entry.push: at for at, entry in reversed([*enumerate(self._state)])}
        tasks: dict[int, list[Task]] = defaultdict(list)
        for at, entry in enumerate(self._state):
            if entry.waiting and (entry.hold < 0 or self.settled(entry.hold)):
                tasks[ahead.group_of(entry)].append((at, entry, -inf))
        for place, entry, ret in ahead.added:
            if ret < ahead.last_empty and not has(place):
                tasks[ahead.group_of(entry)].append((inf, entry, ret))
        crowds = [
            Crowd(waiting, [answer.call for answer in ahead.rivals[group] if not has(answer.place)])
            for group, waiting in tasks.items()
        ]
        front = min((crowd.front for crowd in crowds), default=inf)
        crowds.sort(key=lambda crowd: crowd.until, reverse=True)
        unknown = sorted(call for place, call, ret in ahead.unknown if ret >= t and not has(place))
        needed = 0
        for answer in ahead.answers:
            if not crowds or answer.ret >= crowds[0].until:
                return False
            if not (answer.empty or ahead.ordered) or has(answer.place):
                continue
            first, behind, steady = self._behind(answer, unknown)
            if first <= front and not answer.empty:
                continue
            reading = answer.call - eps
            before = needed
            for crowd in crowds:
                if answer.ret >= crowd.until:
                    break
                if crowd.front >= first and not answer.empty:
                    continue
                able = bisect_right(crowd.takers, answer.ret)
                if len(crowd.tasks) - able > crowd.needed:
                    late = sum(
                        (ret < answer.call if at == inf and answer.empty else at < first)
                        and entry.due <= reading
                        and all(self._stays_before(entry, task, steady) for task in behind)
                        for at, entry, ret in crowd.tasks
                    )
                    if late - able > crowd.needed:
                        needed += late - able - crowd.needed
                        crowd.needed = late - able
            if needed > before and needed > bisect_right(unknown, answer.ret):
                return True
        return False

    def _behind(self, answer: Answer, unknown: Sequence[float]) -> tuple[float, list[Entry], bool]:
        """Where the first task stands that the claim may be given, all such tasks, and whether they stay as they are
        until then."""
        model, has = self._model, self._placed.has
        if not answer.tasks:
            return len(self._state), [], True
        first = min((self._first[task] for task in answer.tasks if task in self._first), default=len(self._state))
        if not first:
            return first, [], True
        tasks = [task for place, task in answer.pushes if not has(place)]
        if model.simple:
            return first, tasks, True
        tasks += [entry for entry in self._state if entry.push in answer.tasks]
        group = self._all.group[min(answer.tasks)]
        steady = not (unknown and unknown[0] <= answer.ret) and all(
            other is answer or other.call > answer.ret or has(other.place) for other in self._all.rivals[group]
        )
        return first, tasks, steady

    def _stays_before(self, one: Entry, other: Entry, steady: bool) -> bool:
        """The first task comes before the second also when that is claimed; unless `steady`, it may have been handed
        back by then."""
        model = self._model
        if not model.before(one, other):
            return False
        if model.simple or model.priority[one.push] != model.priority[other.push]:
            return True
        return steady and other.waiting
