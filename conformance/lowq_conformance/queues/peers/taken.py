"""What a claim hands out where the package has no object with a work of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Taken:
    """A work that was taken, and what the package wants to see again when it is settled."""

    work: Any
    token: Any = None
