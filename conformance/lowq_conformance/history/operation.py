"""A history of one queue: who called what, when, and what came back. Judged by `judge`, read by `jsonlines`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from operator import attrgetter
from typing import Literal

Kind = Literal["push", "claim", "ack", "release"]
Result = Literal["added", "dup", "task", "empty", "ok", "stale"]


class BadHistory(ValueError):
    """The history is not well-formed; the text says where and why."""


@dataclass(slots=True)
class Op:
    """One operation: it acted at one instant from `call` to `ret`; `result` None: not known whether it did.

    `number` names it within its history. `work` is canonical text, `equal` what makes works equal (the same text,
    or an explicit key's). `claim` is the number of the claim that a settle settles. A dead_letter is an ack: the task
    is gone for everybody. A claim's `lease` is when it may have ended, and `at_most` when it must have, where that is
    later. `killed` is when its process was seen dead, where that was killed.
    """

    number: int
    process: str
    kind: Kind
    call: float
    ret: float = inf
    result: Result | None = None
    work: str = ""
    equal: str = ""
    id: str | None = None
    priority: int = 0
    not_before: float | None = None
    lease: float = inf
    claim: int = -1
    killed: float | None = None
    at_most: float | None = None

    @property
    def longest(self) -> float:
        """How long the lease of a claim may last."""
        return self.lease if self.at_most is None else self.at_most

    def __str__(self) -> str:
        match self.kind:
            case "push":
                said = f"push {self.work}{f' p{self.priority}' if self.priority else ''}"
                said += "" if self.not_before is None else f" not before {self.not_before:g}"
                return f"{said} {self.result or '?'}"
            case "claim":
                return {"task": f"claim:{self.work}", "empty": "claim:empty"}.get(self.result or "", "claim:?")
            case _:
                return f"{self.kind} {self.work} {self.result or '?'}"


def check(ops: Sequence[Op], called: str = "operation") -> None:
    """Raise BadHistory unless each process has one call open at a time and each settle follows its own claim.

    `called` is what its text calls the numbers.
    """
    by_number = {op.number: op for op in ops}
    if len(by_number) != len(ops):
        raise BadHistory("two operations have the same number")
    last: dict[str, Op] = {}
    for op in sorted(ops, key=attrgetter("call")):
        before = last.get(op.process)
        if not isfinite(op.call) or not op.ret >= op.call:
            raise BadHistory(f"{called} {op.number}: expected call <= ret, got {op.call} and {op.ret}")
        if before is not None and before.ret > op.call and before.result is not None:
            was = f"{called} {before.number}"
            raise BadHistory(f"{called} {op.number}: {op.process} called it while its {was} was open")
        last[op.process] = op
        if op.kind == "ack" or op.kind == "release":
            claim = by_number.get(op.claim)
            if claim is None or claim.kind != "claim" or claim.result != "task":
                raise BadHistory(
                    f"{called} {op.number}: settles {called} {op.claim}, which is no claim that returned a task"
                )
            if claim.ret > op.call:
                said = f"settles the claim of {called} {op.claim} before that returned"
                raise BadHistory(f"{called} {op.number}: {said}")
        if op.result is not None and op.ret == inf:
            raise BadHistory(f"{called} {op.number}: has an answer but never returned")
