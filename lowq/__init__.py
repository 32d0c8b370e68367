"""A low-maintenance task queue: work is JSON, kept in one SQLite file; a worker runs it in order, at least once."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lowq.backend import (
        Acked,
        Backend,
        BackendUnavailable,
        CorruptQueue,
        Counts,
        Damaged,
        Dedupe,
        Headers,
        InvalidLocation,
        InvalidWork,
        Item,
        Lease,
        LeaseLost,
        LowqError,
        LowqWarning,
        NotAllowed,
        NoTransaction,
        Pushed,
        QueueClosed,
        QueueGone,
        State,
        Task,
        Work,
    )
    from lowq.clock import Clock, FakeClock, SystemClock
    from lowq.current_task import CurrentTask, NoTask, current
    from lowq.endings import Discard, Later
    from lowq.location import open_backend
    from lowq.rules.own_work import OwnWork
    from lowq.run import Run
    from lowq.taskqueue import TaskQueue, UnattendedWarning, task_queue
    from lowq.worker.retry import Retry
    from lowq.worker.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Acked",
    "Backend",
    "BackendUnavailable",
    "Clock",
    "CorruptQueue",
    "Counts",
    "CurrentTask",
    "Damaged",
    "Dedupe",
    "Discard",
    "FakeClock",
    "Headers",
    "InvalidLocation",
    "InvalidWork",
    "Item",
    "Later",
    "Lease",
    "LeaseLost",
    "LowqError",
    "LowqWarning",
    "NoTask",
    "NoTransaction",
    "NotAllowed",
    "OwnWork",
    "Pushed",
    "QueueClosed",
    "QueueGone",
    "Retry",
    "Run",
    "State",
    "SystemClock",
    "Task",
    "TaskQueue",
    "UnattendedWarning",
    "Work",
    "Worker",
    "current",
    "open_backend",
    "task_queue",
]

_ELSEWHERE = {
    "Clock": "clock",
    "CurrentTask": "current_task",
    "Discard": "endings",
    "FakeClock": "clock",
    "Later": "endings",
    "NoTask": "current_task",
    "OwnWork": "rules.own_work",
    "Retry": "worker.retry",
    "Run": "run",
    "SystemClock": "clock",
    "TaskQueue": "taskqueue",
    "UnattendedWarning": "taskqueue",
    "Worker": "worker.worker",
    "current": "current_task",
    "open_backend": "location",
    "task_queue": "taskqueue",
}
"""Where the names live that do not live in `backend`."""


def __getattr__(name: str) -> Any:
    """Import a name's module when the name is first asked for: importing lowq must cost its user next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'lowq' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"lowq.{_ELSEWHERE.get(name, 'backend')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
