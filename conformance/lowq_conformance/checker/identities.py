"""Gives tasks that had the same id, one after the other, ids that differ.

The checker takes an id for one task's only. So where a queue gave an id to several tasks, each claim of it is told by
its time which of them it was given, and the ids are told apart; where time leaves that open, the id says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from lowq_conformance.history.operation import Op


def tell_apart(ops: Sequence[Op]) -> list[Op]:
    """The history with each id naming one task at most."""
    pushes: dict[str, list[Op]] = defaultdict(list)
    claims: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        if op.id is not None:
            (pushes if op.kind == "push" else claims)[op.id].append(op)
    reused = {id for id, each in pushes.items() if len(each) > 1}
    if not reused:
        return list(ops)
    names: dict[int, str | None] = {}
    untold = {op.work for op in ops if op.kind == "push" and op.result is None}
    for id, each in pushes.items():
        if any(op.work in untold for op in (*each, *claims[id])):  # a push whose answer was not told may own it, too
            names.update((op.number, None) for op in (*each, *claims[id]))
        elif id in reused:
            names.update(_by_time(id, each, claims[id]))
    return [replace(op, id=names[op.number]) if op.number in names else op for op in ops]


def _by_time(id: str, pushes: list[Op], claims: list[Op]) -> dict[int, str | None]:
    """A name of its own for the task of each push and its claims, or none where a claim may be of several."""
    pushes = sorted(pushes, key=lambda op: op.call)
    nameless = dict.fromkeys([op.number for op in (*pushes, *claims)])
    if any(one.ret >= other.call for one, other in pairwise(pushes)):
        return nameless
    names: dict[int, str | None] = {op.number: f"{id} ({turn})" for turn, op in enumerate(pushes, 1)}
    for claim in claims:
        begun = [turn for turn, op in enumerate(pushes, 1) if op.call <= claim.ret]
        turn = begun[-1] if begun else 1
        if pushes[turn - 1].ret >= claim.call and turn > 1:
            return nameless
        names[claim.number] = f"{id} ({turn})"
    return names
