"""Each work alone, searched with order and emptiness switched off: exact for dedupe, leases and settles.

To look at one work only takes competitors away, so a history that has an order keeps it. What the fast conditions
cannot tell apart (one work pushed again and again, without ids) is decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
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
    """Every group of equal works is searched alone, unless its plainest order explains it; stops at `enough` bad."""
    alone = replace(spec, fifo=False, priority=False, grace=None)
    groups, lost = grouped(ops)
    bad: list[frozenset[str]] = []
    searched = unknown = 0
    for works, group in groups.items():
        group.sort(key=lambda op: op.call)
        for part in _parts(group):
            if _walks(part, alone):
                continue
            found = wgl([*part, *_relaxed(lost, part)], alone, BUDGET)
            searched += 1
            unknown += found.verdict is None
            if found.verdict is False:
                bad.append(frozenset({op.work for op in group} | {works}))
                break
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


def _parts(group: list[Op]) -> Iterator[list[Op]]:
    """The group, parted wherever nothing is open and every task that was added has surely been acked."""
    start = alive = 0
    open_until = -inf
    for at, op in enumerate(group):
        if alive == 0 and op.call > open_until and at > start:
            yield group[start:at]
            start = at
        if op.result is None:
            if op.kind == "push":
                break
            continue
        open_until = max(open_until, op.ret)
        if op.result == "added":
            alive += 1
        elif op.kind == "ack" and op.result == "ok":
            alive -= 1
    yield group[start:]


def _walks(group: list[Op], spec: Spec) -> bool:
    """One order explains the group: that of the returns, a push no later than the first claim of its task.

    Most groups have it, and to walk it once costs a tenth of a search; False says nothing.
    """
    first: dict[str | None, float] = {}
    for op in group:
        if op.result == "task" and op.ret < first.get(op.id, inf):
            first[op.id] = op.ret
    steps = []
    for op in group:
        if op.result is not None:
            key = op.ret
            if op.result == "added" and first.get(op.id, inf) < key:
                key = first[op.id]
            steps.append((key, op.kind != "push", op.number, op))
    steps.sort()
    done, off = spec.dedupe == "until_done", spec.dedupe == "off"
    due: dict[str | None, float] = {}
    held: dict[str | None, tuple[int, float]] = {}
    t = -inf
    for _, _, _, op in steps:
        if op.call > t:
            t = op.call
        result, id = op.result, op.id
        if result == "added":
            if id in due or op.equal != op.work or (due and (done or (not off and len(held) < len(due)))):
                return False
            due[id] = -inf if op.not_before is None else op.not_before - spec.eps
        elif result == "dup":
            if off or not due or not (done or len(held) < len(due)):
                return False
        elif result == "task":
            if id not in due:
                return False
            t = max(t, due[id], held[id][1] if id in held else -inf)
            held[id] = (op.number, op.call + op.lease - 2 * spec.eps)
        else:
            mine = [each for each, (claim, _) in held.items() if claim == op.claim]
            if bool(mine) == (result == "stale"):
                return False
            if mine:
                del held[mine[0]]
                if op.kind == "ack":
                    del due[mine[0]]
                elif op.not_before is not None:
                    due[mine[0]] = op.not_before - spec.eps
        if t > op.ret:
            return False
    return True


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
