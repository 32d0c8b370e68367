"""Options of a backend, as a program gives them or as the text of a URL has them: ``?patience=5&create=false``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import isfinite

from lowq.backend import InvalidLocation
from lowq.clock import span
from lowq.excerpt import excerpt
from lowq.rules.origin import let_through_strange

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def length_of(given: timedelta | str, option: str) -> timedelta:
    """A timedelta of zero or more; a text is a number of seconds. Raises TypeError, ValueError or InvalidLocation."""
    if not isinstance(given, str):
        span(given, option)
        return given
    try:
        seconds = float(given)
        if seconds >= 0 and isfinite(seconds) and given.isascii():
            return timedelta(seconds=seconds)
    except (ValueError, OverflowError) as error:
        let_through_strange(error)
    most = timedelta.max.total_seconds()
    raise InvalidLocation(f"{option}: expected seconds, a number from 0 to {most:.0f}, got {excerpt(given)}")


def flag_of(given: bool | str, option: str) -> bool:
    """True or False; a text says yes or no. Raises TypeError or InvalidLocation."""
    if isinstance(given, bool):
        return given
    if not isinstance(given, str):
        raise TypeError(f"{option}: expected True or False, got {type(given).__name__}")
    if given.lower() in _YES:
        return True
    if given.lower() in _NO:
        return False
    raise InvalidLocation(f"{option}: expected true or false, got {excerpt(given)}")


def check_choice(given: str, option: str, known: Sequence[str]) -> None:
    """Raise InvalidLocation unless `given` is one of the known words."""
    if given not in known:
        raise InvalidLocation(f"{option}: expected {', '.join(known)}, got {excerpt(given)}")
