"""Which of two pushes must have come first, read off what was handed out while the other task surely waited.

The complete search follows this where it looks for an order, and not where it refutes one: that it needs no such
reading keeps it a second opinion on the fast conditions, which are made of the same waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lowq_conformance.history import Op
from lowq_conformance.spec import Spec
from lowq_conformance.tying import Tied
from lowq_conformance.waiting import Unknown, waits


def precedence(ops: Sequence[Op], spec: Spec) -> dict[int, set[int]]:
    """The numbers of the pushes that come before the push of each number, where order is promised; in O(n²)."""
    before: dict[int, set[int]] = defaultdict(set)
    if not spec.fifo or spec.due_order != "push":
        return before
    tied = Tied(ops, spec)
    firm = [wait for wait in waits(tied, spec, Unknown(tied, spec)) if not wait.soft]
    for task in tied.tasks:
        if task.ambiguous:
            continue
        push = task.push
        for claim in task.claims:
            start = max(claim.call, push.call)
            for wait in firm:
                other = wait.task
                if (
                    wait.start < start
                    and wait.end > claim.ret
                    and wait.due <= claim.call
                    and other is not task
                    and (other.push.priority == push.priority or not spec.priority)
                    and not (spec.requeue == "any" and (wait.back or len(task.claims) > 1 or tied.unknown_claims))
                ):
                    before[other.push.number].add(push.number)
    return before
