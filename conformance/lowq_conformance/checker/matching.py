"""Matches each claim to the push whose task it returned, where the history determines it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec


class MatchedTask:
    """One push that added, with every known claim of its task and their settles.

    `entered`: it was surely there from then on; `first`: nobody surely had it before; `taken`: somebody surely had
    it by then. `ambiguous`: a claim of it may be of another task with the same work.
    """

    __slots__ = ("ambiguous", "claims", "entered", "first", "push", "taken")

    def __init__(self, push: Op) -> None:
        self.push = push
        self.claims: list[Op] = []
        self.ambiguous = False
        self.entered = push.ret
        self.first = inf
        self.taken = inf

    def close(self) -> None:
        """All claims are in; read their times off."""
        claims = self.claims
        if claims:
            if len(claims) == 1:
                self.first, self.taken = claims[0].call, claims[0].ret
            else:
                self.first = min([claim.call for claim in claims])
                self.taken = min([claim.ret for claim in claims])
            if self.taken < self.entered:
                self.entered = self.taken


class Matching:
    """A history, sorted out: its tasks, and what else it holds."""

    def __init__(self, ops: Sequence[Op], spec: Spec) -> None:
        self.tasks: list[MatchedTask] = []
        self.task_of: dict[int, MatchedTask] = {}
        self.settles: dict[int, list[Op]] = defaultdict(list)
        self.empties: list[Op] = []
        self.dups: list[Op] = []
        self.unknown_pushes: dict[str, list[Op]] = defaultdict(list)
        self.unknown_claims: list[Op] = []
        self.strange: list[Op] = []
        claims: list[Op] = []
        by_id: dict[str, MatchedTask] = {}
        twins: dict[str, list[MatchedTask]] = defaultdict(list)
        by_work: dict[str, list[MatchedTask]] = defaultdict(list)
        for op in ops:
            kind, result = op.kind, op.result
            if kind == "push":
                if result == "added":
                    task = MatchedTask(op)
                    self.tasks.append(task)
                    by_work[op.work].append(task)
                    if op.id is not None:
                        if op.id in by_id:
                            twins[op.id].append(by_id[op.id])
                        by_id[op.id] = task
                elif result == "dup":
                    self.dups.append(op)
                else:
                    self.unknown_pushes[op.work].append(op)
            elif kind == "claim":
                if result == "task":
                    claims.append(op)
                elif result == "empty":
                    self.empties.append(op)
                else:
                    self.unknown_claims.append(op)
            else:
                self.settles[op.claim].append(op)
        self.by_work = by_work
        self._tie(claims, by_id, twins, spec)
        self.limit, self.counts_release = spec.max_deliveries, spec.counts_release
        for task in self.tasks:
            task.close()

    def may_go(self, task: MatchedTask, claim: Op) -> bool:
        """The task may have been set aside when that claim ended, by what is known of the claims before it.

        What unknown claims add to it is for the complete search to say.
        """
        if self.limit is None:
            return False
        return sum(self._counts(other) for other in task.claims if other.call <= claim.ret) >= self.limit

    def _counts(self, claim: Op) -> bool:
        """Whether the claim may be one of those after which a task is set aside."""
        if self.counts_release:
            return True
        settles = self.settles.get(claim.number, ())
        early = claim.call + claim.lease
        return not any(op.kind == "release" and op.result == "ok" and op.ret < early for op in settles)

    def _tie(
        self, claims: list[Op], by_id: dict[str, MatchedTask], twins: dict[str, list[MatchedTask]], spec: Spec
    ) -> None:
        """Each claim is its task's; `twins` are those that a queue gave an id which it had given already."""
        by_work, unknown = self.by_work, self.unknown_pushes
        untold: dict[str, list[Op]] = defaultdict(list)
        task_of = self.task_of
        for claim in claims:
            task = by_id.get(claim.id) if claim.id is not None else None
            if task is not None:
                if task.push.work != claim.work and claim.id in twins:
                    task = next((twin for twin in twins[claim.id] if twin.push.work == claim.work), task)
                if task.push.work == claim.work:
                    task.claims.append(claim)
                    task_of[claim.number] = task
                else:
                    self.strange.append(claim)
                continue
            same = by_work.get(claim.work, [])
            if claim.id is not None:
                same = [task for task in same if task.push.id is None]
            if not same and claim.work not in unknown:
                self.strange.append(claim)
            elif len(same) == 1 and claim.work not in unknown and len(by_work[claim.work]) == 1:
                self._give(claim, same[0])
            else:
                untold[claim.work].append(claim)
        forced = spec.dedupe == "until_done" or (
            spec.dedupe == "until_claimed"
            and all(claim.lease == inf for claim in claims)
            and not any(op.kind == "release" for settles in self.settles.values() for op in settles)
        )
        for work, few in untold.items():
            if not (forced and work not in unknown and self._tie_by_time(few, by_work[work])):
                named = all(claim.id is not None for claim in few)
                for task in by_work[work]:
                    task.ambiguous = task.ambiguous or not (named and task.push.id is not None)

    def _tie_by_time(self, claims: list[Op], tasks: list[MatchedTask]) -> bool:
        """Where equal tasks must follow each other, a claim surely between two pushes is of the first one's task."""
        tasks = sorted(tasks, key=lambda task: task.push.call)
        if any(task.push.id is not None or task.push.equal != tasks[0].push.equal for task in tasks):
            return False
        if any(one.push.ret >= other.push.call for one, other in pairwise(tasks)):
            return False
        ties = []
        at = 0
        for claim in sorted(claims, key=lambda claim: claim.call):
            while at + 1 < len(tasks) and tasks[at + 1].push.ret < claim.call:
                at += 1
            surely_after = at == 0 or tasks[at].push.ret < claim.call
            if not surely_after or (at + 1 < len(tasks) and claim.ret >= tasks[at + 1].push.call):
                return False
            ties.append((claim, tasks[at]))
        for claim, task in ties:
            self._give(claim, task)
        return True

    def _give(self, claim: Op, task: MatchedTask) -> None:
        task.claims.append(claim)
        self.task_of[claim.number] = task
