"""A violation that a fast condition found in a history, not yet confirmed by the complete search."""

from __future__ import annotations

from dataclasses import dataclass

from lowq_conformance.history.operation import Op


@dataclass(frozen=True, slots=True)
class Accusation:
    """The kind of fault, in words that `judge.CLAUSE_OF` knows; a sentence; and the operations that show it."""

    kind: str
    said: str
    ops: tuple[Op, ...]
