"""What stands in a task file: JSON that a person can read, of the work and of what came with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from json.encoder import encode_basestring
from math import isinf
from typing import Any, NamedTuple

from lowq.backend import NO_HEADERS, Headers, InvalidWork, Work
from lowq.clock import to_datetime, to_micros
from lowq.rules.canonical import encode, refuse_twice
from lowq.rules.entry import Entry, entry
from lowq.rules.headers import headers_text
from lowq.rules.origin import let_through_strange

LARGEST = 1_000_000_000
"""Bytes that a task file has at most, as much as a row of SQLite: what has more is no task, and is not read."""
_SHALLOW = 200
"""With fewer brackets than a work may be nested deep, none is nested deeper."""
FIELDS = ("work", "key", "priority", "not_before", "headers", "pushed_at", "reason")


class Wrong(Exception):
    """A file that is no task; its text says what is wrong with it."""


class Content(NamedTuple):
    """What a task file says; its place, its state and its attempts are in its name."""

    work: Work
    key: str | None
    priority: int
    not_before: int | None
    headers: Mapping[str, str]
    pushed_at: int
    reason: str | None

    def entry(self) -> Entry:
        """What a push of it would be. Raises InvalidWork, TypeError or ValueError."""
        due = None if self.not_before is None else to_datetime(self.not_before)
        return entry(self.work, self.key, self.priority, due, self.headers)

    def data(self) -> bytes:
        """The bytes of the file."""
        return _data(
            encode(self.work),
            self.key,
            self.priority,
            self.not_before,
            headers_text(self.headers),
            self.pushed_at,
            self.reason,
        )


def of_entry(new: Entry, pushed_at: int, reason: str | None = None) -> bytes:
    """The bytes of the file of a push."""
    return _data(new.text, new.key, new.priority, new.not_before, new.headers, pushed_at, reason)


def read(data: bytes, *, strict: bool = False) -> Content:
    """What a file says. `strict` refuses fields that nobody knows, as a misspelt one, and objects that have a name
    twice. Raises Wrong.
    """
    if not data:
        raise Wrong("it is empty")
    try:
        text = data.decode()
        fields = (_decode_once if strict else _decode)(text)
    except UnicodeDecodeError as error:
        let_through_strange(error)
        raise Wrong(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        let_through_strange(error)
        raise Wrong(f"it is not JSON, or was cut ({error})") from None
    if not isinstance(fields, dict):
        raise Wrong(f"expected a JSON object, found {_kind(fields)}")
    if "work" not in fields:
        raise Wrong('the field "work" is missing')
    # Half a character may hide behind the first two, which no push takes; ours have none.
    if "\\ud" in text or "\\uD" in text or text.count("[") + text.count("{") > _SHALLOW:
        _check_pushable(fields)
    if strict and (unknown := sorted(set(fields) - set(FIELDS))):
        raise Wrong(f"unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}")
    not_before, pushed_at = _instant(fields, "not_before"), _instant(fields, "pushed_at")
    return Content(
        work=fields["work"],
        key=_take_typed(fields, "key", str, None),
        priority=_take_typed(fields, "priority", int, 0),
        not_before=not_before,
        headers=_headers(fields),
        pushed_at=0 if pushed_at is None else pushed_at,
        reason=_take_typed(fields, "reason", str, None),
    )


def _check_pushable(fields: dict[str, Any]) -> None:
    """Raise Wrong where no push takes it: a text has half a character in it, or something is nested too deep."""
    try:
        encode(fields["work"])
        encode({name: value for name, value in fields.items() if name != "work"})
    except InvalidWork as error:
        let_through_strange(error)
        raise Wrong(str(error)) from None


def _data(
    work: str,
    key: str | None,
    priority: int,
    not_before: int | None,
    headers: str | None,
    pushed_at: int,
    reason: str | None,
) -> bytes:
    data = (
        f'{{\n "work": {work},\n "key": {_text(key)},\n "priority": {priority},\n'
        f' "not_before": {_time(not_before)},\n "headers": {headers or "{}"},\n'
        f' "pushed_at": {_time(pushed_at)},\n "reason": {_text(reason)}\n}}\n'
    ).encode()
    if len(data) > LARGEST:
        raise InvalidWork(f"work: its file would have {len(data):,} bytes, and a task has {LARGEST:,} at most")
    return data


def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


def _time(micros: int | None) -> str:
    return "null" if micros is None else f'"{to_datetime(micros).isoformat()}"'


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    if isinf(number := float(text)):
        raise ValueError(f"{text} is too large for a number")
    return number


_decode = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite).decode
_decode_once = json.JSONDecoder(
    parse_constant=_refuse, parse_float=_finite, object_pairs_hook=refuse_twice(Wrong)
).decode
_read_time = datetime.fromisoformat


def _instant(fields: dict[str, Any], field: str) -> int | None:
    text = _take_typed(fields, field, str, None)
    if text is None:
        return None
    try:
        return to_micros(_read_time(text), field)
    except ValueError as error:
        let_through_strange(error)
        raise Wrong(f"{field}: {text!r} is no time like 2026-11-26T15:04:05+00:00 ({error})") from None


def _headers(fields: dict[str, Any]) -> Mapping[str, str]:
    headers = _take_typed(fields, "headers", dict, None)
    if not headers:
        return NO_HEADERS
    if wrong := [name for name, value in headers.items() if not isinstance(value, str)]:
        raise Wrong(f"headers: {wrong[0]!r}: expected text, found {_kind(headers[wrong[0]])}")
    return Headers(headers)


def _take_typed(fields: dict[str, Any], field: str, kind: type, default: Any) -> Any:
    value = fields.get(field)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool):
        raise Wrong(f"{field}: expected {kind.__name__}, found {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    return "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
