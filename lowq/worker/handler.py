"""What a handler may be: a function of one work, or a coroutine function, or whatever else can be called so."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import CO_ITERABLE_COROUTINE, isasyncgenfunction, isgeneratorfunction
from typing import Any

from lowq.backend import Work
from lowq.error_text import type_name

Handler = Callable[[Work], Any]


def check_handler(handler: object, parameters: tuple[str, ...] = ("work",), what: str = "handler") -> None:
    """Raise TypeError unless `handler` can be called with such arguments, and does its work when it is."""
    if not callable(handler):
        wanted = "one work" if len(parameters) == 1 else " and ".join(parameters)
        raise TypeError(f"{what}: expected a function of {wanted}, got {type_name(handler)}")
    for function in (handler, getattr(handler, "__call__", None)):  # noqa: B004 (its code, not whether it can be called)
        if _yields(function):
            raise TypeError(
                f"{what}: {name_of(handler)} is a generator: called, it does nothing until somebody loops over it; "
                "do the work without `yield`, or wrap it: lambda work: list(handler(work))"
            )
    _check_signature(handler, parameters, what)


def name_of(handler: object) -> str:
    """What the handler is called in messages."""
    return str(getattr(handler, "__name__", None) or repr(handler))


def _yields(function: object) -> bool:
    while hasattr(function, "func") and hasattr(function, "keywords"):
        function = function.func  # functools.partial
    if isasyncgenfunction(function):
        return True
    if not isgeneratorfunction(function):
        return False
    code: Any = getattr(getattr(function, "__func__", function), "__code__", None)
    return not (code is not None and code.co_flags & CO_ITERABLE_COROUTINE)  # types.coroutine makes it awaitable


def _check_signature(handler: object, parameters: tuple[str, ...], what: str) -> None:
    try:
        signature = inspect.signature(handler)  # type: ignore[arg-type]  # it can be called
    except (TypeError, ValueError):  # a function written in C may not tell
        return
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise TypeError(
            f"{what}: it is called as {name_of(handler)}({', '.join(parameters)}), and "
            f"{name_of(handler)}{signature} does not take that: {error}"
        ) from None
