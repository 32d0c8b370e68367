"""Whether some order explains a history, by trying everything: no memo, no reductions, explicit clock readings.

Written apart from `lowq_conformance.checker.wgl`, to be compared with it on histories of at most 8 operations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec


@dataclass(frozen=True)
class Live:
    """A task in the queue; `deadline` is when the lease of `holder` may run out, `waits` that nobody holds it."""

    work: str
    equal: str
    id: str | None
    unknown: bool
    priority: int
    place: int
    due: float | None
    holder: int | None = None
    deadline: float = inf
    forced: float = inf
    waits: bool = True
    back: bool = False
    taken: int = 0
    aside: bool = False


def brute(ops: Sequence[Op], spec: Spec) -> bool:
    """Whether some order, with effects and readings at some times, gets every answer."""
    points = {op.call for op in ops}
    points |= {op.not_before + sign * spec.eps for op in ops if op.not_before is not None for sign in (0, -1)}
    points |= {op.call + op.lease - 2 * spec.eps for op in ops if op.kind == "claim" and op.lease < inf}
    ids = {op.id for op in ops if op.kind == "push" and op.id is not None}
    return _explained(list(ops), (), -inf, 0, spec, sorted(points), frozenset(ids))


def _explained(
    left: list[Op],
    queue: tuple[Live, ...],
    now: float,
    pushed: int,
    spec: Spec,
    points: list[float],
    ids: frozenset[str],
) -> bool:
    if all(op.result is None for op in left):
        return True
    for op in left:
        rest = [other for other in left if other is not op]
        if any(other.ret < op.call for other in rest if other.result is not None):
            continue
        if any(other.number == op.claim for other in rest):
            continue
        start = max(now, op.call)
        for t in [start, *(point for point in points if point > start)]:
            if t > op.ret:
                break
            for before in _set_asides(queue, t, spec):
                for after in _acts(op, before, t, pushed, spec, ids):
                    if _explained(rest, after, t, pushed + 1, spec, points, ids):
                        return True
        if op.result is None and _explained(rest, queue, now, pushed, spec, points, ids):
            return True
    return False


def _expiries(queue: tuple[Live, ...], now: float) -> Iterator[tuple[Live, ...]]:
    """Any of the leases whose deadline has come have run out by now."""
    over = [task for task in queue if not task.waits and task.deadline <= now]
    for size in range(len(over) + 1):
        for chosen in combinations(over, size):
            yield tuple(replace(task, waits=True, back=True) if task in chosen else task for task in queue)


def _set_asides(queue: tuple[Live, ...], now: float, spec: Spec) -> Iterator[tuple[Live, ...]]:
    """The queues after leases have run out, and any of those were set aside that came back often enough."""
    for before in _expiries(queue, now):
        spent = [
            task
            for task in before
            if spec.max_deliveries is not None and task.waits and not task.aside and task.taken >= spec.max_deliveries
        ]
        for size in range(len(spent) + 1):
            for chosen in combinations(spent, size):
                yield tuple(
                    replace(task, aside=task.aside or task in chosen) if task.holder is not None else task
                    for task in before
                    if task.holder is not None or task not in chosen
                )


def _acts(
    op: Op, queue: tuple[Live, ...], now: float, pushed: int, spec: Spec, ids: frozenset[str]
) -> Iterator[tuple[Live, ...]]:
    """The queues after the operation, for each way in which it gets its answer."""
    forced = tuple(
        replace(task, waits=True, back=True) if not task.waits and op.call >= task.forced else task for task in queue
    )
    if op.kind == "push":
        blocked = any(
            task.equal == op.equal and (spec.dedupe == "until_done" or task.waits)
            for task in forced
            if not task.aside
            if spec.dedupe != "off"
        )
        if op.result == "dup":
            if blocked:
                yield queue
        elif not blocked:
            new = Live(op.work, op.equal, op.id, op.result is None, op.priority, pushed, op.not_before)
            yield (*queue, new)
        return
    if op.kind == "claim":
        readings = {op.call - spec.eps, now + spec.eps}
        readings |= {task.due for task in queue if task.due is not None}
        for reading in readings:
            if not op.call - spec.eps <= reading <= now + spec.eps:
                continue
            ready = [task for task in forced if task.waits and (task.due is None or task.due <= reading)]
            ready = [task for task in ready if not task.aside]
            if op.result == "empty" and not ready:
                yield queue
            if op.result == "empty":
                continue
            for task in ready:
                if op.result is not None and not _same(task, op, ids):
                    continue
                if any(_first(other, task, spec) for other in ready if other is not task):
                    continue
                late = inf
                if spec.grace is not None:
                    late = op.ret + op.lease + spec.grace + 2 * spec.eps
                deadline, taken = op.call + op.lease - 2 * spec.eps, task.taken + 1
                held = replace(task, holder=op.number, waits=False, deadline=deadline, forced=late, taken=taken)
                yield tuple(held if each is task else old for each, old in zip(forced, queue, strict=True))
        return
    mine = [task for task in queue if task.holder == op.claim]
    if op.result == "stale":
        if not mine or mine[0].waits:
            yield queue
        return
    for task in mine:
        others = tuple(each for each in queue if each is not task)
        if op.kind == "ack":
            yield others
        else:
            due = task.due if op.not_before is None else op.not_before
            taken = task.taken if spec.counts_release or op.ret >= task.deadline else task.taken - 1
            back = replace(task, holder=None, waits=True, due=due, back=True, forced=inf, deadline=inf, taken=taken)
            if task.aside:
                back = replace(back, taken=spec.max_deliveries or 0, aside=False)
            yield (*others, back)


def _same(task: Live, op: Op, ids: frozenset[str]) -> bool:
    if task.work != op.work:
        return False
    if op.id is None or task.id == op.id:
        return True
    return task.id is None and op.id not in ids


def _first(one: Live, other: Live, spec: Spec) -> bool:
    """Of two due tasks `one` has to come out first."""
    if spec.priority and one.priority != other.priority:
        return one.priority > other.priority
    if not spec.fifo:
        return False
    if spec.requeue == "any" and (one.back or other.back):
        return False
    if spec.due_order == "push" or (one.due is None and other.due is None):
        return one.place < other.place
    if spec.due_order == "due" and one.due is not None and other.due is not None:
        return one.due + 2 * spec.eps < other.due
    return False
