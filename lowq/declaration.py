"""What a TaskQueue's class or `@task_queue` says is checked where it is said, with the right spelling."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from inspect import signature
from typing import Any

from lowq.backend import InvalidLocation
from lowq.clock import choose_clock
from lowq.error_text import show_error
from lowq.excerpt import excerpt
from lowq.location import Location, locate
from lowq.rules.names import check_dedupe, check_name
from lowq.worker.handler import check_handler, name_of
from lowq.worker.retry import Retry
from lowq.worker.settings import check_length, check_retry

_ATTEMPTS = frozenset("max_attempts max_retries max_retry max_tries retries retry_limit retry_count".split())
_DELAYS = frozenset("retry_delay retry_backoff default_retry_delay autoretry_for".split())
_LIMITS = frozenset("soft_time_limit hard_time_limit task_time_limit job_timeout max_runtime".split())
_LEASES = frozenset("lease lease_time lease_seconds visibility_timeout".split())
_NAMES = frozenset("queue_name".split())
_OPTION_WORDS = {
    "timeout": "time_limit=timedelta(seconds=…)",
    "queue": 'name="…"',
    "unique": 'dedupe="until_done"',
    "on_failure": "on_dead=…",
}
"""What an option may have meant that a class may well have an attribute of its own for."""

_NEAR = 0.84
"""How alike two spellings are that are taken for one."""

_LENGTHS = (timedelta, int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "path": (str, os.PathLike, Location),
    "name": (str,),
    "dedupe": (str,),
    "options": (Mapping,),
    "lease_for": _LENGTHS,
    "time_limit": _LENGTHS,
    "linger": _LENGTHS,
    "retry": (Retry, int),
    "log_level": (int,),
}
"""What a misspelt attribute must be to count as one."""


def check_settings(title: str, settings: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError, naming queue and setting, unless each can be meant so."""
    check_name(settings["name"])
    check_dedupe(settings["dedupe"])
    check_retry(settings["retry"], f"{title}: retry")
    check_length(settings["lease_for"], f"{title}: lease_for")
    check_length(settings["linger"], f"{title}: linger", zero=True)
    if settings["time_limit"] is not None:
        check_length(settings["time_limit"], f"{title}: time_limit")
    options = settings["options"]
    if not isinstance(options, Mapping) or not all(isinstance(each, str) for each in options):
        raise TypeError(f"{title}: options: expected a dict of the backend's options, got {excerpt(options)}")
    try:
        choose_clock(settings["clock"])
    except TypeError as error:
        raise TypeError(f"{title}: {error}") from None
    if settings["on_dead"] is not None:
        check_handler(settings["on_dead"], ("run",), f"{title}: on_dead")


def check_spelling(title: str, attributes: Mapping[str, Any], known: Callable[[str], bool]) -> None:
    """Raise TypeError for an attribute of a class that is nothing to a TaskQueue and was meant to be."""
    for name, value in attributes.items():
        if name.startswith("_") or known(name):
            continue
        if (meant := _guess_meant(name, value)) is not None:
            raise TypeError(
                f"{title}: {name} is nothing that a TaskQueue knows: say {meant}. An attribute of your own needs "
                f"another name, such as _{name}"
            )


def unknown_option(name: str, value: Any, known: list[str]) -> TypeError:
    """The error for an option of `@task_queue` that there is not."""
    meant = _guess_meant(name, value) or _OPTION_WORDS.get(name)
    near = get_close_matches(name, known, 1)
    hint = f"; say {meant.replace(' = ', '=')}" if meant else f"; did you mean {near[0]}?" if near else ""
    return TypeError(f"task_queue: unknown option {name!r}{hint}; expected one of {', '.join(known)}")


def _guess_meant(name: str, value: Any) -> str | None:
    """What the attribute would be if it were spelt rightly, or None."""
    number = excerpt(value) if isinstance(value, int | float) and not isinstance(value, bool) else "…"
    if name in _ATTEMPTS:
        return f"retry = Retry(max_attempts={number})"
    if name in _DELAYS:
        return "retry = Retry(first=timedelta(seconds=…))"
    if name in _LIMITS:
        return f"time_limit = timedelta(seconds={number})"
    if name in _LEASES:
        return f"lease_for = timedelta(seconds={number})"
    if name in _NAMES:
        return f"name = {excerpt(value)}"
    for near in get_close_matches(name, [*_KINDS, "clock", "on_dead", "process"], 1, _NEAR):
        if near in _KINDS:
            plausible = isinstance(value, _KINDS[near]) and not isinstance(value, bool)
        else:
            plausible = hasattr(value, "countdown") if near == "clock" else callable(value)
        return near if plausible else None
    return None


def is_late(owner: object) -> bool:
    """Whether the `path` of this queue is decided when it is first used: by a function, or in the environment."""
    path = _find_stored_path(owner)
    if isinstance(path, str):
        return path.startswith(ENVIRONMENT)
    if isinstance(path, os.PathLike | Location):
        return False
    return callable(path) or isinstance(path, property | staticmethod | classmethod)


ENVIRONMENT = "env://"


def decide(owner: object, title: str) -> Location:
    """Where the queue is, asked now. Raises InvalidLocation, which says who decides and how that failed."""
    path = _find_stored_path(owner)
    if isinstance(path, str):
        variable = path.removeprefix(ENVIRONMENT)
        found: Any = os.environ.get(variable)
        who = f"the environment variable {variable}"
        if not found:
            raise InvalidLocation(f"{title}: path: {who} is {'not set' if found is None else 'empty'}")
    else:
        who = name_of(getattr(path, "fget", None) or getattr(path, "__func__", None) or path)
        try:
            found = _ask(owner, path)
        except Exception as error:
            raise InvalidLocation(f"{title}: path: {who}, which decides it, raised {show_error(error)}") from error
        if not isinstance(found, str | os.PathLike | Location):
            raise InvalidLocation(f"{title}: path: {who} answered {excerpt(found)}; expected a path or URL")
    try:
        return locate(found)
    except (InvalidLocation, TypeError) as error:
        raise InvalidLocation(f"{title}: path, from {who}: {error}") from None


def _ask(owner: Any, path: Any) -> Any:
    if isinstance(path, property):
        return owner.path
    if callable(path) and takes_nothing(path):  # a lambda of a class is no method
        return path()
    return owner.path()


def takes_nothing(function: Callable[..., Any]) -> bool:
    """Whether the function can be called without arguments."""
    try:
        signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _find_stored_path(owner: object) -> Any:
    """What stands as `path` at an object, its class or the classes above, no property asked; None: nothing.

    Not by `inspect.getattr_static`, which keeps each class that it looked at for ever in CPython 3.12.0 and 3.12.1.
    """
    kinds = owner.__mro__ if isinstance(owner, type) else (owner, *type(owner).__mro__)
    return next((vars(kind)["path"] for kind in kinds if "path" in getattr(kind, "__dict__", ())), None)
