"""Counts the concurrent situations that a run produced: overlapping calls, expired leases, calls cut off."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from lowq_conformance.history.operation import Op
from lowq_conformance.storm.recorder import RecordedCall


def claims(ops: Iterable[Op]) -> int:
    """How many claims overlapped with another one."""
    return count_overlapping([op for op in ops if op.kind == "claim"])


def pushes(ops: Iterable[Op]) -> int:
    """How many pushes overlapped with another one."""
    return count_overlapping([op for op in ops if op.kind == "push"])


def equal_pushes(ops: Iterable[Op]) -> int:
    """How many pushes overlapped with one of an equal work."""
    equal = defaultdict(list)
    for op in ops:
        if op.kind == "push":
            equal[op.equal].append(op)
    return sum(count_overlapping(each) for each in equal.values())


def takeovers(ops: Sequence[Op]) -> int:
    """How many tasks were claimed again though nobody had given them back."""
    given_back = {op.claim for op in ops if op.kind in ("ack", "release") and op.result == "ok"}
    last: dict[tuple[str, str | None], Op] = {}
    found = 0
    for op in ops:
        if op.kind == "claim" and op.result == "task":
            before = last.get((op.work, op.id))
            found += before is not None and before.number not in given_back
            last[op.work, op.id] = op
    return found


def empties(ops: Iterable[Op]) -> int:
    """How often the queue said that it is empty."""
    return sum(op.result == "empty" for op in ops)


def cut_off(calls: Iterable[RecordedCall], kind: str) -> int:
    """How many calls of the kind never returned."""
    return sum(call.kind == kind and call.ret is None for call in calls)


def count_overlapping(ops: Sequence[Op]) -> int:
    """How many of these began while an earlier one of another process was open."""
    found, end, process = 0, 0.0, ""
    for op in sorted(ops, key=lambda op: op.call):
        name = op.process.partition("/")[0]
        found += op.call < end and name != process
        if op.ret > end:
            end, process = op.ret, name
    return found
