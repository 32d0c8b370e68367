"""Shrinks counterexamples by removals that keep a linearizable history linearizable: what remains is a proof
about the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf
from typing import TypeVar

from lowq_conformance.checker.accusation import Accusation
from lowq_conformance.checker.matching import Matching
from lowq_conformance.checker.partition import group_works
from lowq_conformance.checker.wgl import wgl
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

BUDGET = 10_000
LOOKS = 400
"""Searches that one counterexample may take."""

T = TypeVar("T")


def cut(ops: Iterable[Op], at: float) -> list[Op]:
    """The history as it was known at an instant: later calls are gone, and what was open then is unknown."""
    kept = []
    for op in ops:
        if op.call <= at:
            kept.append(op if op.ret <= at or op.result is None else forget(op))
    return kept


def forget(op: Op) -> Op:
    """The operation with nothing known of what came of it."""
    if op.kind == "claim":
        return replace(op, ret=inf, result=None, work="", id=None)
    return replace(op, ret=inf, result=None, id=None)


def keep_works(ops: Sequence[Op], works: frozenset[str]) -> list[Op]:
    """The history of these works and of all that equal them, with every empty and unknown claim."""
    groups, _ = group_works(ops)
    wanted = {op.number for group in groups.values() if any(op.work in works for op in group) for op in group}
    return [op for op in ops if op.number in wanted or (op.kind == "claim" and op.result in ("empty", None))]


def confirm(accusation: Accusation, ops: Sequence[Op], spec: Spec) -> list[Op] | None:
    """The small part of a history that the accusation is about, if the complete search finds it bad."""
    named = {op.number for op in accusation.ops}
    works = frozenset(op.work for op in accusation.ops if op.kind != "claim" or op.result == "task")
    last = max(op.ret if op.ret != inf else op.call for op in accusation.ops)
    mine = keep_works(ops, works)
    start = min((op.call for op in mine if op.kind == "push"), default=-inf)
    part = [
        op
        for op in mine
        if op.number in named or op.result not in ("empty", None) or (op.result is None and op.ret >= start)
    ]
    few = [op for op in part if op.number in named or op.result not in ("dup", "stale")]
    others = set[int]().union(*(bundle for bundle in whole_tasks(few, spec) if not bundle & named))
    few = [op for op in few if op.number not in others]
    for candidate in (cut(few, last), few, cut(part, last), part):
        if wgl(candidate, spec, BUDGET).verdict is False:
            return candidate
    return None


def minimise(ops: Sequence[Op], spec: Spec) -> list[Op]:
    """A bad history as small as removals make it; `ops` itself must be bad.

    Unknown operations stay to the end, since one of them might explain what looks bad; a history that is bad with
    them is bad without them, and then they are left out, but for pushes of what came out.
    """
    looks = 0

    def bad(candidate: list[Op]) -> bool:
        nonlocal looks
        looks += 1
        return looks <= LOOKS and wgl(candidate, spec, BUDGET).verdict is False

    kept = _shortest_prefix(sorted(ops, key=lambda op: op.call), bad)
    for _ in range(3):
        size = len(kept)
        kept = _without_keys(kept, bad)
        kept = _without(kept, observers(kept), bad)
        kept = _without_tasks(kept, spec, bad)
        kept = _without(kept, needless_acks(kept, spec), bad)
        if len(kept) == size or looks > LOOKS:
            break
    works = {op.work for op in kept if op.result == "task"}
    return [op for op in kept if op.result is not None or (op.kind == "push" and op.work in works)]


def _shortest_prefix(ops: list[Op], bad: Callable[[list[Op]], bool]) -> list[Op]:
    times = sorted({op.ret for op in ops if op.ret != inf})
    low, high, best = 0, len(times) - 1, ops
    while low < high:
        middle = (low + high) // 2
        candidate = cut(ops, times[middle])
        if bad(candidate):
            high, best = middle, candidate
        else:
            low = middle + 1
    return best


def _without_keys(ops: list[Op], bad: Callable[[list[Op]], bool]) -> list[Op]:
    groups, _ = group_works(ops)
    numbers = [{op.number for op in group} for group in groups.values()]

    def build(left: list[set[int]]) -> list[Op]:
        wanted = set[int]().union(*left)
        everywhere = {op.number for group in numbers for op in ops if op.number in group}
        return [op for op in ops if op.number in wanted or op.number not in everywhere]

    return build(ddmin(numbers, lambda left: bad(build(left))))


def _without(ops: list[Op], spare: list[Op], bad: Callable[[list[Op]], bool]) -> list[Op]:
    """Without as many of the spare operations as can go."""
    numbers = {op.number for op in spare}

    def build(left: list[int]) -> list[Op]:
        gone = numbers.difference(left)
        return [op for op in ops if op.number not in gone]

    return build(ddmin(sorted(numbers), lambda left: bad(build(left))))


def _without_tasks(ops: list[Op], spec: Spec, bad: Callable[[list[Op]], bool]) -> list[Op]:
    """Whole tasks go where no refused push of an equal work remains."""
    bundles = whole_tasks(ops, spec)

    def build(left: list[set[int]]) -> list[Op]:
        gone = set[int]().union(*bundles).difference(*left) if bundles else set[int]()
        return [op for op in ops if op.number not in gone]

    return build(ddmin(bundles, lambda left: bad(build(left))))


def observers(ops: Sequence[Op]) -> list[Op]:
    """The operations that changed nothing."""
    return [op for op in ops if op.result in ("empty", "dup", "stale")]


def whole_tasks(ops: Sequence[Op], spec: Spec) -> list[set[int]]:
    """The numbers of the operations on each task that can go as a whole.

    No push of an equal work may be left that was refused while the task can have stood: one that surely had been
    acked by then, or that came later, is not what it was refused for.
    """
    tied = Matching(ops, spec)
    refused: dict[str, list[Op]] = {}
    for dup in tied.dups:
        refused.setdefault(dup.equal, []).append(dup)
    bundles = []
    for task in tied.tasks:
        if task.ambiguous:
            continue
        settles = [op for claim in task.claims for op in tied.settles.get(claim.number, ())]
        gone = min((op.ret for op in settles if op.kind == "ack" and op.result == "ok"), default=inf)
        push = task.push
        if all(gone < dup.call or dup.ret < push.call for dup in refused.get(push.equal, ())):
            bundles.append({push.number, *(claim.number for claim in task.claims), *(op.number for op in settles)})
    return bundles


def needless_acks(ops: Sequence[Op], spec: Spec) -> list[Op]:
    """Acks without which their task only stays leased, which nobody can notice."""
    if spec.grace is not None or any(op.kind == "push" and op.equal != op.work for op in ops):
        return []
    settles: dict[int, int] = {}
    for op in ops:
        settles[op.claim] = settles.get(op.claim, 0) + 1
    works: dict[str, float] = {}
    for op in ops:
        if op.kind == "push":
            works[op.work] = max(works.get(op.work, -inf), op.ret)
    return [op for op in ops if op.kind == "ack" and settles[op.claim] == 1 and works.get(op.work, -inf) < op.call]


def ddmin(parts: list[T], bad: Callable[[list[T]], bool]) -> list[T]:
    """As few of the parts as stay bad together; the empty list is tried first."""
    if not parts or bad([]):
        return []
    size = len(parts)
    while size > 0:
        at = 0
        while at < len(parts):
            fewer = parts[:at] + parts[at + size :]
            if len(fewer) < len(parts) and bad(fewer):
                parts = fewer
            else:
                at += size
        size //= 2
    return parts
