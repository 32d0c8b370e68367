"""Tells what a handler returned: a plain value, something to be waited for or awaited, or something that nobody ran.

A value is thrown away, and means done. Work that was put off is not done: what can be waited for is, and what nobody
will run is told. An object that can be called is taken for a value, since any object can be; a function is not.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, KeysView, ValuesView
from dataclasses import fields, is_dataclass
from functools import partial, partialmethod
from inspect import CO_ITERABLE_COROUTINE, isasyncgen, iscoroutine, isgenerator
from operator import methodcaller
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any

from lowq.worker.event_loops import LOOK
from lowq.worker.failure import NotRun

_ITERATORS = frozenset({"map", "filter", "zip", "enumerate", "callable_iterator"})
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, partial, partialmethod, methodcaller)
_PUT_OFF = (
    ("celery.canvas", "Signature", "call its delay() in the handler"),
    ("dask.delayed", "Delayed", "call its compute() in the handler"),
)
"""Calls of other libraries that were put off: module, class, and what to do; looked up where it is loaded anyway."""
_DEEPEST, _MOST = 3, 1000
"""How deep, and at how many values, a returned list or dict is looked through for what nobody ran."""


def is_awaitable(returned: Any) -> bool:
    """Whether it can be awaited."""
    kind = type(returned)
    return hasattr(kind, "__await__") or (
        isgenerator(returned) and bool(returned.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    )


def way_to_wait(returned: Any) -> Callable[[], Any] | None:
    """How to wait for what runs elsewhere: something of a pool, a thread or a process that was started; or None."""
    for module, name, wait in (
        ("concurrent.futures", "Future", _result),
        ("multiprocessing.pool", "ApplyResult", _get),
        ("multiprocessing.pool", "IMapIterator", list),
        ("threading", "Thread", _join),
        ("multiprocessing.process", "BaseProcess", _join_process),
    ):
        if _is_a(returned, module, name) and not _is_unstarted(returned):
            return partial(wait, returned)
    return None


def not_run(returned: Any) -> str | None:
    """What is in there whose body did not run to its end, and what to do about it, or None."""
    if (what := _lazy(returned)) is not None:
        return what
    if isinstance(returned, _FUNCTIONS):
        kind = type(returned).__name__
        return f"a {kind}, which nobody called: call it in the handler, or return nothing"
    left = _MOST
    layer: list[Any] = [returned]
    for _ in range(_DEEPEST):
        inner: list[Any] = []
        for container in layer:
            for value in _values(container):
                left -= 1
                if left < 0:
                    return None
                if _waits(value):
                    if iscoroutine(value):
                        value.close()
                    article = f"a {type(returned).__name__} with a {type(value).__name__} in it"
                    return f"{article}, which nobody ran: await what is to be done, with asyncio.gather(…) for many"
                if (what := _lazy(value)) is not None:
                    return f"a {type(returned).__name__} in which there is {what}"
                inner.append(value)
        layer = inner
    return None


def _result(future: Any) -> Any:
    from concurrent.futures import CancelledError

    try:
        return future.result()
    except CancelledError as error:
        if not future.cancelled():
            raise  # of what ran there
        raise NotRun("the handler returned a future that was cancelled: nobody runs it") from error


def _get(result: Any) -> Any:
    while not result.ready():
        result.wait(LOOK)
    return result.get()


def _join(thread: Any) -> None:
    if thread is not sys.modules["threading"].current_thread():
        while thread.is_alive():
            thread.join(LOOK)


def _join_process(process: Any) -> None:
    process.join(LOOK)
    while process.exitcode is None:
        process.join(LOOK)
    if process.exitcode:
        raise NotRun(f"the handler returned a process, which ended with exit code {process.exitcode}")


def _is_a(value: Any, module: str, name: str) -> bool:
    """Whether it is one of that class, if anybody has imported it."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _is_unstarted(value: Any) -> bool:
    """Whether it is a thread or a process that nobody started."""
    return (_is_a(value, "threading", "Thread") or _is_a(value, "multiprocessing.process", "BaseProcess")) and (
        value.ident is None
    )


def _values(container: Any) -> Iterable[Any]:
    if isinstance(container, dict):
        return [*container, *container.values()]
    if isinstance(container, list | tuple | set | frozenset | deque | KeysView | ValuesView):
        return list(container)
    if isinstance(container, ItemsView):
        return [each for pair in container for each in pair]
    if isinstance(container, SimpleNamespace):
        return list(vars(container).values())
    if is_dataclass(container) and not isinstance(container, type):
        return [getattr(container, each.name, None) for each in fields(container)]
    return ()


def _waits(value: Any) -> bool:
    """Whether the value is something to await, or to wait for, that is not done."""
    if iscoroutine(value):
        return value.cr_frame is not None
    if not is_awaitable(value) and not _is_future(value):
        return False
    done = getattr(value, "done", None) or getattr(value, "ready", None)
    return not (callable(done) and done())


def _is_future(value: Any) -> bool:
    return _is_a(value, "concurrent.futures", "Future") or _is_a(value, "multiprocessing.pool", "ApplyResult")


def _lazy(value: Any) -> str | None:
    """What it is, if its body did not run to its end."""
    if isgenerator(value) and value.gi_frame is not None:
        return "a generator, whose body did not run to its end: loop over it in the handler, or do not yield"
    if isasyncgen(value) and value.ag_frame is not None:
        return "an async generator, whose body did not run to its end: `async for` over it in the handler"
    kind = type(value)
    if (kind.__module__ == "builtins" and kind.__name__ in _ITERATORS) or kind.__module__ == "itertools":
        return f"the iterator {kind.__name__}(…), which does nothing by itself: loop over it in the handler"
    if kind.__module__ == "contextlib" and _lazy(getattr(value, "gen", None)) is not None:
        return "a context manager, whose body did not run: use it in a `with` block of the handler"
    if _is_unstarted(value):
        return f"a {kind.__name__}, which nobody started: call its start() and join() in the handler"
    if isinstance(value, partial | partialmethod):
        return f"a {kind.__name__}, which nobody called: call it in the handler"
    for module, name, what_to_do in _PUT_OFF:
        if _is_a(value, module, name):
            return f"a {kind.__name__}, a call that was put off: {what_to_do}"
    return None
