"""The program's logging in a forked worker: what wrote through a thread or a socket of the parent's writes here.

A `QueueHandler` hands its records to a `QueueListener`, whose thread a fork does not copy, and a buffer of records is
the parent's to flush. Neither loses a record, nor writes one twice.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

from lowq.process.forking import keep_for_parent

_listeners: list[Any] = []
"""The listeners whose threads ran in the process that was forked."""


def find_listeners() -> None:
    """The listeners that run in this process are known in the process that is forked now."""
    if (module := sys.modules.get("logging.handlers")) is None:
        return
    owners = [getattr(getattr(thread, "_target", None), "__self__", None) for thread in threading.enumerate()]
    found = [owner for owner in owners if isinstance(owner, module.QueueListener)]
    _listeners[:] = found or _listeners  # a worker's own child is two forks away from them


def write_here(*, detached: bool) -> None:
    """In a forked worker, each record goes to where the program's listener would have sent it, at once.

    Where nobody knows who reads the handler's queue, it goes to standard error, which may be the worker's log.
    """
    module = sys.modules.get("logging.handlers")
    if module is None:
        return
    for handler in list(_handlers()):
        if isinstance(handler, module.QueueHandler):
            _hand_on(handler, detached=detached)
        elif isinstance(handler, module.MemoryHandler):
            keep_for_parent(handler.buffer)
            handler.buffer = []
            handler.capacity = 1  # this process leaves without flushing it
        elif detached and isinstance(handler, module.SocketHandler):
            keep_for_parent(handler.sock)
            handler.sock = None  # which opens one of its own
        elif detached and isinstance(handler, module.SysLogHandler):
            keep_for_parent(handler.socket)
            handler.socket = None


def _hand_on(handler: Any, *, detached: bool) -> None:
    import logging

    queue = handler.queue
    for listener in _listeners:
        if listener.queue is queue:
            handler.enqueue = listener.handle
            return
    if detached or type(queue).__module__ in ("queue", "_queue"):  # of another module, another process reads it
        keep_for_parent(queue)
        last = logging.StreamHandler(sys.stderr)
        last.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.enqueue = last.handle


def _handlers() -> Iterator[Any]:
    """All handlers of all loggers, and those behind others."""
    import logging

    seen: set[int] = set()
    waiting = [each for logger in _loggers(logging) for each in getattr(logger, "handlers", ())]
    while waiting:
        handler = waiting.pop()
        if id(handler) in seen:
            continue
        seen.add(id(handler))
        yield handler
        waiting += [each for each in (getattr(handler, "target", None),) if each is not None]
        waiting += [each for listener in _listeners for each in listener.handlers]


def _loggers(logging: Any) -> list[Any]:
    return [logging.root, *logging.root.manager.loggerDict.values()]
