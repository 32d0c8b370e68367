"""How a value that was refused is shown in the message that refuses it: in one printable line, whatever it is."""

from __future__ import annotations

LONGEST = 80
"""Characters of a value that are shown."""


def excerpt(value: object) -> str:
    """``repr(value)``, cut where it is long; its type where that raises: too many digits, nested too deeply."""
    try:
        text = repr(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        if isinstance(value, int):
            return f"an int of some {value.bit_length() * 3 // 10} digits"
        return f"a value of type {type(value).__name__}"
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
