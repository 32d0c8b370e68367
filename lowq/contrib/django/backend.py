"""The backend that TASKS names: what is enqueued is kept in a queue of lowq, and run by its workers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from lowq.backend import LowqError, Work
from lowq.contrib.django.queue import DjangoQueue, name_result, result_of, work_for
from lowq.contrib.django.tasks import BaseTaskBackend, TaskResultStatus, task_backends, task_enqueued

_queues: dict[tuple[str, str, str], DjangoQueue] = {}


class LowqBackend(BaseTaskBackend):  # type: ignore[misc]  # Django ships no types
    """Tasks are kept at OPTIONS["location"], a path or URL of lowq, and tried again as OPTIONS["retry"] says.

    Each queue of QUEUES is one of lowq's, of that name. A worker starts in the background when something is enqueued,
    unless OPTIONS has "start": False. What a task returns is not kept, so results cannot be asked for.
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """The task is kept, as durably as the queue promises, and a worker runs it."""
        self.validate_task(task)
        result = result_of(task, args, kwargs, self.alias, TaskResultStatus.READY, timezone.now())
        queue = self.queue(task.queue_name)
        after = task.run_after
        if after is not None and timezone.is_naive(after):  # as Django has it without USE_TZ
            after = timezone.make_aware(after)
        (pushed,) = queue.push(work_for(task, result), priority=int(task.priority), not_before=after)
        name_result(result, pushed.id, queue.name)
        task_enqueued.send(type(self), task_result=result)
        if self.options.get("start", True):
            queue.start()
        return result

    def queue(self, name: str) -> DjangoQueue:
        """The queue of that name, one in this process. Raises ImproperlyConfigured where OPTIONS are wrong."""
        key = (self.alias, name, repr(sorted(self.options.items())))
        found = _queues.get(key)
        if found is None:
            try:
                made = DjangoQueue(self.alias, name, self.options, type(self))
            except (TypeError, ValueError, LowqError) as error:
                raise ImproperlyConfigured(f"TASKS[{self.alias!r}]: {error}") from error
            found = _queues.setdefault(key, made)  # no lock, which a fork would leave taken in the child
        return found

    def check(self, **_: Any) -> Iterable[Any]:
        """What is wrong in OPTIONS, for manage.py check."""
        for name in sorted(self.queues) or ["default"]:
            try:
                self.queue(name)
            except ImproperlyConfigured as error:
                return [checks.Error(str(error), id="lowq.E001")]
        return []


def queue_of(task: Any) -> DjangoQueue:
    """The queue of lowq in which a task of Django's is kept: for tests, and for what only lowq can say."""
    found: DjangoQueue = task.get_backend().queue(task.queue_name)
    return found


def work_of(task: Any, *args: Any, **kwargs: Any) -> Work:
    """The work that is pushed when the task is enqueued with these arguments."""
    return work_for(task, result_of(task, args, kwargs, task.backend, TaskResultStatus.READY, None))


def left_out(queues: Iterable[DjangoQueue]) -> dict[str, list[str]]:
    """The queues that stand beside these and nobody names: by alias, of backends that take any (`QUEUES` is [])."""
    named: dict[str, set[str]] = {}
    for queue in queues:
        if not task_backends[queue.alias].queues:
            named.setdefault(queue.alias, set()).add(queue.name)
    there: dict[str, Any] = {each.alias: each.backend for each in queues if each.alias in named}
    found = {alias: sorted(set(backend.names()) - named[alias]) for alias, backend in there.items()}
    return {alias: names for alias, names in found.items() if names}


def queues_of(aliases: Iterable[str], names: Iterable[str]) -> list[DjangoQueue]:
    """All queues of the backends of lowq in TASKS, or those of these aliases and names.

    Raises ImproperlyConfigured where there is none.
    """
    wanted, chosen = set(aliases), set(names)
    backends = [task_backends[alias] for alias in task_backends if not wanted or alias in wanted]
    ours = [each for each in backends if isinstance(each, LowqBackend)]
    found = [each.queue(name) for each in ours for name in sorted(each.queues or chosen or {"default"})]
    found = [each for each in found if not chosen or each.name in chosen]
    if missing := (wanted - {each.alias for each in ours}) or (chosen - {each.name for each in found}):
        raise ImproperlyConfigured(f"TASKS: {', '.join(sorted(missing))}: there is no such backend or queue of lowq")
    if not found:
        raise ImproperlyConfigured("TASKS: no backend is lowq.contrib.django.LowqBackend")
    return found
