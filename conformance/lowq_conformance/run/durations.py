"""How long a run may take, as people write it: 90s, 5m, 1h30m."""

from __future__ import annotations

import re

UNITS = {"h": 3600, "m": 60, "s": 1}
LENGTH = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


class BadLength(ValueError):
    """The text is no length of time."""


def seconds_of(text: str) -> float:
    """The seconds that a text such as 90s, 5m or 1h30m says. Raises BadLength."""
    written = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", written):
        raise BadLength(
            f"{written} of what? Write {written}s for seconds, {written}m for minutes, {written}h for hours"
        )
    found = LENGTH.fullmatch(written)
    if found is None or not written:
        raise BadLength(f"{text!r} is no length of time; expected something like 90s, 5m or 1h30m")
    seconds = sum(float(found[unit] or 0) * size for unit, size in UNITS.items())
    if seconds <= 0:
        raise BadLength(f"{text!r} is no time at all")
    return seconds
