"""Reads what a queue answered, and shows it as the program of a run does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lowq_conformance.subject.program import format_value

ENDED = ("done", "cancelled")
"""The states in which a task is in the queue no more, where a queue keeps and lists it all the same."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a push said: the id of the standing task and whether this push added it; None where it does not say."""

    id: Any = None
    added: bool | None = None


def field(raw: Any, name: str) -> Any:
    """A field of something that a queue handed out, of it or of its task, or None where it has none."""
    for holder in (getattr(raw, "task", None), raw):
        if holder is not None and hasattr(holder, name):
            return getattr(holder, name)
    return None


def read_headers(raw: Any) -> Mapping[str, Any] | None:
    """The headers of something that a queue handed out, or None where it does not tell them."""
    holders: list[Any] = [getattr(raw, "task", None), raw]
    for holder in holders:
        if hasattr(holder, "headers"):
            headers = {} if holder.headers is None else holder.headers
            return headers if isinstance(headers, Mapping) else None
    return None


def read_answer(raw: Any) -> Answer:
    if isinstance(raw, bool):
        return Answer(None, raw)
    added = getattr(raw, "added", None)
    return Answer(getattr(raw, "id", None), added if isinstance(added, bool) else None)


def read_yes_or_no(raw: Any) -> bool | None:
    return raw if isinstance(raw, bool) else None


def show_push(raw: Any) -> str:
    added = read_answer(raw).added
    return "" if added is None else "added" if added else "not added"


def show_push_many(raw: Any) -> str:
    if not isinstance(raw, (list, tuple)):
        return ""
    return format_value([read_answer(answer).added for answer in raw])


def show_claim(raw: Any) -> str:
    return "None" if raw is None else format_value(getattr(raw, "work", raw))


def show_settle(raw: Any) -> str:
    return "False" if raw is False else ""


def show_nothing(_: Any) -> str:
    return ""


def show_listed(raw: Any) -> str:
    return "None" if raw is None else format_value(field(raw, "work"))


def show_listing(raw: Any) -> str:
    return format_value([field(task, "work") for task in raw])


def has_instant(positional: list[Any], passed: dict[str, Any]) -> bool:
    values: list[Any] = [*positional, *passed.values()]
    return any(isinstance(value, (datetime, list)) for value in values)
