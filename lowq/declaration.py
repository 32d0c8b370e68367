"""What a TaskQueue's class or `@task_queue` says is checked where it is said, with the right spelling."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from inspect import signature
from typing import Any

from lowq.backend import InvalidLocation
from lowq.clock import choose_clock
from lowq.error_text import show_error
from lowq.excerpt import excerpt
from lowq.location import Location, locate
from lowq.rules.names import check_dedupe, check_name
from lowq.rules.spelling import find_meant, find_names, find_perhaps_meant, suggest
from lowq.worker.handler import check_handler, name_of
from lowq.worker.retry import Retry
from lowq.worker.settings import check_length, check_retry

_LENGTHS = (timedelta, int, float)
_TYPES: dict[str, tuple[type, ...]] = {
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
_KINDS: dict[str, Callable[[Any], bool]] = {
    **{
        name: partial(lambda types, value: isinstance(value, types) and not isinstance(value, bool), types)
        for name, types in _TYPES.items()
    },
    "clock": lambda value: hasattr(value, "countdown"),
    "on_dead": callable,
    "process": callable,
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


def check_spelling(kind: type, base: type) -> None:
    """Raise TypeError where a class of queues has an attribute that is nothing to `base` and was meant to be.

    What may as well be the class's own is its own where a method mentions it, and where the class is no whole queue
    yet. So is whatever the methods of a class that is mixed in mention.
    """
    own = [each for each in kind.__mro__ if each not in base.__mro__]
    for each in own:
        mixed_in = not issubclass(each, base)
        if each is not kind and not mixed_in:
            continue  # it was looked at when it was made
        read = find_names([each]) if mixed_in else frozenset()
        for name, value in _unknown_of(each, base):
            if name not in read and (meant := find_meant(name, value, _KINDS)) is not None:
                raise _misspelt(kind, name, meant)
    if kind.process is not base.process:  # type: ignore[attr-defined]  # both are TaskQueues
        for name, value in {pair[0]: pair[1] for each in reversed(own) for pair in _unknown_of(each, base)}.items():
            if (meant := find_perhaps_meant(name, value)) is not None and name not in find_names(own):
                raise _misspelt(kind, name, f"{meant}; none of its methods reads {name}")


def _unknown_of(kind: type, base: type) -> list[tuple[str, Any]]:
    """The class's public attributes that are nothing to `base`."""
    return [pair for pair in vars(kind).items() if not pair[0].startswith("_") and not hasattr(base, pair[0])]


def _misspelt(kind: type, name: str, meant: str) -> TypeError:
    return TypeError(
        f"{kind.__name__}: {name} is nothing that a TaskQueue knows: say {meant}. An attribute of your own needs "
        f"another name, such as _{name}"
    )


def unknown_option(name: str, value: Any, known: list[str]) -> TypeError:
    """The error for an option of `@task_queue` that there is not."""
    meant = find_meant(name, value, _KINDS) or find_perhaps_meant(name, value, any_value=True)
    hint = f"; say {meant.replace(' = ', '=')}" if meant else suggest(name, known)
    return TypeError(f"task_queue: unknown option {name!r}{hint}; expected one of {', '.join(known)}")


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
