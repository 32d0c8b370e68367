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
        wanted = f"one {parameters[0]}" if len(parameters) == 1 else " and ".join(parameters) or "no arguments"
        raise TypeError(f"{what}: expected a function of {wanted}, got {type_name(handler)}")
    for function in (handler, getattr(handler, "__call__", None)):  # noqa: B004 (its code, not whether it can be called)
        if (kind := _kind_of_generator(function)) is not None:
            raise TypeError(
                f"{what}: {name_of(handler)} is {kind}: called, it does nothing until somebody loops over it; "
                f"do the work without `yield`, or wrap it: {_show_wrapped(kind, parameters)}"
            )
    _check_signature(handler, parameters, what)


def unwrap(handler: Any) -> Any:
    """What runs one work, where `handler` is a queue: called, that would push the running work once more.

    Raises TypeError where it wraps one.
    """
    found = handler
    while hasattr(found, "func") and hasattr(found, "keywords"):  # functools.partial
        found = found.func
    if getattr(found, "__name__", None) == "__call__" and hasattr(getattr(found, "__self__", None), _PROCESS):
        found = found.__self__
    if hasattr(found, _PROCESS):
        if found is not handler and (getattr(handler, "args", None) or getattr(handler, "keywords", None)):
            raise TypeError(
                f"handler: a partial of the queue {name_of(found)} pushes the work that is run; pass {name_of(found)}"
            )
        return getattr(found() if isinstance(found, type) else found, _PROCESS)()
    while (inner := getattr(found, "__wrapped__", None)) is not None:
        if hasattr(inner, _PROCESS):
            raise TypeError(
                f"handler: {name_of(handler)} wraps the queue of that name, so it pushes the work that is run; "
                "decorate the function before @task_queue does, or pass f.queue.process"
            )
        found = inner
    return handler


_PROCESS = "__lowq_process__"
"""The method by which a queue says what runs its tasks."""


def name_of(handler: object) -> str:
    """What the handler is called in messages."""
    return str(getattr(handler, "__name__", None) or repr(handler))


_GENERATOR, _ASYNC_GENERATOR = "a generator", "an async generator"


def _kind_of_generator(function: object) -> str | None:
    """Which kind the function is, if its body waits until somebody loops over what a call of it returns."""
    while hasattr(function, "func") and hasattr(function, "keywords"):
        function = function.func  # functools.partial
    if isasyncgenfunction(function):
        return _ASYNC_GENERATOR
    if not isgeneratorfunction(function):
        return None
    code: Any = getattr(getattr(function, "__func__", function), "__code__", None)
    awaitable = code is not None and code.co_flags & CO_ITERABLE_COROUTINE  # types.coroutine makes it so
    return None if awaitable else _GENERATOR


def _show_wrapped(kind: str, parameters: tuple[str, ...]) -> str:
    """What a handler looks like that loops over one."""
    given = ", ".join(parameters)
    if kind == _GENERATOR:
        return f"lambda {given}: list(handler({given}))"
    return f"`async def wrapped({given}): [_ async for _ in handler({given})]`"


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
