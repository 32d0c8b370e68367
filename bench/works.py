"""What is pushed."""

from __future__ import annotations

from itertools import count
from typing import Any

_numbers = count()


def works(amount: int) -> list[Any]:
    """Works of some 70 bytes, none of them equal to another of this run."""
    return [{"do": "thumbnail", "path": f"/pictures/{next(_numbers):09}.jpg", "width": 320} for _ in range(amount)]
