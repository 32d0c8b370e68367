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
    except RecursionError:
        return _of_any_depth(work)
    except (TypeError, ValueError):
        try:
            return _of_any_depth(work)  # an integer of more digits than Python writes in decimal
        except (TypeError, ValueError):
            return f"no JSON: {_show(work)}"


def _of_any_depth(work: Any) -> str:
    """The same text without recursion, and with huge integers in hexadecimal. Raises TypeError or ValueError."""
    parts: list[str] = []
    left: list[Any] = [work]
    within: list[int] = []
    outer: set[int] = set()
    while left:
        value = left.pop()
        if isinstance(value, _Text):
            parts.append(value)
        elif isinstance(value, _End):
            outer.remove(within.pop())
            parts.append(value.text)
        elif isinstance(value, (dict, list, tuple)):
            if id(value) in outer:
                raise ValueError("it contains itself")
            within.append(id(value))
            outer.add(id(value))
            left += reversed(_pieces(value))
        elif isinstance(value, int) and value.bit_length() > 10_000:
            parts.append(hex(value))
        else:
            parts.append(_encode(value))
    return "".join(parts)


class _Text(str):
    """Text that stands for itself."""

    __slots__ = ()


class _End:
    """The end of an object or a list."""

    def __init__(self, text: str) -> None:
        self.text = text


def _pieces(value: Any) -> list[Any]:
    """What the text of an object or list consists of."""
    if not isinstance(value, dict):
        between = [piece for part in value for piece in (_Text(","), part)]
        return [_Text("["), *between[1:], _End("]")]
    if not all(isinstance(key, str) for key in value):
        raise TypeError("object keys must be strings")
    members = [piece for key in sorted(value) for piece in (_Text(","), _Text(f"{_encode(key)}:"), value[key])]
    return [_Text("{"), *members[1:], _End("}")]


def _show(value: Any) -> str:
    """The value as Python writes it, where it can."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
