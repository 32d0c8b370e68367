"""`module:handler` to the function that runs a work."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from types import ModuleType
from typing import Any

from lowq.backend import LowqError, Work
from lowq.commands.output import CELL, one_line
from lowq.error_text import show_error
from lowq.rules.server_url import hide_password
from lowq.taskqueue import QueuedFunction, TaskQueue
from lowq.worker.handler import check_handler
from lowq.worker.retry import Retry


@dataclass(frozen=True, slots=True)
class Handler:
    """The function that runs a work, named `title`, and how the application wants it run; and its queue, if any."""

    title: str
    function: Callable[[Work], Any]
    retry: Retry = field(default_factory=Retry)
    lease_for: timedelta = timedelta(minutes=1)
    time_limit: timedelta | None = None
    queue: TaskQueue | None = None


class HandlerNotFound(LowqError):
    """What was named as the handler cannot be imported or called."""


def look_here() -> None:
    """The current directory is importable."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def load(target: str) -> list[Handler]:
    """The handlers that `module:name` or `module:name.attribute` names, or `module`: of all queues in it.

    The current directory is importable. Raises HandlerNotFound, whatever the module does while it is imported.
    """
    module_name, colon, path = target.partition(":")
    if "://" in target:
        raise HandlerNotFound(
            f"{hide_password(target)!r} is a location\nexpected module:handler, such as app.jobs:send_mail"
        )
    if not module_name or (colon and not path):
        raise HandlerNotFound(f"{target!r} is no handler\nexpected module:handler, such as app.jobs:send_mail")
    look_here()
    try:
        found: Any = import_module(module_name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise HandlerNotFound(_not_imported(module_name, error)) from None
    if not colon:
        return _all_of(target, found)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise HandlerNotFound(
                f"{target!r} is no handler: {one_line(_name_of(found))} has no {part!r}\n"
                f"expected module:handler, such as app.jobs:send_mail"
            ) from None
    try:
        if isinstance(found, type) and issubclass(found, TaskQueue):
            found = found()
    except (TypeError, ValueError) as error:
        raise HandlerNotFound(f"{target!r} cannot be made: {one_line(str(error))}") from None
    queue = found.queue if isinstance(found, QueuedFunction) else found
    if isinstance(queue, TaskQueue):
        return [_handler_of(target, queue)]
    if not callable(found):
        raise HandlerNotFound(
            f"{target!r} is no handler: it is of type {type(found).__name__}, which cannot be called\n"
            f"expected a function that takes the work"
        )
    try:
        check_handler(found)
    except TypeError as error:
        raise HandlerNotFound(f"{target!r} is no handler\n{one_line(str(error))}") from None
    return [Handler(target, found)]


def _handler_of(title: str, queue: TaskQueue) -> Handler:
    return Handler(title, queue.process, queue.retry, queue.lease_for, queue.time_limit, queue)


def _all_of(target: str, module: ModuleType) -> list[Handler]:
    """The handlers of all queues that the module has: functions made by @task_queue, TaskQueues, their classes."""
    handlers: dict[tuple[str, str], Handler] = {}
    for name, found in vars(module).items():
        title = f"{target}:{name}"
        queue = found.queue if isinstance(found, QueuedFunction) else found
        if isinstance(found, type) and issubclass(found, TaskQueue) and found.__module__ == module.__name__:
            if found.path is None or found.process is TaskQueue.process:
                continue  # what others are made of
            try:
                queue = found()
            except (TypeError, ValueError) as error:
                raise HandlerNotFound(f"{title!r} cannot be made: {one_line(str(error))}") from None
        if isinstance(queue, TaskQueue):
            handlers.setdefault((queue.location.identity, queue.name), _handler_of(title, queue))
    if not handlers:
        raise HandlerNotFound(
            f"the module {target!r} has no queue\nexpected a function made by @task_queue or a TaskQueue in it, or "
            f"lowq work LOCATION {target}:handler"
        )
    return list(handlers.values())


def _not_imported(module_name: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
        return f"there is no module {error.name!r}\nlooked in {os.getcwd()} and wherever Python looks"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else module_name
    if isinstance(error, SyntaxError):
        where = f"{error.filename}, line {error.lineno}"
    return f"importing {module_name!r} failed: {show_error(error, CELL)}\nin {where}"


def _name_of(found: Any) -> str:
    return getattr(found, "__name__", None) or type(found).__name__
