"""Whether a value is what a test expected, and, field by field, where it is not.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from inspect import isroutine
from typing import Any

_JSON = (str, int, float, type(None))


def differences(expected: Any, found: Any, path: str) -> list[str]:
    """Where `found`, a JSON value, differs from what was expected: nowhere, or a line for each place.

    Expected may be a JSON value (of an object, only the keys that were named are compared; tuples count as lists), a
    type, a predicate, or anything with an ``__eq__`` of its own, such as `unittest.mock.ANY`.
    """
    return list(_differences(expected, found, path))


def _differences(expected: Any, found: Any, path: str) -> Iterator[str]:
    if isinstance(expected, dict):
        yield from _in_object(expected, found, path)
    elif isinstance(expected, list | tuple):
        yield from _in_array(expected, found, path)
    elif isinstance(expected, Enum) and isinstance(expected, _JSON):
        yield from _differences(expected.value, found, path)
    elif isinstance(expected, _JSON):
        if expected != found or _kind(expected) is not _kind(found):
            yield f"{path}: expected {show_value(expected)}, got {show_value(found)}"
    elif isinstance(expected, type):
        if _kind(found) is not expected:
            yield f"{path}: expected any {expected.__name__}, got {show_value(found)}"
    elif _compares(expected) and not isroutine(expected):
        if expected != found:
            yield f"{path}: expected {show_value(expected)}, got {show_value(found)}"
    elif callable(expected):
        if not expected(found):
            yield f"{path}: {_call_name(expected)} says no to {show_value(found)}"
    else:
        yield f"{path}: expected {show_value(expected)}, which no JSON value equals, got {show_value(found)}"


def _in_object(expected: dict[Any, Any], found: Any, path: str) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{path}: expected an object, got {show_value(found)}"
        return
    for key, value in expected.items():
        inner = f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f"{path}[{key!r}]"
        if key in found:
            yield from _differences(value, found[key], inner)
        else:
            there = ", ".join(map(repr, found)) or "nothing"
            yield f"{inner}: expected {show_value(value)}, but there is no such key; there is {there}"


def _in_array(expected: list[Any] | tuple[Any, ...], found: Any, path: str) -> Iterator[str]:
    if not isinstance(found, list):
        yield f"{path}: expected a list, got {show_value(found)}"
        return
    if len(expected) != len(found):
        yield f"{path}: expected {len(expected)} elements, got {len(found)}: {show_value(found)}"
        return
    for index, (value, there) in enumerate(zip(expected, found, strict=True)):
        yield from _differences(value, there, f"{path}[{index}]")


def show_value(value: Any) -> str:
    """The value with its type, cut where it is long."""
    if value is None or isinstance(value, bool) or not isinstance(value, (*_JSON, dict, list)):
        return _cut(repr(value))
    return f"{_cut(repr(value))} ({type(value).__name__})"


def _kind(value: Any) -> type:
    """The JSON type, in Python's words: True is a bool and no int, and a subclass of str is a str."""
    return next((kind for kind in (bool, int, float, str, dict, list) if isinstance(value, kind)), type(value))


def _compares(value: Any) -> bool:
    return "__eq__" in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}


def _call_name(predicate: Any) -> str:
    name = getattr(predicate, "__name__", type(predicate).__name__)
    return "the predicate" if name == "<lambda>" else f"{name}()"


def _cut(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
