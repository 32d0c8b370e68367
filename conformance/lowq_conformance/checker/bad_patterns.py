"""Bad patterns: conditions B1 to B12 that no linearizable history meets, looked for in O(n log n).

After Henzinger, Sezgin and Vafeiadis (2013) and Bouajjani, Enea and Wang (2017), with dedupe, not-before and leases.
Each accusation names the few operations that it needs; `judge` has every one confirmed by the complete search.
`order_patterns.py` holds the conditions on order and emptiness (B9 to B12).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from math import inf

from lowq_conformance.checker.accusation import Accusation
from lowq_conformance.checker.matching import MatchedTask, Matching
from lowq_conformance.checker.order_patterns import order_and_emptiness
from lowq_conformance.checker.wait_intervals import Unknown
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec

ENOUGH = 20
"""Accusations of one kind after which no more are looked for: one lost task makes thousands."""


def fast_check(ops: Sequence[Op], spec: Spec) -> list[Accusation]:
    """The accusations that the conditions make; an empty list proves nothing."""
    tied = Matching(ops, spec)
    found: list[Accusation] = []
    for condition in (_find_invented, _early, _twice, _settles, _false_dups, _dedupe, order_and_emptiness):
        for count, accusation in enumerate(condition(tied, spec)):
            found.append(accusation)
            if count == ENOUGH:
                break
    return found


def _find_invented(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B1: a claim of what nobody had pushed by then."""
    del spec
    for claim in tied.strange:
        yield Accusation("invented", f"{claim.work} came out, but no push has put it in", (claim,))
    for task in tied.tasks:
        push = task.push
        if task.taken < push.call and not task.ambiguous:
            claim = min(task.claims, key=lambda claim: claim.ret)
            yield Accusation("invented", f"{push.work} came out before it was pushed", (push, claim))


