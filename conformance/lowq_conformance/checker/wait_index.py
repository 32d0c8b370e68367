"""Index over wait intervals: the latest end among tasks that must be claimed first.

O(log n), a Fenwick tree for each priority.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from math import inf

from lowq_conformance.checker.wait_intervals import Wait
from lowq_conformance.history.spec import Spec


class WaitIndex:
    """The latest ends of the waits that were added: of all, of each priority and above, and of each push order.

    For each priority, waits are kept in the order in which their tasks entered, with ends that only grow: one that
    entered later and ends no later than another shows nothing that the other does not. What another rule lets pass
    (a task that was handed out before, or has a time of its own, where the spec orders those by nothing) is kept out.
    """

    def __init__(self, priorities: Iterable[int], spec: Spec) -> None:
        self.latest = -inf
        self._spec = spec
        self._levels = sorted(set(priorities), reverse=True)
        self._place = {priority: place for place, priority in enumerate(self._levels, start=1)}
        self._above = [-inf] * (len(self._levels) + 1)  # a Fenwick tree of maxima, the highest priority first
        self._ordered: dict[int, tuple[list[float], list[float]]] = {each: ([], []) for each in self._levels}

    def add(self, wait: Wait) -> None:
        """The wait counts from now on."""
        end, above = wait.end, self._above
        if end > self.latest:
            self.latest = end
        place = self._place[wait.priority]
        while place < len(above) and above[place] < end:
            above[place] = end
            place += place & -place
        spec = self._spec
        if spec.requeue == "any" and wait.back:
            return
        if spec.due_order != "push" and (wait.due > -inf or wait.task.push.not_before is not None):
            return
        entries, ends = self._ordered[wait.priority]
        entered = wait.task.entered
        at = len(entries) if not entries or entered >= entries[-1] else bisect_right(entries, entered)
        if at and ends[at - 1] >= end:
            return
        until = at
        while until < len(ends) and ends[until] <= end:
            until += 1
        entries[at:until] = [entered]
        ends[at:until] = [end]

    def better(self, priority: int, before: float) -> float:
        """The latest end of a wait of a higher priority, or of this one by a task that entered before then."""
        best = -inf
        above, place = self._above, self._place.get(priority, 0) - 1
        if place < 0:
            place = bisect_left(self._levels, -priority, key=int.__neg__)
        while place:
            if above[place] > best:
                best = above[place]
            place &= place - 1
        if priority in self._ordered:
            entries, ends = self._ordered[priority]
            at = bisect_left(entries, before)
            if at and ends[at - 1] > best:
                return ends[at - 1]
        return best
