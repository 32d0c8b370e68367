"""Headers to canonical JSON text and back. The same for every backend."""

from __future__ import annotations

from collections.abc import Mapping

from lowq.backend import NO_HEADERS, Headers, InvalidWork
from lowq.rules.canonical import decode, encode, surrogate_fault


def headers_text(headers: Mapping[str, str] | None) -> str | None:
    """The headers as canonical JSON text; None where there are none.

    Raises TypeError for what is no mapping of strings to strings, InvalidWork for text that UTF-8 cannot hold; both
    name the header.
    """
    if headers is None or headers is NO_HEADERS:
        return None
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers: expected a mapping of strings to strings, got {type(headers).__name__}")
    pairs = dict(headers)
    for name, value in pairs.items():
        if not isinstance(name, str):
            raise TypeError(f"headers: expected names that are strings, got {type(name).__name__} {name!r}")
        if (fault := surrogate_fault(name)) is not None:
            raise InvalidWork(f"headers: the name {name!a}: {fault}")
        if not isinstance(value, str):
            raise TypeError(f"headers: {name!r}: expected a string, got {type(value).__name__} {value!r}")
        if (fault := surrogate_fault(value)) is not None:
            raise InvalidWork(f"headers: {name!r}: {fault}")
    return encode(pairs) if pairs else None


def headers_of(text: str | None) -> Headers:
    """The headers of a canonical text, or of None. Raises ValueError where it says something else."""
    if text is None:
        return NO_HEADERS
    pairs = decode(text)
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise ValueError("not an object of strings")
    return Headers(pairs)
