"""Ways to spoil a history, so that it is mostly no longer one of a sound queue."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from math import inf
from random import Random

from lowq_conformance.history.operation import Op


def _pick(random: Random, ops: list[Op], wanted: Callable[[Op], bool]) -> Op | None:
    found = [op for op in ops if wanted(op)]
    return random.choice(found) if found else None


def swap(random: Random, ops: list[Op]) -> None:
    """Two claims get each other's task."""
    claims = [op for op in ops if op.result == "task"]
    if len(claims) > 1:
        one, other = random.sample(claims, 2)
        one.work, one.id, other.work, other.id = other.work, other.id, one.work, one.id
        _follow(ops)


def drop(random: Random, ops: list[Op]) -> None:
    """A push never happened, as far as the history tells."""
    op = _pick(random, ops, lambda op: op.result == "added")
    if op is not None:
        ops.remove(op)


def duplicate(random: Random, ops: list[Op]) -> None:
    """A claim gets the task of another one."""
    claims = [op for op in ops if op.result == "task"]
    if len(claims) > 1:
        one, other = random.sample(claims, 2)
        one.work, one.id = other.work, other.id
        _follow(ops)


def early(random: Random, ops: list[Op]) -> None:
    """A task had a later not-before than the history tells."""
    op = _pick(random, ops, lambda op: op.result == "added")
    if op is not None:
        op.not_before = op.ret + 10 + random.random() * 20


def false_empty(random: Random, ops: list[Op]) -> None:
    """A claim gets nothing."""
    settled = {op.claim for op in ops}
    op = _pick(random, ops, lambda op: op.result == "task" and op.number not in settled)
    if op is not None:
        op.result, op.work, op.id = "empty", "", None


def dedupe_race(random: Random, ops: list[Op]) -> None:
    """A refused push was taken."""
    op = _pick(random, ops, lambda op: op.result == "dup")
    if op is not None:
        op.result = "added"


def false_dup(random: Random, ops: list[Op]) -> None:
    """A push that was taken was refused."""
    op = _pick(random, ops, lambda op: op.result == "added")
    if op is not None:
        op.result, op.id = "dup", None


def settle_flip(random: Random, ops: list[Op]) -> None:
    """A settle gets the other answer."""
    op = _pick(random, ops, lambda op: op.result in ("ok", "stale"))
    if op is not None:
        op.result = "stale" if op.result == "ok" else "ok"


def invent(random: Random, ops: list[Op]) -> None:
    """A claim gets what nobody pushed."""
    op = _pick(random, ops, lambda op: op.result == "task")
    if op is not None:
        op.work, op.id = "invented", None if op.id is None else "invented"
        _follow(ops)


def late_push(random: Random, ops: list[Op]) -> None:
    """A push happened later than it did."""
    op = _pick(random, ops, lambda op: op.result == "added")
    if op is not None:
        by = 5 + random.random() * 20
        op.call, op.ret, op.process = op.call + by, op.ret + by, f"late {op.number}"


def shrunk(random: Random, ops: list[Op]) -> None:
    """The operations took less time."""
    for op in ops:
        if op.ret != inf:
            length = op.ret - op.call
            op.call += random.random() * 0.5 * length
            op.ret -= random.random() * 0.5 * length


MUTANTS = (swap, drop, duplicate, early, false_empty, dedupe_race, false_dup, settle_flip, invent, late_push, shrunk)


def mutated(random: Random, ops: list[Op]) -> list[Op]:
    """A copy of the history, spoiled in one way."""
    copies = [copy(op) for op in ops]
    random.choice(MUTANTS)(random, copies)
    return copies


def _follow(ops: list[Op]) -> None:
    """A settle tells the work of its claim."""
    works = {op.number: op.work for op in ops if op.kind == "claim"}
    for op in ops:
        if op.claim in works:
            op.work = works[op.claim]
