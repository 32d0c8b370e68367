"""A claim object for packages that hand out the bare work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Taken:
    """A work that was taken, and what the package wants to see again when it is settled."""

    work: Any
    token: Any = None
