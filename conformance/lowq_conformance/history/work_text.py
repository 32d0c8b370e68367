"""The text of a work: two works are equal as JSON where their texts are.

1, 1.0, true and "1" are four works; the order of an object's keys does not matter.
"""

from __future__ import annotations

import json
from typing import Any

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def work_text(work: Any) -> str:
    """The work as JSON with sorted keys; what a queue hands out and is not JSON gets a text that no work has."""
    try:
        return _encode(work)
    except (TypeError, ValueError):
        return f"no JSON: {work!r}"
