"""What a callable takes, as its signature says."""

from __future__ import annotations

import inspect
from typing import Any


def keywords(method: Any) -> frozenset[str] | None:
    """The names that a method takes by keyword; None: any, or it does not say."""
    if method is None:
        return frozenset()
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))
