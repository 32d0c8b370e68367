"""A low-maintenance task queue: work is JSON, it is kept in one SQLite file, a worker runs it once, in order."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lowq.backend import (
    Backend,
    BackendUnavailable,
    CorruptQueue,
    Counts,
    Dedupe,
    InvalidLocation,
    InvalidWork,
    Item,
    Lease,
    LeaseLost,
    LowqError,
    Pushed,
    QueueClosed,
    State,
    Task,
)
from lowq.clock import Clock, FakeClock, SystemClock
from lowq.location import open_backend
from lowq.retry import Retry

if TYPE_CHECKING:
    from lowq.taskqueue import TaskQueue, task_queue
    from lowq.worker import Run, Worker

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Clock",
    "CorruptQueue",
    "Counts",
    "Dedupe",
    "FakeClock",
    "InvalidLocation",
    "InvalidWork",
    "Item",
    "Lease",
    "LeaseLost",
    "LowqError",
    "Pushed",
    "QueueClosed",
    "Retry",
    "Run",
    "State",
    "SystemClock",
    "Task",
    "TaskQueue",
    "Worker",
    "open_backend",
    "task_queue",
]

_LATER = {
    "Run": "lowq.worker",
    "TaskQueue": "lowq.taskqueue",
    "Worker": "lowq.worker",
    "task_queue": "lowq.taskqueue",
}


def __getattr__(name: str) -> Any:
    """Import what a client that only pushes does not need, when it is asked for."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'lowq' has no attribute {name!r}")
