"""Which works and arguments the sound queue takes, and the text that it keeps of a work."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lowq import InvalidWork, Item

MAX_DEPTH = 100


def encode(work: Any) -> str:
    """The canonical JSON text of `work`. Raises InvalidWork, with the path inside the work."""
    check(work, "work", 0)
    try:
        return json.dumps(work, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:  # NaN, or an int of more digits than the interpreter writes
        raise InvalidWork(f"work: {error}") from None


def check(value: Any, path: str, depth: int) -> None:
    """Raise InvalidWork for what is not JSON."""
    if depth > MAX_DEPTH:
        raise InvalidWork("work: contains itself, or is nested too deeply")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise InvalidWork(f"{path}: the object key {key!r} is no string")
            check(key, f"{path}: object key", depth)
            check(part, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            check(part, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidWork(f"{path}: a lone surrogate is not JSON") from None
    elif isinstance(value, float):
        if value - value != 0:
            raise InvalidWork(f"{path}: {value} is not JSON")
    elif not isinstance(value, (bool, int, type(None))):
        raise InvalidWork(f"{path}: {type(value).__name__} is not JSON")


def check_item(item: Item) -> None:
    """Raise TypeError or ValueError unless key, priority, time and headers are what a queue can keep."""
    check_key(item.key)
    check_priority(item.priority)
    check_time(item.not_before)
    check_headers(item.headers)


def check_key(key: Any) -> None:
    if key is not None and not isinstance(key, str):
        raise TypeError(f"key: expected a string, got {type(key).__name__}")


def check_priority(priority: Any) -> None:
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise TypeError(f"priority: expected an int, got {type(priority).__name__}")
    if not -(2**31) <= priority < 2**31:
        raise ValueError(f"priority: {priority} is outside -2**31 to 2**31-1")


def check_time(not_before: Any) -> None:
    if not_before is None:
        return
    if not isinstance(not_before, datetime):
        raise TypeError(f"not_before: expected an aware datetime, got {type(not_before).__name__}")
    if not_before.tzinfo is None:
        raise ValueError(f"not_before: {not_before} has no time zone")


def check_headers(headers: Any) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers: expected a mapping, got {type(headers).__name__}")
    for text in (*headers, *headers.values()):
        if not isinstance(text, str):
            raise TypeError(f"headers: expected strings, got {type(text).__name__} {text!r}")


def each_scalar(work: Any, change: Callable[[Any], Any]) -> Any:
    """`work` with every value that is no list and no object changed."""
    if isinstance(work, dict):
        return {key: each_scalar(part, change) for key, part in work.items()}
    if isinstance(work, (list, tuple)):
        return [each_scalar(part, change) for part in work]
    return change(work)
