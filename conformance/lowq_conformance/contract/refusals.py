"""Tells which of the works that a queue may refuse, or take for another one, a work is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lowq_conformance.contract.promises import Traits

UNSAFE = 2**53
"""From here on a double does not hold every integer."""
EXPONENT = 1e21
"""From here on JavaScript writes a whole number with an exponent (ECMA-262), so that it stays a float."""


def may_refuse(work: Any, traits: Traits) -> bool:
    """Whether the queue says that it refuses such a work."""
    return not traits.refuses.isdisjoint(kinds(work))


def kinds(work: Any) -> set[str]:
    """The words of REFUSABLE that say something of the work."""
    found = {"null"} if work is None else set[str]()
    for value in values(work):
        found |= {"bigint"} if isinstance(value, int) and abs(value) >= UNSAFE else set()
        if not isinstance(value, str):
            continue
        text = value
        found |= {"nul"} if "\0" in text else set()
        found |= {"control"} if any(control(character) for character in text) else set()
        found |= {"astral"} if any(character > "\uffff" for character in text) else set()
        found |= {"empty"} if not text else set()
    return found


def control(character: str) -> bool:
    """Whether it is a control character, other than U+0000, that storages are known to refuse."""
    return (character < " " and character not in "\0\t\n\r") or "\x7f" <= character < "\xa0"


def values(work: Any) -> Iterator[Any]:
    """Every text, number and other value in the work that holds no others, object keys too."""
    left, seen = [work], set[int]()
    while left:
        value = left.pop()
        if not isinstance(value, (dict, list, tuple)):
            yield value
        elif id(value) not in seen:
            seen.add(id(value))  # a work that contains itself is looked at all the same
            left += [*value, *value.values()] if isinstance(value, dict) else value


def holds_whole_float(work: Any) -> bool:
    """Whether a number in the work is a float without a fraction, which JavaScript writes as an integer."""
    numbers = (value for value in values(work) if isinstance(value, float))
    return any(number.is_integer() and abs(number) < EXPONENT for number in numbers)
