"""Harnesses for huey (https://pypi.org/project/huey/): its two storages in files, and its consumer.

Its documentation (huey.readthedocs.io) promises:

- "SqliteHuey fully supports task priorities", "FileHuey fully supports task priorities" (API), "`priority` (float):
  higher priorities processed first" (docstring of `BaseStorage.enqueue`): `priority`
- "Tasks can be scheduled to execute at a certain time" (Guide, "Scheduling tasks"): `not_before`. What orders those
  that fell due is not said.
- `filename` is a "filename for database", FileHuey "uses the file-system for storage" (API): `persistent`
- "multi-process, multi-thread or greenlet task execution models" (README); both storages "work across containers only
  if every container mounts the same local volume" (Deployment), FileStorage locks "to prevent race-conditions"
  (docstring): `threads`, `processes`
- `strict_fifo`: "ensure that the task queue behaves as a strict FIFO. By default, Sqlite may reuse rowids for deleted
  tasks, which can cause tasks to be run in a different order" (API): `fifo` where it is set, and not where it is not
- "A task interrupted by SIGKILL (or a power loss) is lost" (Deployment): no `crash`

A task is taken as the consumer takes it: what fell due is moved from the schedule to the queue, the first task is
dequeued, and one that is not due yet is put on the schedule (Guide: "What happens when we schedule a task?").
Dequeuing deletes, so that there is nothing to ack. The consumer's steps take the time as an argument, so that it can
be moved.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import huey

from lowq_conformance.queues.lowq import FakeTime
from lowq_conformance.queues.peers.taken import Taken


class _Huey(FakeTime):
    """A new huey object on the file or folder of the place for each client."""

    promises = frozenset({"priority", "not_before", "persistent", "threads", "processes"})
    due_order = None

    def open(self, place: Path) -> HueyClient:
        """A new huey object."""
        return HueyClient(self._huey(place), partial(self.now, place))

    def _huey(self, place: Path) -> huey.Huey:
        raise NotImplementedError


class Sqlite(_Huey):
    """SqliteHuey as it comes."""

    def _huey(self, place: Path) -> huey.Huey:
        return _sqlite(place)


class SqliteFifo(_Huey):
    """SqliteHuey with `strict_fifo=True`."""

    promises = _Huey.promises | {"fifo"}

    def _huey(self, place: Path) -> huey.Huey:
        return huey.SqliteHuey(filename=str(place / "huey.db"), strict_fifo=True)


class File(_Huey):
    """FileHuey, which "should not be used in high-throughput, highly-concurrent environments" (API)."""

    def _huey(self, place: Path) -> huey.Huey:
        return huey.FileHuey(path=str(place / "huey"))


class HueyClient:
    """The queue of calls of one task function."""

    def __init__(self, opened: huey.Huey, now: Callable[[], datetime]) -> None:
        self.huey, self._now = opened, now
        self.task = opened.task(name="run")(_run)

    def push(self, work: Any, *, priority: int = 0, not_before: datetime | None = None) -> Any:
        """A call of the function with this work was enqueued; its result knows the task's id."""
        if not_before is None:
            return self.task(work, priority=priority)
        return self.task.schedule((work,), eta=not_before, priority=priority)

    def claim(self) -> HueyTaken | None:
        """The next task that is due was dequeued."""
        now = self._now().replace(tzinfo=None)
        for task in self.huey.read_schedule(now):
            self.huey.enqueue(task)
        while (task := self.huey.dequeue()) is not None:
            if self.huey.ready_to_run(task, now):
                return HueyTaken(task.args[0], id=task.id)
            self.huey.add_schedule(task)
        return None

    def ack(self, taken: Taken) -> None:
        """It was deleted when it was dequeued."""

    def close(self) -> None:
        """The connection is closed, where the storage has one."""
        self.huey.storage.close()


@dataclass(frozen=True, slots=True)
class HueyTaken(Taken):
    """A task that was dequeued, by huey's id of it."""

    id: str = ""


class Worker:
    """SqliteHuey with its own consumer, of one worker thread: `worker`.

    "`SIGTERM`: Immediate shutdown. Running tasks are interrupted" (Deployment) is how it comes; here the consumer is
    told `graceful_signal="TERM"`, so that the task in hand is finished. Each consumer that is started runs, whatever
    others there are.
    """

    promises = frozenset({"worker"})
    workers = None

    def open(self, place: Path) -> HueyPusher:
        """A new huey object."""
        return HueyPusher(_sqlite(place))

    def start(self, place: Path, handler: Callable[[Any], object]) -> list[int]:
        """A consumer in a process of its own calls the handler with each work; returns its process id at once."""
        pid = os.fork()
        if pid:
            return [pid]
        code = 1
        try:
            _consume(_sqlite(place), handler)
            code = 0
        finally:
            os._exit(code)


class HueyPusher:
    """One that only pushes: claiming and acking are the consumer's."""

    def __init__(self, opened: huey.Huey) -> None:
        self.huey = opened
        self.task = opened.task(name="run")(_run)

    def push(self, work: Any) -> Any:
        """A call of the handler with this work was enqueued; its result knows the task's id."""
        return self.task(work)

    def close(self) -> None:
        """The connection is closed."""
        self.huey.storage.close()


def _sqlite(place: Path) -> huey.Huey:
    return huey.SqliteHuey(filename=str(place / "huey.db"))


def _run(work: Any) -> None:
    """Stands for the handler where nothing is run: a task is enqueued under this function's module and name."""


def _consume(opened: huey.Huey, handler: Callable[[Any], object]) -> None:
    """Run the consumer until it is told to stop."""

    def run(work: Any) -> None:
        handler(work)

    run.__module__ = _run.__module__
    opened.task(name="run")(run)
    opened.create_consumer(workers=1, periodic=False, initial_delay=0.02, max_delay=0.2, graceful_signal="TERM").run()
