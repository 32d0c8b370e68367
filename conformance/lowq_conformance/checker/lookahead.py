"""Prunes the search: refutes a configuration whose remaining answers need more unknown claims than there are.

A task that waits and is due is in the way of a claim whose task stands behind it, and of an empty answer, as is one
whose push returned before that was asked for: it must have been handed out before. Where fewer known claims that may
have been given it were called early enough than there are such tasks, unknown claims must have taken the others; and
an unknown claim takes one. So those that need one by some instant are at most as many as the unknown claims that were
called by then (Hall's condition, for any claim that was called early enough will do); a configuration with more is
hopeless. And what is in nobody's way no unknown claim need take.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from lowq_conformance.checker.states import Entry, Packed, State, first_beside
from lowq_conformance.history.operation import Op


class Slot(NamedTuple):
    """Where an operation stands among the known or the unknown ones."""

    known: bool
    at: int


class Placed(NamedTuple):
    """All known operations before `base` are placed, and those of the bits of `window` from there on, and the unknown
    ones of the bits of `used`."""

    base: int
    window: int
    used: int

    def has(self, slot: Slot) -> bool:
        """The operation at that slot is placed."""
        known, at = slot
        if not known:
            return bool(self.used >> at & 1)
        return at < self.base or bool(self.window >> (at - self.base) & 1)

    def adding(self, slot: Slot) -> Placed:
        """That operation is placed as well."""
        base, window, used = self
        if not slot.known:
            return Placed(base, window, used | 1 << slot.at)
        window |= 1 << (slot.at - base)
        while window & 1:
            window >>= 1
            base += 1
        return Placed(base, window, used)


NOBODY = -1
"""The group of the tasks that no known claim was given."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A known claim, and the pushes whose task it may have been given."""

    slot: Slot
    call: float
    ret: float
    empty: bool
    pushes: tuple[tuple[Slot, Entry], ...]
    tasks: frozenset[int]


