"""The task that a handler is running: `lowq.current()`, and `queue.task` of a TaskQueue.

It goes with the context (`contextvars`): to the handler, to what it calls and awaits, to `asyncio.to_thread`, and to
threads that are given `contextvars.copy_context().run`. A plain thread that the handler starts finds it too, where
the worker runs in its process's main thread, as it does in the background, under `lowq work`, and in a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar, copy_context
from datetime import datetime
from typing import Any, Protocol, TypeVar

from lowq.backend import Backend, Lease, LowqError, Task, Work

Answer = TypeVar("Answer")


class Flight(Protocol):
    """A coroutine of a handler, while it runs."""

    def cancel(self, reason: BaseException) -> bool:
        """The coroutine is cancelled, and `reason` raised in its place; False: it does not listen."""
        ...


class NoTask(LowqError, LookupError):
    """A handler's task was asked for where no handler runs."""


class CurrentTask:
    """A task while its handler runs; `task` is the whole of it, as it was claimed.

    `last` says that it will not be tried again, should this attempt fail. `deadline` is when it is killed at its
    time limit or, without one, when its lease ends unless the worker renews it, as it does while it lives. `lost`
    says, as soon as the worker knows, that somebody else has the task now: what is still done is done twice.
    """

    def __init__(self, lease: Lease, *, last: bool, backend: Backend | None = None) -> None:
        self.task: Task = lease.task
        self.last = last
        self.deadline: datetime = lease.expires
        self.lease = lease
        self.backend = backend
        self.flight: Flight | None = None
        """The coroutine of this task's handler, while it runs."""
        self.warned = False
        """Whether the program was told that this task's handler pushes its own work."""
        self._lost = False
        self._look: Callable[[], bool] | None = None

    @property
    def id(self) -> str:
        """The same in every attempt, and no other task's: the key that makes a handler safe to repeat."""
        return self.task.id

    @property
    def work(self) -> Work:
        """The work."""
        return self.task.work

    @property
    def key(self) -> str | None:
        """The explicit key of the push, or None."""
        return self.task.key

    @property
    def attempt(self) -> int:
        """1 in the first attempt."""
        return self.task.attempts

    @property
    def headers(self) -> Mapping[str, str]:
        """What was pushed beside the work."""
        return self.task.headers

    @property
    def lost(self) -> bool:
        """Whether somebody else has the task now."""
        return self._lost or (self._look is not None and self._look())

    def lose(self) -> None:
        """Somebody else has the task."""
        self._lost = True

    def watch(self, is_lost: Callable[[], bool]) -> None:
        """That it is lost is seen by `is_lost`: in a child process, whose parent renews the lease."""
        self._look = is_lost

    def run(self, handler: Callable[[], Answer]) -> Answer:
        """What the handler answered, run with this as the current task, in a context of its own."""
        global _in_main_thread
        before = _in_main_thread
        if threading.current_thread() is threading.main_thread():
            _in_main_thread = (self, threading.enumerate())
        try:
            return copy_context().run(self._run, handler)
        finally:
            _in_main_thread = before

    def _run(self, handler: Callable[[], Answer]) -> Answer:
        _current.set(self)
        return handler()

    def __repr__(self) -> str:
        last = ", the last" if self.last else ""
        return f"<task {self.id}, attempt {self.attempt}{last}{', lost' if self.lost else ''}>"


_current: ContextVar[CurrentTask | None] = ContextVar("lowq.current_task", default=None)

_in_main_thread: tuple[CurrentTask, list[Any]] | None = None
"""What runs in the main thread, and the threads that there were before it: a new one was started by its handler."""


def current() -> CurrentTask | None:
    """The task whose handler this code is part of, or None."""
    found = _current.get()
    if found is None and (standing := _in_main_thread) is not None:
        task, others = standing
        if threading.current_thread() not in others:
            return task
    return found
