"""Each work alone, searched with order and emptiness switched off: exact for dedupe, leases and settles.

To look at one work only takes competitors away, so a history that has an order keeps it. What the fast conditions
cannot tell apart (one work pushed again and again, without ids) is decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from lowq_conformance.history import Op
from lowq_conformance.search import wgl
from lowq_conformance.spec import Spec

BUDGET = 4_000
"""Configurations for each work; a work that takes more is `unknown`, never wrong."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The groups of works that no order explains, and how many were looked at and not decided."""

    bad: list[frozenset[str]]
    searched: int
    unknown: int


def per_key(ops: Sequence[Op], spec: Spec, enough: int = 3) -> Keys:
    """Every group of equal works is searched alone, unless nothing about it can be wrong; stops at `enough` bad."""
    alone = replace(spec, fifo=False, priority=False, grace=None)
    groups, lost = grouped(ops)
    bad: list[frozenset[str]] = []
    searched = unknown = 0
    for works, group in groups.items():
        if _trivial(group):
            continue
        found = wgl([*group, *_relaxed(lost, group)], alone, BUDGET)
        searched += 1
        unknown += found.verdict is None
        if found.verdict is False:
            bad.append(frozenset({op.work for op in group} | {works}))
            if len(bad) == enough:
                break
    return Keys(bad, searched, unknown)


def grouped(ops: Sequence[Op]) -> tuple[dict[str, list[Op]], list[Op]]:
    """The operations on each group of works that one key or one text holds together, and the unknown claims."""
    group_of: dict[str, str] = {}
    for op in ops:
        if op.kind == "push" and op.equal != op.work:
            one, other = _root(group_of, op.work), _root(group_of, op.equal)
            group_of[one] = other
    groups: dict[str, list[Op]] = defaultdict(list)
    lost: list[Op] = []
    works: dict[int, str] = {}
    for op in ops:
        if op.kind == "claim":
            if op.result is None:
                lost.append(op)
                continue
            if op.result == "empty":
                continue
            works[op.number] = op.work
        work = op.work if op.kind in ("push", "claim") else works.get(op.claim, op.work)
        groups[_root(group_of, work) if group_of else work].append(op)
    return groups, lost


def _root(group_of: dict[str, str], work: str) -> str:
    while (above := group_of.get(work, work)) != work:
        work = above
    return work


def _trivial(group: list[Op]) -> bool:
    """One push that was taken, at most one claim after it began, and at most one settle of that, which was taken."""
    if len(group) > 3:
        return False
    push = group[0]
    if push.kind != "push" or push.result != "added":
        return False
    if len(group) == 1:
        return True
    claim = group[1]
    if claim.kind != "claim" or claim.ret < push.call or (claim.id is not None and claim.id != push.id):
        return False
    if push.not_before is not None and push.not_before > claim.ret:
        return False
    return len(group) == 2 or (group[2].kind in ("ack", "release") and group[2].result != "stale")


def _relaxed(lost: list[Op], group: list[Op]) -> list[Op]:
    """The unknown claims, without a last instant and with the shortest lease, and no more of them than can matter.

    Two in a row without a known operation of the group between them can be replaced by one, and of claims with one
    lease an earlier one can do all that a later one can.
    """
    end = max(op.ret if op.ret != inf else op.call for op in group)
    start = min(op.call for op in group)
    alive = sorted((op for op in lost if op.ret >= start and op.call <= end), key=lambda op: op.call)
    lease = min((op.lease for op in alive), default=inf)
    return [replace(op, ret=inf, lease=lease) for op in alive[: len(group) + 1]]
