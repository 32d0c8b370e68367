"""A queue of Django's tasks: what is pushed for one, and how it is run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import Any

from django.utils import timezone
from django.utils.module_loading import import_string

from lowq.backend import Work
from lowq.contrib.django.tasks import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    task_backends,
    task_finished,
    task_started,
)
from lowq.current_task import current
from lowq.declaration import unknown_option
from lowq.endings import Later, ending_of
from lowq.taskqueue import TaskQueue
from lowq.worker.failure import passes

SETTINGS = (
    *("location", "start", "log_level", "dedupe", "options", "clock", "lease_for", "retry", "time_limit", "linger"),
    "on_dead",
)
"""What OPTIONS may say."""


class DjangoQueue(TaskQueue):
    """One queue of the backend `alias` in TASKS; its works are {"task": …, "args": […], "kwargs": {…}}."""

    dedupe = "off"
    """Django keeps each task that is enqueued."""

    def __init__(self, alias: str, name: str, options: Mapping[str, Any], sender: type) -> None:
        self.alias = alias
        self._sender = sender
        if unknown := sorted(set(options) - set(SETTINGS)):
            raise unknown_option(unknown[0], options[unknown[0]], sorted(SETTINGS))
        if "location" not in options:
            raise TypeError(f"{self._title()}: location is missing: OPTIONS say where the tasks are kept")
        attributes = {each: value for each, value in options.items() if each not in ("location", "start")}
        vars(self).update(attributes, path=options["location"], name=name)
        super().__init__()

    def _title(self) -> str:
        return f"TASKS[{self.alias!r}]"

    def __reduce__(self) -> tuple[Any, ...]:
        """Made again from the settings of Django."""
        return _queue_at, (self.alias, self.name)

    def process(self, work: Work) -> Any:
        """Call the task's function; one that is a coroutine function is awaited by lowq."""
        task = self._as_enqueued(_task_of(work))
        result = _running(task, work, self.alias)
        arguments = [TaskContext(task_result=result)] if task.takes_context else []
        arguments += work["args"]  # a dict: see work_for
        call = _call_awaiting if iscoroutinefunction(task.func) else _call
        return call(self._sender, result, lambda: task.func(*arguments, **result.kwargs))

    def _as_enqueued(self, task: Any) -> Any:
        """The task with the backend, queue and priority that `using` may have given it, which were checked then."""
        this, found = current(), object.__new__(type(task))
        told = {each.name: getattr(task, each.name) for each in fields(task)}
        told |= {"backend": self.alias, "queue_name": self.name}
        told |= {} if this is None else {"priority": this.task.priority}
        _set(found, **told)
        return found

    def __lowq_body__(self, work: Work) -> Callable[..., Any]:
        """The function whose lines are the task's, for a crash in the midst of them."""
        found: Callable[..., Any] = _task_of(work).func
        return found


def _queue_at(alias: str, name: str) -> Any:
    return task_backends[alias].queue(name)


def work_for(task: Any, result: Any) -> Work:
    """What is pushed for a task that is enqueued with the arguments of `result`, which are JSON."""
    return {"task": task.module_path, "args": result.args, "kwargs": result.kwargs}


def result_of(task: Any, args: Any, kwargs: Any, alias: str, status: Any, enqueued_at: datetime | None) -> Any:
    """What Django knows of a task. Raises TypeError or ValueError where its arguments are not JSON."""
    return TaskResult(
        task=task,
        id="",
        status=status,
        enqueued_at=enqueued_at,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def name_result(result: Any, id: str, queue: str) -> None:
    """The result has the id of its task in the queue of that name."""
    _set(result, id=f"{id}@{queue}")


def _task_of(work: Work) -> Any:
    if not isinstance(work, dict) or set(work) != {"task", "args", "kwargs"}:
        raise TypeError('this work is no task of Django\'s: expected {"task": …, "args": […], "kwargs": {…}}')
    found = import_string(work["task"])
    if not isinstance(found, Task):
        raise TypeError(f"{work['task']} is no task: expected a function decorated with @task")
    return found


def _running(task: Any, work: Any, alias: str) -> Any:
    """The result of a task whose attempt begins."""
    this, now = current(), timezone.now()
    pushed = None if this is None else this.task.pushed_at
    result = result_of(task, work["args"], work["kwargs"], alias, TaskResultStatus.RUNNING, pushed)
    worker = f"process {os.getpid()}"
    result.worker_ids.extend([worker] * (1 if this is None else this.attempt))
    _set(result, started_at=now, last_attempted_at=now)
    if this is not None:
        name_result(result, this.id, task.queue_name)
    return result


def _call(sender: type, result: Any, function: Callable[[], Any]) -> None:
    task_started.send(sender, task_result=result)
    try:
        value = function()
    except BaseException as error:
        if _has_failed(result, error):
            task_finished.send(sender, task_result=result)
        raise
    _succeed(result, value)
    task_finished.send(sender, task_result=result)


async def _call_awaiting(sender: type, result: Any, function: Callable[[], Any]) -> None:
    await task_started.asend(sender, task_result=result)
    try:
        value = await function()
    except BaseException as error:
        if _has_failed(result, error):
            await task_finished.asend(sender, task_result=result)
        raise
    _succeed(result, value)
    await task_finished.asend(sender, task_result=result)


def _has_failed(result: Any, error: BaseException) -> bool:
    """Whether this was the end of the task: no attempt is left, or it said that none would help."""
    ending, this = ending_of(error), current()
    if isinstance(ending, Later) or passes(error) or (ending is None and this is not None and not this.last):
        return False
    kind = type(error)
    result.errors.append(
        TaskError(
            exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
            traceback="".join(format_exception(error)),
        )
    )
    _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
    return True


def _succeed(result: Any, value: Any) -> None:
    _set(result, status=TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)


def _set(result: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)  # a frozen dataclass, which Django's own backends fill in so