class Lookahead:
    """The answers of a history, and what each may have to do with the others."""

    def __init__(self, model: Packed, slots: dict[int, Slot]) -> None:
        ops = model.ops
        self.model = model
        self.ordered = model.spec.fifo or model.spec.priority
        added = [(slot, i) for i, slot in slots.items() if ops[i].kind == "push" and ops[i].result != "dup"]
        self.least = min((model.priority[i] for _, i in added), default=0)
        claims = [(slot, ops[i]) for i, slot in slots.items() if ops[i].kind == "claim"]
        self.unknown = [(slot, model.index[op.number]) for slot, op in claims if not slot.known]
        made: dict[str | int, list[tuple[Slot, int]]] = defaultdict(list)
        for slot, i in added:
            made[ops[i].work].append((slot, i))
            made[i].append((slot, i))
        answers = [
            self._answer(slot, op, made[op.work if op.id is None else model.task_of.get(op.id, op.work)])
            for slot, op in claims
            if slot.known
        ]
        self.answers = sorted(answers, key=lambda answer: answer.ret)
        self.group = _groups(answers)
        self.takers: dict[int, list[Answer]] = defaultdict(list)
        self.rivals: dict[int, list[Answer]] = defaultdict(list)
        for answer in answers:
            for task in answer.tasks:
                self.takers[task].append(answer)
            for group in {self.group[task] for task in answer.tasks}:
                self.rivals[group].append(answer)
        self.joining: dict[int, list[tuple[Slot, float]]] = defaultdict(list)
        for slot, i in added:
            if model.joins[i]:
                self.joining[model.priority[i]].append((slot, ops[i].call))
        last_empty = max((answer.call for answer in answers if answer.empty), default=-inf)
        known = [(slot, i) for slot, i in added if slot.known and ops[i].ret < last_empty]
        self.added = [(slot, model.new(i), ops[i].ret) for slot, i in known]
        self.calls = {slot.at: ops[i].call for i, slot in slots.items() if slot.known}
        self.equal: dict[str, list[tuple[Slot, float]]] = defaultdict(list)
        for slot, i in added if model.spec.dedupe == "until_claimed" else ():
            self.equal[ops[i].equal].append((slot, ops[i].call))
        self.settles: dict[int, list[tuple[Slot, bool]]] = defaultdict(list)
        for i, slot in slots.items():
            if ops[i].claim in model.index:
                self.settles[model.index[ops[i].claim]].append((slot, ops[i].result == "ok"))

    def group_of(self, task: Entry) -> int:
        """The group of the task: those for which the same known claims, or none, compete."""
        return self.group.get(task.push, NOBODY)

    def _answer(self, slot: Slot, op: Op, added: Sequence[tuple[Slot, int]]) -> Answer:
        """What the claim may have been given, of these pushes."""
        empty = op.result == "empty"
        pushes = tuple(
            (each, task)
            for each, i in (() if empty else added)
            if self.model.ops[i].call <= op.ret and self.model.takes(task := self.model.new(i), op)
        )
        return Answer(slot, op.call, op.ret, empty, pushes, frozenset(task.push for _, task in pushes))


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
"""A task, its place in the state, and since when it surely waits unless it is claimed: since its lease was over, or
its push had returned; one that is not pushed yet stands last."""


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
    """What is to come once these operations are placed."""

    def __init__(self, all: Lookahead, placed: Placed) -> None:
        has = placed.has
        self._all = all
        self._model = all.model
        self._placed = placed
        self._answers: list[Answer] = []
        since = all.calls.get(placed.base, inf)
        self._next = bisect_left(all.answers, since, key=lambda answer: answer.ret)
        left = [i for slot, i in all.unknown if not has(slot)]
        self._unknown = [(i, all.model.ops[i].call, all.model.ops[i].ret) for i in left]
        self._added = [(entry, ret) for slot, entry, ret in all.added if not has(slot)]
        self._rivals: dict[int, list[float]] = {}
        self._tasks: dict[Slot, list[Entry]] = {}
        self._ends: dict[int, float] = {}
        self._settles: dict[int, tuple[bool, bool]] = {}
        self._joins: dict[int, float] = {}

    def _iterate(self) -> Iterator[Answer]:
        """The answers to come, in the order of their returns; few are asked for, of however many there are."""
        at = 0
        while True:
            while at == len(self._answers):
                if self._next == len(self._all.answers):
                    return
                answer = self._all.answers[self._next]
                self._next += 1
                if not self._placed.has(answer.slot):
                    self._answers.append(answer)
            yield self._answers[at]
            at += 1

    def settled(self, hold: int) -> bool:
        """No settle of that claim is to come."""
        return not self._to_come(hold)[0]

    def kept(self, hold: int) -> bool:
        """A settle of that claim is still to be taken, so that nobody else may claim its task."""
        return self._to_come(hold)[1]

    def _to_come(self, hold: int) -> tuple[bool, bool]:
        """Whether a settle of that claim is to come, and one that is taken."""
        found = self._settles.get(hold)
        if found is None:
            left = [ok for slot, ok in self._all.settles.get(hold, ()) if not self._placed.has(slot)]
            found = self._settles[hold] = (bool(left), any(left))
        return found

    def joined(self, priority: int, closes: float) -> bool:
        """A push of that priority that was called by then is to come."""
        first = self._joins.get(priority)
        if first is None:
            left = (call for slot, call in self._all.joining[priority] if not self._placed.has(slot))
            first = self._joins[priority] = min(left, default=inf)
        return first <= closes

    def wanted(self, state: State, at: int, claim: int) -> bool:
        """That unknown claim may take the task at that slot to some purpose, before a known claim takes it anyway:
        it is in the way of an answer to come, or of an equal push, or of another unknown claim; or it may be set
        aside for that it was handed out once more."""
        task = state[at]
        if self._may_be_spent(task):
            return True
        end = self._end(task.push)
        return (
            (self._model.loosens and not task.back and self._model.early[claim] <= end)
            or self._repeated(self._model.ops[task.push].equal, end)
            or any(
                answer.empty or self._in_the_way(state, at, answer)
                for answer in self._iterate()
                if answer.call <= end
            )
            or (self._may_precede(task, self._all.least) and self._lets_pass(state, at, claim, end))
        )

    def _may_be_spent(self, task: Entry) -> bool:
        """There are claims enough to come for the task to be handed out as often as may be, unless it was."""
        limit = self._model.limit
        if limit is None or self._model.spent(task):
            return False
        return task.taken + len(self._calls(self._all.group_of(task))) + len(self._unknown) >= limit

    def _repeated(self, equal: str, end: float) -> bool:
        """A push of an equal work that was called by then is to come, which would be refused while one waits."""
        return any(call <= end and not self._placed.has(slot) for slot, call in self._all.equal.get(equal, ()))

    def _lets_pass(self, state: State, at: int, claim: int, end: float) -> bool:
        """Another unknown claim may have to take what stands behind the task before `end`: since it acts before that,
        or since what it does is needed by then."""
        others = [each for each in self._unknown if each[0] != claim and each[1] <= end]
        if any(ret < end for _, _, ret in others) and (
            any(answer.empty or self._in_the_way(state, at, answer) for answer in self._iterate())
            or self._repeats(inf)
        ):
            return True
        if others and self._repeats(end):
            return True
        early = min((self._model.early[other] for other, _, _ in others), default=inf)
        return self._model.loosens and any(answer.ret >= early for answer in self._iterate())

    def _repeats(self, end: float) -> bool:
        """A push that was called by then is to come to which another is equal, so that it would be refused."""
        return any(len(pushes) > 1 and self._repeated(equal, end) for equal, pushes in self._all.equal.items())

    def _end(self, task: int) -> float:
        """When the first known claim to come that may have been given that task had returned."""
        end = self._ends.get(task)
        if end is None:
            left = (answer.ret for answer in self._all.takers[task] if not self._placed.has(answer.slot))
            end = self._ends[task] = min(left, default=inf)
        return end

    def _in_the_way(self, state: State, at: int, answer: Answer) -> bool:
        """The claim may be given a task that comes behind the one at that slot."""
        task, priority = state[at], self._model.priority
        first = first_beside(at, state) if self._model.simple else 0
        behind = (entry for entry in (*state[first:at], *state[at + 1 :]) if entry.push in answer.tasks)
        return any(self._may_precede(task, priority[each.push]) for each in (*behind, *self._list_to_come(answer)))

    def _may_precede(self, task: Entry, priority: int) -> bool:
        """A claim may have to take the task rather than another one, of that priority."""
        own = self._model.priority[task.push]
        in_order = self._model.spec.fifo and not (self._model.loosens and task.back)
        return own > priority or (own == priority and in_order)

    def _list_to_come(self, answer: Answer) -> list[Entry]:
        """The tasks that the claim may be given and that are still to be pushed."""
        tasks = self._tasks.get(answer.slot)
        if tasks is None:
            tasks = self._tasks[answer.slot] = [e for slot, e in answer.pushes if not self._placed.has(slot)]
        return tasks

    def _calls(self, group: int) -> list[float]:
        """When the known claims to come were called that compete for the tasks of that group."""
        calls = self._rivals.get(group)
        if calls is None:
            left = [answer.call for answer in self._all.rivals[group] if not self._placed.has(answer.slot)]
            calls = self._rivals[group] = sorted(left)
        return calls

    def hopeless(self, state: State, t: float) -> bool:
        """More tasks would have to be out of the way of an answer than can have been taken after `t`."""
        ahead, eps = self._all, self._model.spec.eps
        tasks: dict[int, list[Task]] = defaultdict(list)
        for at, entry in enumerate(state):
            since = -inf if entry.waiting else self._model.late[entry.hold]
            if self._model.spent(entry):
                continue  # it may be gone
            if since < inf and (entry.hold < 0 or self.settled(entry.hold)):
                tasks[ahead.group_of(entry)].append((at, entry, since))
        for entry, ret in self._added:
            tasks[ahead.group_of(entry)].append((inf, entry, ret))
        crowds = [Crowd(waiting, self._calls(group)) for group, waiting in tasks.items()]
        front = min((crowd.front for crowd in crowds), default=inf)
        crowds.sort(key=lambda crowd: crowd.until, reverse=True)
        unknown = sorted(call for _, call, ret in self._unknown if ret >= t)
        places = {entry.push: at for at, entry in reversed([*enumerate(state)])}
        needed = 0
        for answer in self._iterate():
            if not crowds or answer.ret >= crowds[0].until:
                return False
            if not (answer.empty or ahead.ordered):
                continue
            first = self._first(answer, state, places)
            if first <= front and not answer.empty:
                continue
            behind, steady = self._behind(answer, state, unknown)
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
                        since < answer.call
                        and (answer.empty or at < first)
                        and entry.due <= reading
                        and all(self._stays_before(entry, task, steady) for task in behind)
                        for at, entry, since in crowd.tasks
                    )
                    if late - able > crowd.needed:
                        needed += late - able - crowd.needed
                        crowd.needed = late - able
            if needed > before and needed > bisect_right(unknown, answer.ret):
                return True
        return False

    def _first(self, answer: Answer, state: State, places: Mapping[int, int]) -> int:
        """Where the first task stands that the claim may be given; `places` are the first of each name."""
        first = min((places[task] for task in answer.tasks if task in places), default=len(state))
        return first_beside(first, state) if first < len(state) else first

    def _behind(self, answer: Answer, state: State, unknown: Sequence[float]) -> tuple[set[Entry], bool]:
        """The tasks that the claim may be given and that may stand before others, and whether they stay as they are
        until then."""
        tasks = {*self._list_to_come(answer)}
        if self._model.simple or not answer.tasks:
            return tasks, True
        tasks.update(entry for entry in state if entry.push in answer.tasks)
        return tasks, not (unknown and unknown[0] <= answer.ret) and self._alone(answer)

    def _alone(self, answer: Answer) -> bool:
        """No other claim to come that competes for these tasks is called before this one has returned."""
        group = self._all.group[min(answer.tasks)]
        return all(
            other is answer or other.call > answer.ret or self._placed.has(other.slot)
            for other in self._all.rivals[group]
        )

    def _stays_before(self, one: Entry, other: Entry, steady: bool) -> bool:
        """The first task comes before the second also when that is claimed; unless `steady`, it may have been handed
        back by then."""
        model = self._model
        if not model.before(one, other):
            return False
        if model.simple or model.priority[one.push] != model.priority[other.push]:
            return True
        return steady and other.waiting
