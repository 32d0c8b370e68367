"""Tells which of the works that a queue may refuse (trait `refuses`) a work is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lowq_conformance.contract.promises import Traits


def may_refuse(work: Any, traits: Traits) -> bool:
    """Whether the queue says that it refuses such a work."""
    return not traits.refuses.isdisjoint(kinds(work))


def kinds(work: Any) -> set[str]:
    """The words of REFUSABLE that say something of the work."""
    found = {"null"} if work is None else set[str]()
    for text in texts(work):
        found |= {"nul"} if "\0" in text else set()
        found |= {"control"} if any(control(character) for character in text) else set()
        found |= {"astral"} if any(character > "\uffff" for character in text) else set()
        found |= {"empty"} if not text else set()
    return found


def control(character: str) -> bool:
    """Whether it is a control character, other than U+0000, that storages are known to refuse."""
    return (character < " " and character not in "\0\t\n\r") or "\x7f" <= character < "\xa0"


def texts(work: Any) -> Iterator[str]:
    """Every text in the work, object keys too."""
    left, seen = [work], set[int]()
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))  # a work that contains itself is looked at all the same
            left += [*value, *value.values()] if isinstance(value, dict) else value
