"""Queues whose listing goes wrong where others change what is listed."""

from __future__ import annotations

from lowq import Task
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue


@breaks("RACE-4")
class ListsTaskByTask(Queue):
    """A listing looks for the ids first, and then for each task, which may be gone by then."""

    def tasks(self, *, state: str | None = None) -> list[Task]:
        ids = [task.id for task in super().tasks(state=state)]
        found = [self.task(id) for id in ids]
        return sorted(found, key=lambda task: task.priority)  # type: ignore[arg-type]
