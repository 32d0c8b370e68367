"""What a worker may be told, checked where it is told."""

from __future__ import annotations

from datetime import timedelta

from lowq.excerpt import excerpt
from lowq.worker.retry import Retry


def check_length(length: object, what: str, *, zero: bool = False) -> None:
    """Raise TypeError or ValueError unless it is a timedelta of more than zero, or of `zero` too."""
    if not isinstance(length, timedelta):
        say = f"timedelta(seconds={excerpt(length)})" if isinstance(length, int | float) else "timedelta(seconds=…)"
        raise TypeError(f"{what}: expected a timedelta, got {type(length).__name__}; say {say}")
    if length < timedelta(0) or (length == timedelta(0) and not zero):
        raise ValueError(f"{what}: expected {'zero or more' if zero else 'more than zero'}, got {length}")


def check_retry(retry: object, what: str = "retry") -> None:
    """Raise TypeError unless it is a Retry."""
    if isinstance(retry, Retry):
        return
    attempts = excerpt(retry) if isinstance(retry, int) and not isinstance(retry, bool) else "…"
    found = retry.__name__ if isinstance(retry, type) else type(retry).__name__
    raise TypeError(f"{what}: expected a Retry, got {found}; say retry=Retry(max_attempts={attempts})")
