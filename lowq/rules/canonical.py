"""Work to canonical JSON text and back, and the digest that decides whether two works are equal.

The text has sorted object keys, no white space, and characters as they are; RFC 8785 (JSON Canonicalization) is
followed in spirit, but numbers keep Python's spelling, so that 1 and 1.0 stay different works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from json import encoder as json_encoder
from typing import Any, NoReturn

from lowq.backend import Damaged, InvalidWork, Work
from lowq.rules.origin import let_through_strange

MAX_DEPTH = 200
"""Arrays and objects may be nested this deep; the interpreter's own limit would depend on who calls."""

MAX_DIGITS = 4300
"""An int may have this many digits: what an interpreter reads unless it was told otherwise, and the reader may be
another one than the writer."""

_GREATEST = 10**MAX_DIGITS - 1
_LEAST = -_GREATEST

_SCALARS = (str, int, float, type(None))  # bool is an int
_PLAIN = frozenset((str, float, bool, type(None)))
"""What the encoder itself refuses where it is no JSON."""


def encode(work: Work) -> str:
    """The canonical JSON text of `work`.

    Raises InvalidWork, naming the path inside the work, for anything that is not JSON: other types, object keys
    that are no strings, NaN and infinities, lone surrogates, cycles, nesting past MAX_DEPTH.
    """
    return encode_both(work)[0]


def encode_both(work: Work) -> tuple[str, bytes]:
    """The canonical text of `work`, and its UTF-8. Raises as `encode` does."""
    try:
        _check(work, 0)
        text = "".join(_encoder()(work, 0))
        data = text.encode()
    except (InvalidWork, TypeError, ValueError, RecursionError) as error:
        if (fault := _fault(work, "work", ())) is None:
            let_through_strange(error)
        raise InvalidWork(fault or f"work: {error}") from None
    return text, data


def decode(text: str) -> Work:
    """The work of a canonical text, made afresh. Raises ValueError or RecursionError for any other text."""
    try:
        work, end = _scan(text, 0)
        if end == len(text):
            return work
    except StopIteration:  # the scanner's word for a text that does not begin as JSON
        pass
    return _decode(text)  # which says what is wrong, and takes white space for what it is


def work_text(work: Work) -> str:
    """The work as text for a person: canonical, or what stands in the place of one that cannot be read."""
    return f"damaged: {work.text}" if isinstance(work, Damaged) else encode(work)


def digest(text: str, key: str | None) -> bytes:
    """What makes works equal: of the explicit key, or else of the canonical text; the two never meet."""
    return digest_of(text.encode(), key)


def digest_of(data: bytes, key: str | None) -> bytes:
    """As `digest`, of the text's UTF-8."""
    state = (_WORKS if key is None else _KEYS).copy()
    state.update(data if key is None else key.encode())
    return state.digest()


_WORKS, _KEYS = (blake2b(digest_size=20, person=person) for person in (b"work", b"key"))


def check_key(key: str) -> None:
    """Raise TypeError or InvalidWork unless `key` is a string that UTF-8 can hold."""
    if not isinstance(key, str):
        raise TypeError(f"key: expected a string, got {type(key).__name__}")
    if (fault := _scalar_fault(key)) is not None:
        raise InvalidWork(f"key: {fault}")


@cache
def _encoder() -> Callable[[Work, int], Iterable[str]]:
    """What gives the parts of a canonical text: C's own encoder, which `JSONEncoder.encode` makes anew each time."""
    ours = json.JSONEncoder(
        ensure_ascii=False, allow_nan=False, sort_keys=True, check_circular=False, separators=(",", ":")
    )
    with suppress(Exception):  # it is no public part of json, and may change
        make: Any = vars(json_encoder)["c_make_encoder"]
        made = make(None, ours.default, json_encoder.encode_basestring, None, ":", ",", True, False, False)
        if "".join(made(_SAMPLE, 0)) == ours.encode(_SAMPLE):
            return made  # type: ignore[no-any-return]
    return lambda work, _: (ours.encode(work),)


_SAMPLE = {"b": [1, -2.5, True, None, "\u00e9\n"], "a": {}}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_decode = _decoder.decode
_scan: Callable[[str, int], tuple[Work, int]] = vars(_decoder)["scan_once"]
"""A program may replace `json.loads` for its own use; what is kept is read as it was written."""


def refuse_twice(error: type[Exception]) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What makes the objects of a JSON text (`object_pairs_hook`), and raises this error where a name stands twice.

    Readers differ in which of the two values they lose.
    """

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise error(f"{_find_twice(pairs)[:80]!a} stands twice in one object; which of the two is meant?")
        return found

    return as_object


def _find_twice(pairs: Iterable[tuple[str, object]]) -> str:
    """The first name that stands twice among those of an object; empty where none does."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    return ""


def _check(value: Work, depth: int) -> None:
    """Raise unless the encoder will write `value` as it is; the encoder itself turns a key of 1 into "1"."""
    if type(value) in _PLAIN:
        return
    if isinstance(value, _SCALARS):
        if isinstance(value, int) and not _LEAST <= value <= _GREATEST:
            raise InvalidWork("too many digits")
        return
    if depth == MAX_DEPTH:
        raise InvalidWork("nested too deeply")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise InvalidWork("key is no string")
            kind = type(part)
            if kind not in _PLAIN and (kind is not int or not _LEAST <= part <= _GREATEST):
                _check(part, depth + 1)
    elif isinstance(value, (list, tuple)):
        for part in value:
            kind = type(part)
            if kind not in _PLAIN and (kind is not int or not _LEAST <= part <= _GREATEST):
                _check(part, depth + 1)
    else:
        raise InvalidWork("not JSON")


def _fault(value: Work, path: str, above: tuple[int, ...]) -> str | None:
    """Where and why `value` is not JSON, or None."""
    if isinstance(value, _SCALARS):
        fault = _scalar_fault(value)
        return fault and f"{path}: {fault}"
    if not isinstance(value, (dict, list, tuple)):
        return f"{path}: {type(value).__name__} is not JSON"
    if id(value) in above:
        return f"{path}: contains itself"
    if len(above) == MAX_DEPTH:
        return f"{_shorten(path)}: nested more than {MAX_DEPTH} deep"
    above = (*above, id(value))
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                return f"{path}: the object key {key!r} is no string"
            if (fault := _scalar_fault(key)) is not None:
                return f"{path}: the object key {key!a}: {fault}"
            inner = f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"
            if (fault := _fault(part, inner, above)) is not None:
                return fault
    else:
        for index, part in enumerate(value):
            if (fault := _fault(part, f"{path}[{index}]", above)) is not None:
                return fault
    return None


def surrogate_fault(text: str) -> str | None:
    """Why UTF-8 cannot hold the text, or None."""
    found = find_surrogate(text)
    return None if found is None else f"the lone surrogate {found!a} is not JSON"


def find_surrogate(text: str) -> str | None:
    """The first character that UTF-8 cannot hold, or None."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        let_through_strange(error)
        return text[error.start]
    return None


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return surrogate_fault(value)
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            return f"{value} is not JSON"
    elif isinstance(value, int):
        if not _LEAST <= value <= _GREATEST:
            return f"an integer of more than {MAX_DIGITS} digits cannot be read back everywhere; push it as a string"
        try:
            int.__repr__(value)
        except ValueError as error:
            let_through_strange(error)
            return str(error)
    return None


def _shorten(path: str) -> str:
    return path if len(path) <= 80 else f"{path[:60]}…"
