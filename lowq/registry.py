"""Which handler runs a queue's tasks: in one process there is one for each location and name."""

from __future__ import annotations

import gc
import os
import sys
import threading
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from lowq.location import Location

_handlers: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a handler may import modules with queues of their own
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def register(location: Location, name: str, handler: Any) -> None:
    """`handler`, a class or a function, runs the tasks of the queue `name` here for as long as it exists.

    Raises ValueError where one of another qualified name does. The same handler made again, by a reload or because
    its file is imported under two names, takes over.
    """
    where = (location.identity, name)
    with _lock:
        if _differs(where, handler):
            gc.collect()  # a class that nobody uses any more is still a cycle
        if _differs(where, handler):
            raise ValueError(
                f"{location}: the tasks of the queue {name!r} are run by {qualified_name(_handlers[where])}, so "
                f"{qualified_name(handler)} would get them too; tell them apart with name="
            )
        _handlers[where] = handler


def is_registered(location: Location, name: str) -> bool:
    """Whether a handler of this process runs the tasks of this queue."""
    return (location.identity, name) in _handlers


def qualified_name(handler: Any) -> str:
    """``jobs.thumbnails``, also where the module jobs is the program that runs."""
    module = handler.__module__
    if module == "__main__":
        main = sys.modules["__main__"]
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec is not None else Path(file).stem if file is not None else module
    return f"{module}.{getattr(handler, '__qualname__', type(handler).__qualname__)}"


def _differs(where: tuple[str, str], handler: Any) -> bool:
    standing = _handlers.get(where)
    if standing is None or qualified_name(standing) == qualified_name(handler):
        return False
    # ``app.jobs`` and ``jobs``: pytest's --doctest-modules imports a namespace package's modules by their stems, and
    # a program is run from within its package.
    return _find_definition(standing) is None or _find_definition(standing) != _find_definition(handler)


def _find_definition(handler: Any) -> tuple[str, str] | None:
    """The file that defines it, and its name there; None where there is no file."""
    file = getattr(sys.modules.get(handler.__module__), "__file__", None)
    name = getattr(handler, "__qualname__", None)
    return None if file is None or name is None else (os.path.realpath(file), name)
