"""What was meant by a setting that there is not: one misspelt, or one by the name that another queue has for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from types import CodeType, FunctionType
from typing import Any

from lowq.excerpt import excerpt

_FIRST = "retry = Retry(first=timedelta(seconds={number}))"
_AT_PUSH = "it at the push, push(work, {name}=…)"
_LATER = "it at the push, push(work, not_before=…)"
_ENDING = "on_dead for what is set aside, or hooks.after_run for every attempt"

_SURE: Mapping[str, str] = {
    **dict.fromkeys(
        ("maxattempts", "maxretries", "maxretry", "maxtries", "retries", "retrylimit", "retrycount"),
        "retry = Retry(max_attempts={number})",
    ),
    **dict.fromkeys(("retrydelay", "retrybackoff", "defaultretrydelay", "autoretryfor"), _FIRST),
    **dict.fromkeys(
        ("softtimelimit", "hardtimelimit", "tasktimelimit", "jobtimeout", "maxruntime"),
        "time_limit = timedelta(seconds={number})",
    ),
    **dict.fromkeys(
        ("lease", "leasetime", "leaseseconds", "visibilitytimeout"), "lease_for = timedelta(seconds={number})"
    ),
    "queuename": "name = {value}",
}
"""What can be meant for nothing else, without underscores and in lower case."""

_NUMBERS = (int, float, timedelta)
_FUNCTIONS = (FunctionType, staticmethod, classmethod)
_PERHAPS: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("attempts", "attempt", "tries"), (_NUMBERS, "retry = Retry(max_attempts={number})")),
    **dict.fromkeys(
        (
            *("delay", "delays", "backoff", "basedelay", "initialdelay", "mindelay", "firstdelay", "minbackoff"),
            *("retryafter", "retryin", "retryinterval", "retrywait", "retryseconds", "retrymin", "retryfirst"),
        ),
        ((*_NUMBERS, bool), f"{_FIRST} for another attempt, or not_before at the push"),
    ),
    **dict.fromkeys(
        ("maxdelay", "maxbackoff", "retrybackoffmax", "retrymax", "retrymaxdelay", "retrylongest"),
        (_NUMBERS, "retry = Retry(longest=timedelta(seconds={number}))"),
    ),
    **dict.fromkeys(("backofffactor", "retryfactor", "multiplier"), (_NUMBERS, "retry = Retry(factor={number})")),
    **dict.fromkeys(
        ("timeout", "tasktimeout", "maxtime", "runtimelimit"),
        (_NUMBERS, "time_limit = timedelta(seconds={number})"),
    ),
    **dict.fromkeys(("leasetimeout", "leaseduration"), (_NUMBERS, "lease_for = timedelta(seconds={number})")),
    "queue": ((str,), "name = {value}"),
    "location": ((str,), "path = {value}"),
    **dict.fromkeys(("unique", "deduplicate"), ((bool, str), 'dedupe = "until_done"')),
    "priority": ((int,), _AT_PUSH),
    **dict.fromkeys(("countdown", "eta", "notbefore"), (_NUMBERS, _LATER)),
    **dict.fromkeys(("processes", "workers", "concurrency"), ((int,), "queue.worker(processes={number})")),
    **dict.fromkeys(("batch", "batchsize"), ((int,), "queue.worker(batch={number})")),
    "onfailure": (_FUNCTIONS, "on_dead"),
    **dict.fromkeys(("onsuccess", "onretry", "onerror", "ondone", "onfinish"), (_FUNCTIONS, _ENDING)),
}
"""What may be meant, where the value is of such a kind, and may as well be a class's own."""

_NEAR = 0.84
"""How alike two spellings are that are taken for one."""


def plain(name: str) -> str:
    """The name without underscores and in lower case."""
    return name.replace("_", "").lower()


def suggest(name: str, known: Collection[str]) -> str:
    """``; did you mean durability?``, or nothing where no known name resembles this one."""
    near = _nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def find_meant(name: str, value: object, kinds: Mapping[str, Callable[[Any], bool]]) -> str | None:
    """What to say in place of a setting that there is not, if nothing else can be meant; else None.

    `kinds` are the settings that there are, and whether a value can be one of them.
    """
    bare = plain(name)
    if bare in _SURE:
        return _fill(_SURE[bare], name, value)
    near = _nearest(name, kinds, _NEAR)
    return near if near and kinds[near](value) else None


def _nearest(name: str, known: Collection[str], alike: float = 0.6) -> str | None:
    from difflib import get_close_matches  # here, since most programs do not need it

    spelt = {plain(each): each for each in known}
    near = get_close_matches(plain(name), spelt, 1, alike)
    return spelt[near[0]] if near else None


def find_perhaps_meant(name: str, value: object, *, any_value: bool = False) -> str | None:
    """What to say in place of a setting that there is not, or None; a class may have this name for itself, too."""
    types, text = _PERHAPS.get(plain(name), ((), ""))
    if text and (any_value or (isinstance(value, types) and (bool in types or not isinstance(value, bool)))):
        return _fill(text, name, value)
    return None


def _fill(text: str, name: str, value: object) -> str:
    number = excerpt(value) if isinstance(value, int | float) and not isinstance(value, bool) else "…"
    return text.format(number=number, value=excerpt(value), name=name)


def find_names(kinds: Collection[type]) -> frozenset[str]:
    """The names that functions of these classes mention, as a name, an attribute or a text."""
    return frozenset(name for kind in kinds for value in vars(kind).values() for name in _read_names(value, 5))


def _read_names(value: Any, depth: int) -> Iterator[str]:
    """The names in the code of a function, of what it wraps, and of the functions in it."""
    if isinstance(value, CodeType):
        yield from value.co_names
        for each in value.co_consts:
            if isinstance(each, str):
                yield each
            elif isinstance(each, CodeType) and depth:
                yield from _read_names(each, depth - 1)
    elif depth and not isinstance(value, type):
        for inner in ("__code__", "__wrapped__", "__func__", "fget", "func"):
            if (found := getattr(value, inner, None)) is not None:
                yield from _read_names(found, depth - 1)
