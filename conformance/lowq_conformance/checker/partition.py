"""Partitions the history by work (P-compositionality) and checks each part alone, without order and empty claims:
exact for dedupe, leases and settles.

To look at one work only takes competitors away, so a history that has an order keeps it. What the fast conditions
cannot tell apart (one work pushed again and again, without ids) is decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import attrgetter

from lowq_conformance.checker.wgl import wgl
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

BUDGET = 4_000
"""Configurations for each work; a work that takes more is `unknown`, never wrong."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The groups of works that no order explains, and how many were looked at and not decided."""

    bad: list[frozenset[str]]
    searched: int
    unknown: int


def search_each_work(ops: Sequence[Op], spec: Spec, enough: int = 3) -> Partition:
    """Every group of equal works is searched alone, unless its plainest order explains it; stops at `enough` bad."""
    alone = replace(spec, fifo=False, priority=False, grace=None)
    groups, lost = group_works(ops)
    bad: list[frozenset[str]] = []
    searched = unknown = 0
    for works, group in groups.items():
        group.sort(key=attrgetter("call"))
        if _plain(group):
            continue
        for part in _parts(group):
            if _walks(part, alone):
                continue
            found = wgl([*part, *_relax(lost, part, spec.max_deliveries)], alone, BUDGET)
            searched += 1
            unknown += found.verdict is None
            if found.verdict is False:
                bad.append(frozenset({op.work for op in group} | {works}))
                break
        if len(bad) == enough:
            break
    return Partition(bad, searched, unknown)


def group_works(ops: Sequence[Op]) -> tuple[dict[str, list[Op]], list[Op]]:
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
        kind, work = op.kind, op.work
        if kind == "claim":
            if op.result is None:
                lost.append(op)
                continue
            if op.result == "empty":
                continue
            works[op.number] = work
        elif kind != "push":
            work = works.get(op.claim, work)
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
        if op.ret > open_until:
            open_until = op.ret
        if op.result == "added":
            alive += 1
        elif op.kind == "ack" and op.result == "ok":
            alive -= 1
    yield group[start:]


def _plain(group: list[Op]) -> bool:
    """One push that added, at most one claim of its task, at most one ack of that: the order of their calls explains
    them, whatever the spec."""
    if len(group) > 3:
        return False
    push = group[0]
    if push.result != "added" or push.not_before is not None:
        return False
    if len(group) > 1:
        claim = group[1]
        if claim.result != "task" or claim.id != push.id or claim.work != push.work:
            return False
        if len(group) > 2:
            ack = group[2]
            return ack.kind == "ack" and ack.result == "ok" and ack.claim == claim.number
    return True


def _walks(group: list[Op], spec: Spec) -> bool:
    """One order explains the group: that of the returns, a push no later than the first claim of its task.

    Most groups have it, and to walk it once costs a tenth of a search; False says nothing.
    """
    first: dict[tuple[str | None, str], float] = {}
    equals: set[str] = set()
    steps: list[tuple[float, bool, int, Op]] = []
    late: list[int] = []
    for op in group:
        result, ret = op.result, op.ret
        if result == "task":
            task = op.id, op.work
            if ret < first.get(task, inf):
                first[task] = ret
        elif result == "added":
            equals.add(op.equal)
            late.append(len(steps))
        elif result == "dup":
            equals.add(op.equal)
        elif result is None:
            continue
        steps.append((ret, op.kind != "push", op.number, op))
    if len(equals) > 1:
        return False
    for at in late:
        op = steps[at][3]
        if (taken := first.get((op.id, op.work), inf)) < op.ret:
            steps[at] = (taken, False, op.number, op)
    steps.sort()
    done, off, eps = spec.dedupe == "until_done", spec.dedupe == "off", spec.eps
    due: dict[tuple[str | None, str], float] = {}
    held: dict[tuple[str | None, str], tuple[int, float]] = {}
    holder: dict[int, tuple[str | None, str]] = {}
    t = -inf
    for _, _, _, op in steps:
        if op.call > t:
            t = op.call
        result = op.result
        if result == "added":
            task = op.id, op.work
            if task in due or (due and (done or (not off and len(held) < len(due)))):
                return False
            due[task] = -inf if op.not_before is None else op.not_before - eps
        elif result == "dup":
            if off or not due or not (done or len(held) < len(due)):
                return False
        elif result == "task":
            task = op.id, op.work
            if task not in due:
                return False
            if due[task] > t:
                t = due[task]
            if task in held:
                before, end = held[task]
                del holder[before]
                if end > t:
                    t = end
            held[task] = (op.number, op.call + op.lease - 2 * eps)
            holder[op.number] = task
        elif op.claim in holder:
            if result == "stale":
                return False
            task = holder.pop(op.claim)
            del held[task]
            if op.kind == "ack":
                del due[task]
            elif op.not_before is not None:
                due[task] = op.not_before - eps
        elif result != "stale":
            return False
        if t > op.ret:
            return False
    return True


def _relax(lost: list[Op], group: list[Op], limit: int | None) -> list[Op]:
    """The unknown claims, without a last instant and with the shortest lease, and no more of them than can matter.

    Two in a row without a known operation of the group between them can be replaced by one, unless a task is set
    aside that was claimed too often, and of claims with one lease an earlier one can do all that a later one can.
    """
    end = max(op.ret if op.ret != inf else op.call for op in group)
    start = min(op.call for op in group)
    alive = sorted((op for op in lost if op.ret >= start and op.call <= end), key=lambda op: op.call)
    lease = min((op.lease for op in alive), default=inf)
    return [replace(op, ret=inf, lease=lease) for op in alive[: (len(group) + 1) * (limit or 1)]]
