"""A minimal part of a history that breaks a clause."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lowq_conformance.history import jsonlines
from lowq_conformance.history.operation import Op
from lowq_conformance.history.timeline import UNKNOWN, timeline
from lowq_conformance.history.units import Unit


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A kind of fault, the clause it breaks, the sentence that says by what, and the operations that prove it."""

    kind: str
    clause: str
    said: str
    proof: tuple[Op, ...]
    why: str
    at: int = -1

    @property
    def culprit(self) -> Op:
        """The operation whose answer the others do not allow, which stands `at` that place in the proof."""
        return self.proof[self.at]

    def as_json(self) -> dict[str, Any]:
        """The fault as JSON; its operations are lines of a history."""
        ops = [json.loads(line) for line in jsonlines.write(self.proof)]
        return {
            "kind": self.kind,
            "clause": self.clause,
            "said": self.said,
            "why": self.why,
            "ops": ops,
            "culprit": self.culprit.number,
        }

    @staticmethod
    def of_json(told: dict[str, Any]) -> Counterexample:
        """The fault that `as_json` tells of."""
        proof, _ = jsonlines.read(map(json.dumps, told["ops"]))
        at = [op["name"] for op in told["ops"]].index(told["culprit"])
        return Counterexample(told["kind"], told["clause"], told["said"], tuple(proof), told["why"], at)

    def draw(self, unit: Unit = UNKNOWN) -> str:
        """The proof as a timeline, and why no order explains it."""
        return f"{timeline(self.proof, [self.culprit], unit)}\n{self.why}"
