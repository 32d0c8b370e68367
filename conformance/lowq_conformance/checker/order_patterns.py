"""The bad patterns B9 to B12: a wrong order, and a wrong empty answer; found in one sweep over the waits."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from math import inf
from operator import attrgetter

from lowq_conformance.checker.accusation import Accusation
from lowq_conformance.checker.matching import MatchedTask, Matching
from lowq_conformance.checker.wait_index import WaitIndex
from lowq_conformance.checker.wait_intervals import Unknown, Wait, waits
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

LEVELS = 16
"""Priorities for which chains are looked at."""


def order_and_emptiness(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B9 to B12: a better task, or any task, surely waited and was due while another, or none, was handed out."""
    unknown = Unknown(tied, spec)
    every = list(waits(tied, spec, unknown))
    firm = [wait for wait in every if not wait.soft]
    last = max((op.call for op in tied.empties), default=-inf)
    for wait in firm:
        wait.lost = not wait.task.claims and max(wait.start, wait.due) < last
    soft = [wait for wait in every if wait.soft]
    asked = _questions(tied, spec, unknown)
    yield from _single(firm, asked, spec)
    yield from _chains(firm, asked)
    if soft:
        yield from _find_unheld(soft, asked, spec, tied.unknown_claims)


class Question:
    """A claim, and what a wait must be to accuse it: through `start` to `op.ret`, due by `reading`, and better.

    `task` is what it was given, None for empty; `before` is the call of that task's push, or -inf where push order
    decides nothing or nothing may be said of it.
    """

    __slots__ = ("before", "op", "priority", "reading", "start", "task")

    def __init__(
        self, op: Op, task: MatchedTask | None, start: float, reading: float, priority: int, before: float
    ) -> None:
        self.op = op
        self.task = task
        self.start = start
        self.reading = reading
        self.priority = priority
        self.before = before

    def accuses(self, wait: Wait, spec: Spec) -> bool:
        """The wait shows that the answer was wrong."""
        if wait.task is self.task or not (wait.start < self.start and wait.end > self.op.ret):
            return False
        if wait.due > self.reading or (wait.lost and self.task is not None):
            return False  # what is lost is no fault of order: the claim that found nothing tells of it
        if self.task is None or wait.priority > self.priority:
            return True
        if wait.priority < self.priority or wait.task.entered >= self.before:
            return False
        if spec.requeue == "any" and wait.back:
            return False
        return spec.due_order == "push" or not (wait.due > -inf or wait.task.push.not_before is not None)


def _questions(tied: Matching, spec: Spec, unknown: Unknown) -> list[Question]:
    """Every known claim and every empty one, in the order of their starts."""
    asked = [Question(op, None, op.call, op.call, 0, inf) for op in tied.empties]
    for task in tied.tasks:
        push = task.push
        priority = push.priority if spec.priority else 0
        once = len(task.claims) == 1 and not task.ambiguous
        first_only = once and not unknown.may_hold(push.call, task.taken)
        by_push = spec.fifo and (spec.due_order == "push" or push.not_before is None)
        before = push.call if by_push and not task.ambiguous else -inf
        if spec.requeue == "any" and not first_only:
            before = -inf
        for claim in task.claims:
            reading = claim.call
            if once and push.not_before is not None:
                reading = max(reading, push.not_before + spec.eps)
            start = max(claim.call, push.call)
            asked.append(Question(claim, task, start, reading, priority, before))
    asked.sort(key=attrgetter("start"))
    return asked


def _begin_of(wait: Wait) -> float:
    """From then on the task surely waits and is due."""
    return max(wait.start, wait.due)


def _single(firm: list[Wait], asked: list[Question], spec: Spec) -> Iterator[Accusation]:
    """B9 and B10: one task waited all the time."""
    begun = sorted(firm, key=_begin_of)
    starts = [max(wait.start, wait.due) for wait in begun]
    front = WaitIndex((wait.priority for wait in firm), spec)
    size, at = len(begun), 0
    for question in asked:
        start = question.start
        while at < size and starts[at] <= start:
            front.add(begun[at])
            at += 1
        ret = question.op.ret
        if front.latest > ret and (question.task is None or front.better(question.priority, question.before) > ret):
            for wait in begun[:at]:
                if wait.end > ret and question.accuses(wait, spec):
                    yield _accusation(question, (wait,))
                    break


