"""Tells which operations each answer depends on, and by when their effect must be there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec


def by_when(ops: Sequence[Op]) -> list[float]:
    """For each operation the end of the first that needs its effect: of a push the first claim of its task, of a
    release the next one, of all others their own."""
    first: dict[object, float] = {}
    last: dict[object, list[float]] = defaultdict(list)
    of = {op.number: op for op in ops}
    for op in ops:
        if op.kind == "claim" and op.result == "task":
            for key in _names(op):
                first[key] = min(first.get(key, inf), op.ret)
                last[key].append(op.ret)
    needs = []
    for op in ops:
        need = op.ret
        if op.kind == "push" and op.result != "dup":
            need = first.get(_name(op), inf)
        elif op.kind == "release" and op.claim in of:
            need = min((ret for ret in last[_name(of[op.claim])] if ret >= op.call), default=inf)
        needs.append(need)
    return needs


def needless(ops: Sequence[Op], spec: Spec) -> Iterator[Op]:
    """The unknown operations without which every history that is explained with them is explained too.

    - A push: a task that no known claim may have been given and no push was refused for is only in the way.
    - An ack, where a lease never surely ends and no push was refused: the task may stay leased for ever.
    - A release after which no known claim was given that work, where no push was refused, and none taken since the
      task was set aside; one that puts the task off
      only where a lease never surely ends, since what was put off is in nobody's way.

    An ack or a release ends the lease, too, which a stale settle of the same claim may need.
    """
    pushed = {op.id for op in ops if op.kind == "push"}
    given = {(op.work, op.id) for op in ops if op.kind == "claim" and op.result == "task"}
    given |= {(work, None) for work, id in given if id not in pushed}
    latest: dict[str, float] = defaultdict(lambda: -inf)
    for op in ops:
        if op.kind == "claim" and op.result == "task":
            latest[op.work] = max(latest[op.work], op.ret)
    refused = {op.equal for op in ops if op.result == "dup" and spec.dedupe != "off"}
    stale = {op.claim for op in ops if op.result == "stale"}
    of = {op.number: op for op in ops}
    for op in ops:
        if op.result is not None:
            continue
        if op.kind == "push":
            if (op.work, op.id) not in given and (op.work, None) not in given and op.equal not in refused:
                yield op
        elif op.kind == "ack":
            if op.claim not in stale and not refused and spec.grace is None and spec.dedupe != "until_done":
                yield op
        elif op.kind == "release":
            settled = of.get(op.claim)
            hides = op.not_before is not None and spec.grace is not None
            moves = spec.max_deliveries is not None and spec.dedupe == "until_done"
            if (
                op.claim not in stale
                and not refused
                and not hides
                and not moves
                and settled
                and op.call > latest[settled.work]
            ):
                yield op


def _only_push(ops: Sequence[Op]) -> Callable[[Op], int | None]:
    """The number of the only push whose task that claim can have been given, where there is but one."""
    ids = {op.id: op.number for op in ops if op.kind == "push" and op.id is not None and op.result != "dup"}
    works: dict[str, int | None] = {}
    for op in ops:
        if op.kind == "push" and op.result != "dup":
            works[op.work] = None if op.work in works else op.number
    return lambda claim: works.get(claim.work) if claim.id is None else ids.get(claim.id)


def find_unmet(ops: Sequence[Op], spec: Spec) -> list[Op]:
    """The answers that nothing else accounts for, in any order: a task of which no push tells, or that was acked
    before; a settle that was refused within its lease although no other settle of that claim may have been taken, and
    one that was taken twice.
    """
    pushed = {op.id for op in ops if op.kind == "push"}
    works = {(op.work, op.id) for op in ops if op.kind == "push" and op.result != "dup"}
    some = {work for work, _ in works}
    of = {op.number: op for op in ops}
    settles: dict[int, list[Op]] = defaultdict(list)
    for op in ops:
        if op.claim in of:
            settles[op.claim].append(op)
    found = []
    only = _only_push(ops)
    acked: dict[object, float] = {}
    for op in ops:
        if op.kind == "ack" and op.result == "ok" and op.claim in of and (task := only(of[op.claim])) is not None:
            acked[task] = min(acked.get(task, inf), op.ret)
    for op in ops:
        if op.kind == "claim" and op.result == "task":
            told = op.id is not None and op.id in pushed
            if op.work not in some or (told and (op.work, op.id) not in works) or op.call > acked.get(only(op), inf):
                found.append(op)
        elif op.result == "stale" and op.claim in of:
            claim = of[op.claim]
            over = op.ret >= claim.call + claim.lease - 2 * spec.eps
            if not over and not any(each.result != "stale" and each.call <= op.ret for each in settles[op.claim]):
                found.append(op)
        elif op.result == "ok" and any(each.result == "ok" and each is not op for each in settles[op.claim]):
            found.append(op)
    return found


def _names(op: Op) -> list[Hashable]:
    """What a push of this claim's task may be known by."""
    return [op.id, ("work", op.work)] if op.id is not None else [("work", op.work)]


def _name(op: Op) -> Hashable:
    """What the task of this operation is known by."""
    return op.id if op.id is not None else ("work", op.work)
