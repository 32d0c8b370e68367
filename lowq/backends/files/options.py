"""Options as the text of a URL has them."""

from __future__ import annotations

from datetime import timedelta


def seconds(text: str) -> timedelta:
    """The span of a text like ``0.5``. Raises ValueError."""
    try:
        return timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"patience: expected seconds, got {text!r}") from None


def yes(text: str) -> bool:
    """Whether the text says ``true``. Raises ValueError unless it says ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise ValueError(f"create: expected true or false, got {text!r}")
    return text == "true"