def _chains(firm: list[Wait], asked: list[Question]) -> Iterator[Accusation]:
    """B11: at every instant some better task waited, though none did all the time."""
    timeless = sorted((wait for wait in firm if wait.due == -inf and not wait.lost), key=lambda wait: wait.start)
    levels = sorted({wait.priority for wait in timeless})
    cover = {level: _merge([wait for wait in timeless if wait.priority >= level]) for level in levels[-LEVELS:]}
    if not levels:
        return
    lowest = levels[0]
    for question in asked:
        if question.task is None:
            level = lowest
        else:
            at = bisect_right(levels, question.priority)
            if at == len(levels):
                continue
            level = levels[at]
        if level not in cover:
            continue
        starts, segments = cover[level]
        at = bisect_left(starts, question.start) - 1
        if at < 0:
            continue
        end, members = segments[at]
        if end > question.op.ret:
            links = _links(members, question)
            if len(links) > 1 and all(wait.task is not question.task for wait in links):
                yield _accusation(question, tuple(links))


def _merge(waits_in_order: list[Wait]) -> tuple[list[float], list[tuple[float, list[Wait]]]]:
    """What the open intervals cover together: the starts of the segments, and their ends with their intervals."""
    starts: list[float] = []
    segments: list[tuple[float, list[Wait]]] = []
    end = -inf
    for wait in waits_in_order:
        if wait.start < end:
            if wait.end > end:
                end = wait.end
                segments[-1][1].append(wait)
                segments[-1] = (end, segments[-1][1])
        else:
            end = wait.end
            starts.append(wait.start)
            segments.append((end, [wait]))
    return starts, segments


def _links(members: list[Wait], question: Question) -> list[Wait]:
    """The intervals of a segment that cover the question, as few as come in order; `members` grow in both ends."""
    ends = [wait.end for wait in members]
    at = bisect_right(ends, question.start)
    links = []
    while at < len(members):
        links.append(members[at])
        if members[at].end > question.op.ret:
            break
        at += 1
    return links


def _find_unheld(soft: list[Wait], asked: list[Question], spec: Spec, claims: list[Op]) -> Iterator[Accusation]:
    """B12: each witness must be held by another unknown claim, and there are more witnesses than such claims."""
    calls = sorted(claim.call for claim in claims)
    begun = sorted(soft, key=_begin_of)
    priorities = {wait.priority for wait in soft}
    front = WaitIndex(priorities, spec)
    waiting: list[Wait] = []
    held: dict[int, tuple[Question, Wait]] = {}
    at = 0
    for question in asked:
        while at < len(begun) and _begin_of(begun[at]) <= question.start:
            if begun[at].task.push.number not in held:
                waiting.append(begun[at])
                front.add(begun[at])
            at += 1
        ret = question.op.ret
        if front.latest <= ret or (question.task and front.better(question.priority, question.before) <= ret):
            continue
        waiting = [wait for wait in waiting if wait.end > question.start]
        for wait in waiting:
            if wait.end > ret and question.accuses(wait, spec):
                held.setdefault(wait.task.push.number, (question, wait))
        if len(held) > bisect_right(calls, ret):
            witnesses = tuple(wait for _, wait in held.values())
            ops = tuple(asker.op for asker, _ in held.values())
            kind, said = _words(question, witnesses)
            more = f"{said}; more tasks are missing than unknown claims can hold"
            pushes = tuple(wait.task.push for wait in witnesses)
            yield Accusation(kind, more, (*pushes, *ops))
            return
        waiting = [wait for wait in waiting if wait.task.push.number not in held]
        front = WaitIndex(priorities, spec)
        for wait in waiting:
            front.add(wait)


def _accusation(question: Question, witnesses: tuple[Wait, ...]) -> Accusation:
    kind, said = _words(question, witnesses)
    given = () if question.task is None else (question.task.push,)
    return Accusation(kind, said, (*(wait.task.push for wait in witnesses), *given, question.op))


def _words(question: Question, witnesses: tuple[Wait, ...]) -> tuple[str, str]:
    """The kind of fault and a sentence."""
    first = witnesses[0].task
    if question.task is None:
        lost = not first.claims
        said = f"a claim found nothing while {first.push.work} was due" + (", which never came out" if lost else "")
        return ("lost" if lost else "false empty"), said
    worse = question.task.push.work
    if witnesses[0].priority > question.priority:
        return "priority", f"{worse} came out while {first.push.work}, of higher priority, was due"
    return "order", f"{worse} came out while {first.push.work}, pushed before it, was due"
