"""Judges whether a history is linearizable: bad with a minimal counterexample, proved by an order, or undecided.

Fast conditions (`bad_patterns`) accuse, the complete search (`wgl`) confirms, `shrink` makes the counterexample
small; a short history that nothing accuses is searched whole. Undecided is called *not refuted*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Literal

from lowq_conformance.checker.accusation import Accusation
from lowq_conformance.checker.bad_patterns import fast_check
from lowq_conformance.checker.explanation import reason
from lowq_conformance.checker.identities import tell_apart
from lowq_conformance.checker.partition import search_each_work
from lowq_conformance.checker.shrink import confirm, keep_works, minimise
from lowq_conformance.checker.wgl import BUDGET, wgl
from lowq_conformance.history import operation as history
from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec
from lowq_conformance.support.gc_pause import not_collected

HistoryVerdict = Literal["bad", "proved", "not refuted"]

CLAUSE_OF = {
    "invented": "DELIVER-2",
    "early": "DUE-1",
    "claimed twice": "DELIVER-3",
    "done": "DELIVER-4",
    "settled twice": "LEASE-9",
    "stale settle": "LEASE-4",
    "false stale": "LEASE-7",
    "false dup": "DEDUPE-3",
    "dedupe": "DEDUPE-9",
    "order": "ORDER-2",
    "priority": "ORDER-3",
    "false empty": "DELIVER-6",
    "lost": "DELIVER-1",
    "history": "RACE-3",
}
"""The clause that each kind of fault breaks; `history` is one that only the whole history shows."""

SMALL = 400
"""Operations up to which the complete search is tried on the whole history."""
FEW = 4
"""Claims that were cut off and are shown beside what was lost."""
TRIES = 5
"""Accusations of one kind that are tried before the kind is given up."""


@dataclass(slots=True)
class Judgement:
    """What is said of a history; `unconfirmed` accusations did not convince the search, and count for nothing."""

    verdict: HistoryVerdict
    ops: int
    unknown_ops: int
    faults: list[Counterexample] = field(default_factory=list)
    unconfirmed: list[Accusation] = field(default_factory=list)
    undecided_works: int = 0


def check(ops: Sequence[Op], spec: Spec, budget: int = BUDGET) -> Judgement:
    """The judgement on a history; an order of it is looked for in `budget` configurations. Raises BadHistory where
    it is not well-formed.

    At most one fault of each kind is shown: one lost task makes thousands.
    """
    history.check(ops)
    with not_collected():
        return _check(sorted(tell_apart(ops), key=attrgetter("call")), spec, budget)


def _check(ops: list[Op], spec: Spec, budget: int) -> Judgement:
    said = Judgement("not refuted", len(ops), sum(op.result is None for op in ops))
    _accuse(fast_check(ops, spec), ops, spec, said)
    parts = search_each_work(ops, spec)
    said.undecided_works = parts.unknown
    for works in parts.bad:
        if not any(works & {op.work for op in fault.proof} for fault in said.faults):
            _prove(_alone(ops, works), spec, said)
    if said.faults:
        said.verdict = "bad"
    elif len(ops) <= SMALL:
        found = wgl(ops, spec, budget)
        if found.verdict:
            said.verdict = "proved"
        elif found.verdict is False:
            _prove(ops, spec, said)
            said.verdict = "bad"
    return said


def _accuse(accusations: Sequence[Accusation], ops: list[Op], spec: Spec, said: Judgement) -> None:
    """The first accusation of each kind that the complete search confirms becomes a fault."""
    tried: dict[str, int] = {}
    shown: set[str] = set()
    for accusation in accusations:
        kind = accusation.kind
        if kind in shown or tried.get(kind, 0) >= TRIES:
            continue
        tried[kind] = tried.get(kind, 0) + 1
        part = confirm(accusation, ops, spec)
        if part is None:
            said.unconfirmed.append(accusation)
            continue
        shown.add(kind)
        _show(_fault(_with_cut_off(minimise(part, spec), part, spec, accusation), spec, accusation), said)


def _with_cut_off(proof: list[Op], part: list[Op], spec: Spec, accusation: Accusation) -> list[Op]:
    """The proof that a work is lost, with the claims that were cut off and may have had it, where they are few."""
    if accusation.kind != "lost":
        return proof
    known = {op.number for op in proof}
    since = min((op.call for op in proof if op.kind == "push"), default=inf)
    cut_off = [op for op in part if op.kind == "claim" and op.result is None and op.ret >= since]
    whole = sorted([*proof, *(op for op in cut_off if op.number not in known)], key=attrgetter("call"))
    return whole if len(cut_off) <= FEW and wgl(whole, spec).verdict is False else proof


def _prove(ops: list[Op], spec: Spec, said: Judgement) -> None:
    """A history that the complete search refutes becomes a fault, named by what its proof shows."""
    proof = minimise(ops, spec)
    named = fast_check(proof, spec)
    _show(_fault(proof, spec, named[0] if named else None), said)


def _show(fault: Counterexample, said: Judgement) -> None:
    """Of each kind the fault with the smallest proof is shown; a proof may show another kind than was looked for."""
    same = [other for other in said.faults if other.kind == fault.kind]
    if not same:
        said.faults.append(fault)
    elif len(fault.proof) < len(same[0].proof):
        said.faults[said.faults.index(same[0])] = fault


def _alone(ops: list[Op], works: frozenset[str]) -> list[Op]:
    """The history of these works without the empties, which bear no witness about one work alone."""
    return [op for op in keep_works(ops, works) if op.result != "empty"]


def _fault(proof: list[Op], spec: Spec, accusation: Accusation | None) -> Counterexample:
    """The counterexample, whose sentence, culprit and reason are of what its own operations show."""
    found = wgl(proof, spec)
    again = fast_check(proof, spec)
    if again:
        same = [each for each in again if accusation is not None and each.kind == accusation.kind]
        accusation = (same or again)[0]
    numbers = [op.number for op in proof]
    stuck = [] if found.stuck is None else [op for op in found.stuck.impossible if op.number in numbers]
    if accusation is not None and accusation.ops[-1].number in numbers:
        culprit = accusation.ops[-1]
    else:
        culprit = min(stuck, key=lambda op: op.ret) if stuck else proof[-1]
    kind = "history" if accusation is None else accusation.kind
    words = f"no order of these operations explains {culprit}" if accusation is None else accusation.said
    why = reason(found, proof, culprit, without(culprit, proof, spec))
    return Counterexample(kind, CLAUSE_OF[kind], words, tuple(proof), why, numbers.index(culprit.number))


def without(culprit: Op, proof: Sequence[Op], spec: Spec) -> bool:
    """Whether the others alone are explained by an order."""
    others = [op for op in proof if op.number != culprit.number and op.claim != culprit.number]
    return wgl(others, spec).verdict is True


__all__ = ["CLAUSE_OF", "Counterexample", "HistoryVerdict", "Judgement", "check"]
