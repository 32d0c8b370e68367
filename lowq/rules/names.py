"""What a queue may be called, and how it may dedupe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from lowq.backend import Dedupe, InvalidLocation
from lowq.excerpt import excerpt


def check_name(name: str) -> None:
    """Raise TypeError or ValueError unless a queue can have this name: 1 to 200 printable characters."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a string, got {type(name).__name__}")
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise ValueError(f"name: expected 1 to 200 printable characters, got {excerpt(name)}")


def check_dedupe(dedupe: Dedupe | None) -> None:
    """Raise ValueError unless `dedupe` is None or one of the three windows."""
    if dedupe not in (None, *get_args(Dedupe)):
        raise ValueError(f"dedupe: expected {', '.join(get_args(Dedupe))} or None, got {excerpt(dedupe)}")


def check_same_dedupe(where: object, name: str, made: Dedupe, asked: Dedupe | None) -> None:
    """Raise InvalidLocation where the queue of this name was made with another dedupe than is asked for."""
    if asked not in (None, made):
        raise InvalidLocation(f"{where}: the queue {name!r} was made with dedupe={made!r}, not {asked!r}")


def no_queue(where: object, name: str, there: Iterable[str]) -> InvalidLocation:
    """The error for a name under which there is no queue; `there` are those that there are."""
    return InvalidLocation(f"{where}: there is no queue {name!r} here; there is {', '.join(there) or 'none'}")
