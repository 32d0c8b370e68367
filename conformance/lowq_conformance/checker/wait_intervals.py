"""The open intervals in which a task must have been waiting: in no linearization does somebody hold it then."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import inf

from lowq_conformance.checker.matching import MatchedTask, Matching
from lowq_conformance.history.spec import Spec


class Wait:
    """The task surely waits strictly between `start` and `end`.

    `soft`: unless an unknown claim holds it; `back`: it had been handed out before; `due` is from when on it is
    surely due, -inf for always; `lost`: it never came out, though a claim found nothing.
    """

    __slots__ = ("back", "due", "end", "lost", "priority", "soft", "start", "task")

    def __init__(
        self, task: MatchedTask, start: float, end: float, due: float, priority: int, *, soft: bool, back: bool
    ) -> None:
        self.task = task
        self.start = start
        self.end = end
        self.due = due
        self.priority = priority
        self.soft = soft
        self.back = back
        self.lost = False


class Unknown:
    """The unknown claims, asked whether one of them may have held a task."""

    def __init__(self, tied: Matching, spec: Spec) -> None:
        self.claims = tied.unknown_claims
        late = inf if spec.grace is None else spec.grace + 2 * spec.eps
        claims = sorted((claim.call + claim.lease - 2 * spec.eps, claim.ret, claim.longest) for claim in self.claims)
        self._ends = [end for end, _, _ in claims]
        self._rets = list(accumulate((ret for _, ret, _ in claims), max))
        self._backs = list(accumulate((ret + longest + late for _, ret, longest in claims), max))

    def may_hold(self, since: float, back: float) -> bool:
        """One may have taken a task that came at `since`, and have lost it again by `back`."""
        if not self.claims:
            return False
        at = bisect_right(self._ends, back)
        return at > 0 and self._rets[at - 1] >= since

    def surely_back(self, back: float) -> float:
        """When every unknown claim that may have had a task, and have lost it again by `back`, has surely lost it."""
        at = bisect_right(self._ends, back)
        return self._backs[at - 1] if at else -inf


def waits(tied: Matching, spec: Spec, unknown: Unknown) -> Iterator[Wait]:
    """The intervals of all tasks that are not ambiguous."""
    for task in tied.tasks:
        if not task.ambiguous:
            yield from _waits(task, tied, spec, unknown)


def _waits(task: MatchedTask, tied: Matching, spec: Spec, unknown: Unknown) -> Iterator[Wait]:
    push, claims = task.push, task.claims
    due = -inf if push.not_before is None else push.not_before + spec.eps
    priority = push.priority if spec.priority else 0
    if task.entered < task.first:
        yield from _firm(task, push.call, task.entered, task.first, task.taken, due, priority, False, unknown)
    if not claims or (len(claims) == 1 and claims[0].number not in tied.settles and spec.grace is None):
        return
    for claim in claims:
        settles = tied.settles.get(claim.number, ())
        if (len(settles) == 1 and settles[0].kind == "ack") or tied.may_go(task, claim):
            continue
        again = [other for other in claims if other is not claim]
        cut_off = len(settles) == 1 and settles[0].kind == "release" and settles[0].result is None
        if len(settles) == 1 and settles[0].kind == "release" and settles[0].result == "ok":
            release = settles[0]
            if release.ret == inf:
                continue
            after = [other for other in again if other.ret >= release.call]
            then = due if release.not_before is None else release.not_before + spec.eps
            since, start = release.call, release.ret
        elif (not settles or cut_off) and spec.grace is not None and claim.longest < inf:
            # It waits when its lease is over; where a release was cut off, at the latest then.
            after = [other for other in again if other.ret >= claim.call]
            then, since = due, claim.call
            start = claim.ret + claim.longest + spec.grace + 2 * spec.eps
            if any(
                settle.kind == "release" and settle.not_before is not None
                for other in claims
                for settle in tied.settles.get(other.number, ())
            ):
                continue
        else:
            continue
        end = min((other.call for other in after), default=inf)
        taken = min((other.ret for other in after), default=inf)
        if start < end:
            yield from _firm(task, since, start, end, taken, then, priority, True, unknown)


def _firm(
    task: MatchedTask,
    since: float,
    start: float,
    end: float,
    taken: float,
    due: float,
    priority: int,
    back: bool,
    unknown: Unknown,
) -> Iterator[Wait]:
    """The interval, and where an unknown claim may hold the task, the part of it in which none does any more."""
    soft = unknown.may_hold(since, taken)
    yield Wait(task, start, end, due, priority, soft=soft, back=back)
    if soft:
        start = max(start, unknown.surely_back(taken))
        if start < end:
            yield Wait(task, start, end, due, priority, soft=False, back=True)
