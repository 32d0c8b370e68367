"""Draws a small history as a timeline of characters, one row for each process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from lowq_conformance.history.operation import Op
from lowq_conformance.history.units import Unit
from lowq_conformance.support.text import excerpt, printable

UNKNOWN = Unit()
LONGEST_LABEL = 60
LONGEST_NAME = 24
MANY = 12
"""Tasks or operations that a sentence names."""


@dataclass(slots=True)
class Layout:
    """Where a timeline has what, in characters: columns are the order of events and no measure of time.

    `ends` lacks the operations that never returned; `kills` are where a process was seen dead; `instants` are the
    columns of all events, each with its time.
    """

    labels: list[str]
    begins: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    instants: dict[int, float] = field(default_factory=dict)
    width: int = 0

    def end(self, at: int) -> int:
        """Where the operation ends in the picture."""
        return self.ends.get(at, self.width)


def lay_out(ops: Sequence[Op], labels: list[str]) -> Layout:
    """The layout of the operations, each as wide as its label and four characters or more."""
    layout = Layout(labels)
    last = max((instant for op in ops for instant in (op.call, op.ret) if instant != inf), default=0.0)
    killed = {
        op.process: op.killed
        for op in ops
        if op.killed is not None and (op.killed <= last or op.result is None)  # later ones explain nothing here
    }
    events = [(op.call, 0, at, "") for at, op in enumerate(ops)]
    events += [(op.ret, 1, at, "") for at, op in enumerate(ops) if op.ret != inf]
    events += [(when, 2, 0, process) for process, when in killed.items()]
    column = 0
    free: dict[str, int] = {}
    for when, kind, at, process in sorted(events):
        if kind == 0:
            column = max(column, free.get(ops[at].process, 0))
            layout.begins[at] = column
            free[ops[at].process] = column + len(labels[at]) + 3
        elif kind == 1:
            column = max(column, layout.begins[at] + len(labels[at]) + 1)
            layout.ends[at] = column
            free[ops[at].process] = column + 2
        else:
            column = max(column, free.get(process, 0))
            layout.kills[process] = column
            free[process] = column + 2
        layout.instants[column] = when
        column += 1
    layout.width = max([column, *(begin + len(labels[at]) + 2 for at, begin in layout.begins.items())])
    return layout


def label(op: Op, unit: Unit) -> str:
    """The operation in a picture: cut, and with nothing that a terminal would obey; a claim with its lease."""
    return f"{excerpt(printable(str(op)), LONGEST_LABEL)}{lease(op, unit)}"


def lease(op: Op, unit: Unit) -> str:
    """For how long a claim was given its task, in words; nothing where that is until it is settled."""
    if op.kind != "claim" or op.result == "empty" or op.lease == inf:
        return ""
    at_most = "" if op.longest == op.lease else f" to {unit.length(op.longest)}" if op.longest < inf else " or more"
    return f" for {unit.length(op.lease)}{at_most}"


def timeline(ops: Sequence[Op], culprits: Sequence[Op] = (), unit: Unit = UNKNOWN) -> str:
    """One row for each process, columns in the order of events, and the times below, from the first call on.

    `!` marks a culprit, `>` an operation that never returned, `X` where a process was killed; how long an operation
    took is not to scale.
    """
    if not ops:
        return ""
    marked = {op.number for op in culprits}
    layout = lay_out(ops, [f"{label(op, unit)}{'!' if op.number in marked else ''}" for op in ops])
    first = min(op.call for op in ops)
    rows: dict[str, list[str]] = {}
    for at in sorted(layout.begins, key=lambda at: layout.begins[at]):
        row = rows.setdefault(ops[at].process, [" "] * (layout.width + 2))
        begin, end = layout.begins[at], layout.end(at)
        text = "|" + layout.labels[at].ljust(end - begin - 1, "-") + ("|" if at in layout.ends else ">")
        row[begin : begin + len(text)] = text
    for process, column in layout.kills.items():
        rows[process][column] = "X"
    ruler = [" "] * (layout.width + 24)
    free = 0
    for column, when in sorted(layout.instants.items()):
        stamp = unit.since(first, when)
        if column >= free:
            ruler[column : column + len(stamp)] = stamp
            free = column + len(stamp) + 1
    names = {process: excerpt(printable(process), LONGEST_NAME) for process in rows}
    margin = max(4, *(len(name) for name in names.values()))
    lines = [f"{names[process]:>{margin}}: {''.join(row).rstrip()}" for process, row in rows.items()]
    return "\n".join([*lines, f"{'time':>{margin}}  {''.join(ruler).rstrip()}"])
