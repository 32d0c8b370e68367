"""A minimal part of a history that breaks a clause."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from lowq_conformance.history import jsonlines
from lowq_conformance.history.operation import Op
from lowq_conformance.history.timeline import timeline


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A kind of fault, the clause it breaks, the sentence that says by what, and the operations that prove it."""

    kind: str
    clause: str
    said: str
    proof: tuple[Op, ...]
    why: str

    @property
    def culprit(self) -> Op:
        """The operation whose answer the others do not allow."""
        return self.proof[-1]

    def as_json(self) -> dict[str, Any]:
        """The fault as JSON; its operations are lines of a history."""
        ops = [json.loads(line) for line in jsonlines.write(self.proof)]
        return {"kind": self.kind, "clause": self.clause, "said": self.said, "why": self.why, "ops": ops}

    @staticmethod
    def of_json(told: dict[str, Any]) -> Counterexample:
        """The fault that `as_json` tells of."""
        proof, _ = jsonlines.read(map(json.dumps, told["ops"]))
        return Counterexample(told["kind"], told["clause"], told["said"], tuple(proof), told["why"])

    def draw(self, unit: float = 1.0) -> str:
        """The proof as a timeline, and why no order explains it."""
        return f"{timeline(self.proof, [self.culprit], unit)}\n{self.why}"
