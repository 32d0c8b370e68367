"""Says why no linearization of a history exists: how far the best one comes, and what cannot come next."""

from __future__ import annotations

from collections.abc import Sequence

from lowq_conformance.checker.wgl import Found
from lowq_conformance.history.operation import Op
from lowq_conformance.history.timeline import LONGEST_LABEL, MANY
from lowq_conformance.support.text import excerpt, printable


def reason(found: Found, ops: Sequence[Op], culprit: Op | None = None, others_fit: bool = False) -> str:
    """Why no order explains the history: how far the best one comes, and what cannot come next.

    That is the culprit, where it is among what cannot; `others_fit`: without it, there is an order.
    """
    if found.stuck is None:
        return "an order explains it" if found.verdict else "no order was found in the time there was"
    by_index = sorted(ops, key=lambda op: (op.call, op.ret))
    stuck = found.stuck
    total = sum(op.result is not None for op in ops)
    placed = sum(op.result is not None for op in stuck.placed)
    waiting = _join_names([by_index[entry.push].work for entry in stuck.state if entry.waiting])
    leased = _join_names([by_index[entry.push].work for entry in stuck.state if not entry.waiting])
    if culprit is not None and all(op.number != culprit.number for op in stuck.impossible) and others_fit:
        all_but = _join_names([str(culprit)])
        return f"at best {total - 1} of {total} completed operations fit in an order: all but {all_but}"
    at_fault = [op for op in stuck.impossible if culprit is not None and op.number == culprit.number]
    none = _join_names([str(op) for op in at_fault or stuck.impossible])
    return (
        f"at best {placed} of {total} completed operations fit in an order; then waiting=[{waiting}] "
        f"leased=[{leased}] and none of [{none}] is possible"
    )


def _join_names(texts: Sequence[str]) -> str:
    more = [f"… {len(texts) - MANY:,} more"] if len(texts) > MANY else []
    return ", ".join([*(excerpt(printable(text), LONGEST_LABEL) for text in texts[:MANY]), *more])