def _early(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B2: a claim before the task's time."""
    for task in tied.tasks:
        not_before = task.push.not_before
        if not_before is None or not task.claims or task.ambiguous:
            continue
        moved = len(task.claims) > 1 and any(
            settle.not_before is not None for claim in task.claims for settle in tied.settles.get(claim.number, ())
        )
        for claim in task.claims:
            if not_before - spec.eps > (task.taken if moved else claim.ret):
                first = min(task.claims, key=lambda claim: claim.ret) if moved else claim
                yield Accusation("early", f"{task.push.work} came out before its time", (task.push, first))
                break


def _twice(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B3: of two claims of a task neither can have ended before the other began."""
    for task in tied.tasks:
        if len(task.claims) < 2 or task.ambiguous:
            continue
        claims = sorted(task.claims, key=lambda claim: claim.call)
        for at, one in enumerate(claims):
            for other in claims[at + 1 : at + 4]:
                if not _hands_over(tied, spec, one, other) and not _hands_over(tied, spec, other, one):
                    until = "while its lease ran" if one.longest < inf else "before it was settled"
                    said = f"{task.push.work} was handed out again {until}"
                    yield Accusation("claimed twice", said, (task.push, one, other))


def _hands_over(tied: Matching, spec: Spec, one: Op, other: Op) -> bool:
    """The lease of `one` may have ended before `other` acted."""
    if one.call > other.ret:
        return False
    if one.call + one.lease - 2 * spec.eps <= other.ret:
        return True
    return any(
        settle.kind == "release" and settle.result != "stale" and settle.call <= other.ret
        for settle in tied.settles.get(one.number, ())
    )


def _settles(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B4 to B6: claims of what is done, settles taken from stale leases, settles refused from live ones."""
    for task in tied.tasks:
        claims = task.claims
        if task.ambiguous or not claims:
            continue
        acks = []
        for claim in claims:
            settles = tied.settles.get(claim.number)
            if settles is None:
                continue
            taken = [settle for settle in settles if settle.result == "ok"]
            acks += [settle for settle in taken if settle.kind == "ack"]
            if len(taken) > 1:
                said = f"one lease of {claim.work} was settled twice"
                yield Accusation("settled twice", said, (task.push, claim, *taken[:2]))
            runs = settles[0].ret < claim.call + claim.lease - 2 * spec.eps
            if len(settles) == 1 and settles[0].result == "stale" and runs:
                while_held = "while its lease ran" if claim.longest < inf else "though nobody else had it"
                said = f"a settle of {claim.work} was refused {while_held}"
                yield Accusation("false stale", said, (task.push, claim, settles[0]))
            for settle in taken if len(claims) > 1 else ():
                for other in claims:
                    if claim.ret < other.call and other.ret < settle.call:
                        said = f"a settle of {claim.work} was taken from a lease that another one had replaced"
                        yield Accusation("stale settle", said, (task.push, claim, other, settle))
                        break
        if not acks:
            continue
        first = min(acks, key=lambda ack: ack.ret)
        for claim in claims:
            if claim.call > first.ret:
                yield Accusation("done", f"{claim.work} came out after it was acked", (task.push, first, claim))
                break
        leases = {ack.claim for ack in acks}
        if len(leases) > 1:
            yield Accusation("done", f"{first.work} was acked under two leases", (task.push, *acks[:2]))


def _false_dups(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B7: a push was refused although no equal task can have stood."""
    windows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    wanted = {dup.equal for dup in tied.dups}
    if spec.dedupe != "off":
        for task in tied.tasks:
            if task.push.equal in wanted:
                windows[task.push.equal] += _windows(task, tied, spec)
        for pushes in tied.unknown_pushes.values():
            for push in pushes:
                windows[push.equal].append((push.call, inf))
    why = "every push is kept here (dedupe: off)" if spec.dedupe == "off" else "no equal task stood"
    sorted_windows = {}
    for equal, each in windows.items():
        each.sort()
        sorted_windows[equal] = ([start for start, _ in each], list(accumulate((end for _, end in each), max)))
    for dup in tied.dups:
        starts, ends = sorted_windows.get(dup.equal, ([], []))
        at = bisect_right(starts, dup.ret)
        if at == 0 or ends[at - 1] < dup.call:
            yield Accusation("false dup", f"{dup.work} was refused as a duplicate, but {why}", (dup,))


def _windows(task: MatchedTask, tied: Matching, spec: Spec) -> list[tuple[float, float]]:
    """When the task may have stood in the way of an equal one."""
    start = task.push.call
    if task.ambiguous:
        return [(start, inf)]
    end, back = inf, inf
    for claim in task.claims:
        back = min(back, claim.call + claim.lease - 2 * spec.eps)
        for settle in tied.settles.get(claim.number, ()):
            if settle.kind == "ack" and settle.result == "ok":
                end = min(end, settle.ret)
            elif settle.kind == "release" and settle.result != "stale":
                back = min(back, settle.call)
    if spec.dedupe == "until_done":
        return [(start, end)]
    return [(start, task.taken), (back, end)] if back <= end else [(start, task.taken)]


def _dedupe(tied: Matching, spec: Spec) -> Iterator[Accusation]:
    """B8: a push was taken while an equal task surely stood."""
    if spec.dedupe == "off":
        return
    groups: dict[str, list[MatchedTask]] = defaultdict(list)
    for task in tied.tasks:
        groups[task.push.equal].append(task)
    handed = Unknown(tied, spec)
    for tasks in groups.values():
        if len(tasks) < 2:
            continue
        exits = [_exit(task, tied, spec, handed) for task in tasks]
        known = sorted(
            ((task.entered, leaves, at) for at, (task, leaves) in enumerate(zip(tasks, exits, strict=True))),
        )
        entries = [entered for entered, _, _ in known]
        latest = list(accumulate(((leaves, at) for _, leaves, at in known), max))
        for task in tasks:
            at = bisect_left(entries, task.push.call)
            if at and latest[at - 1][0] > task.entered:
                yield _both(tasks[latest[at - 1][1]], task)
        in_order = sorted(range(len(tasks)), key=lambda at: tasks[at].push.call)
        for one, other in pairwise(in_order):
            if exits[one] > tasks[other].entered and exits[other] > tasks[one].entered:
                yield _both(tasks[one], tasks[other])


def _both(one: MatchedTask, other: MatchedTask) -> Accusation:
    works = dict.fromkeys([one.push.work, other.push.work])
    of = " and of ".join(works) + (" under one key" if len(works) > 1 else "")
    said = f"two pushes of {of} were taken, but the first one's task still stood"
    return Accusation("dedupe", said, (one.push, other.push))


def _exit(task: MatchedTask, tied: Matching, spec: Spec, handed: Unknown) -> float:
    """The earliest instant at which the task may have stopped standing; -inf where it cannot be told."""
    if task.ambiguous:
        return -inf
    if spec.dedupe == "until_claimed":
        return task.first if not handed.may_hold(task.push.call, task.taken) else -inf
    leaves = inf
    for claim in task.claims:
        if tied.may_go(task, claim):
            leaves = min(leaves, claim.call)
        for settle in tied.settles.get(claim.number, ()):
            if settle.kind == "ack" and settle.result != "stale":
                leaves = min(leaves, settle.call)
    return leaves
