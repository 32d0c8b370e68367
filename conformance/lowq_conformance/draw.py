"""A small history as a timeline of characters, and the sentence why no order explains it."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from lowq_conformance.history import Op
from lowq_conformance.search import Found


def timeline(ops: Sequence[Op], culprits: Sequence[Op] = (), unit: float = 1.0) -> str:
    """One row for each process, columns in the order of events, and the times below, in `unit` from the first call.

    `!` marks a culprit, `>` an operation that never returned; how long an operation took is not to scale.
    """
    if not ops:
        return ""
    marked = {op.number for op in culprits}
    events = sorted(
        [(op.call, 0, at) for at, op in enumerate(ops)]
        + [(op.ret, 1, at) for at, op in enumerate(ops) if op.ret != inf]
    )
    labels = [f"{op}{'!' if op.number in marked else ''}" for op in ops]
    begins: dict[int, int] = {}
    ends: dict[int, int] = {}
    column = 0
    free: dict[str, int] = {}
    for _, is_return, at in events:
        if is_return:
            column = max(column, begins[at] + len(labels[at]) + 1)
            ends[at] = column
            free[ops[at].process] = column + 1
        else:
            column = max(column, free.get(ops[at].process, 0))
            begins[at] = column
        column += 1
    width = max([column, *(begins[at] + len(labels[at]) + 2 for at in begins)])
    first = min(op.call for op in ops)
    rows: dict[str, list[str]] = {}
    ruler = [" "] * (width + 24)
    written = -2
    for at in sorted(begins, key=lambda at: begins[at]):
        op, begin = ops[at], begins[at]
        row = rows.setdefault(op.process, [" "] * (width + 2))
        end = ends.get(at, width)
        text = "|" + labels[at].ljust(end - begin - 1, "-") + ("|" if at in ends else ">")
        row[begin : begin + len(text)] = text
        stamp = f"{(op.call - first) / unit:.6g}"
        if begin > written + 1:
            ruler[begin : begin + len(stamp)] = stamp
            written = begin + len(stamp)
    margin = max(4, *(len(process) for process in rows))
    lines = [f"{process:>{margin}}: {''.join(row).rstrip()}" for process, row in rows.items()]
    return "\n".join([*lines, f"{'time':>{margin}}  {''.join(ruler).rstrip()}"])


def reason(found: Found, ops: Sequence[Op]) -> str:
    """Why no order explains the history: how far the best one comes, and what cannot come next."""
    if found.stuck is None:
        return "an order explains it" if found.verdict else "no order was found in the time there was"
    by_index = sorted(ops, key=lambda op: (op.call, op.ret))
    stuck = found.stuck
    total = sum(op.result is not None for op in ops)
    placed = sum(op.result is not None for op in stuck.placed)
    waiting = [by_index[entry.push].work for entry in stuck.state if entry.waiting]
    leased = [by_index[entry.push].work for entry in stuck.state if not entry.waiting]
    none = ", ".join(str(op) for op in stuck.impossible)
    return (
        f"at best {placed} of {total} completed operations fit in an order; then waiting=[{', '.join(waiting)}] "
        f"leased=[{', '.join(leased)}] and none of [{none}] is possible"
    )
