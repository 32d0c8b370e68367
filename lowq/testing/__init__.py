"""What a test of an application with a queue needs, without pytest too.

PYTEST_DONT_REWRITE
"""

from lowq.testing.clock import fake_clock
from lowq.testing.clockerror import ClockError
from lowq.testing.crash import CrashBroke, Crashed, CrashMissed
from lowq.testing.expected import ANY
from lowq.testing.inline import Inline, LossyWork, inline
from lowq.testing.jobs import Jobs
from lowq.testing.live import LiveWorker, LiveWorkerError, live, live_workers
from lowq.testing.observed import NotPromised
from lowq.testing.queues import TempQueue, UnknownQueue, temp_queue
from lowq.testing.worker import NothingDue, SyncWorker, TooManyRuns

__all__ = [
    "ANY",
    "ClockError",
    "CrashBroke",
    "CrashMissed",
    "Crashed",
    "Inline",
    "Jobs",
    "LiveWorker",
    "LiveWorkerError",
    "LossyWork",
    "NotPromised",
    "NothingDue",
    "SyncWorker",
    "TempQueue",
    "TooManyRuns",
    "UnknownQueue",
    "fake_clock",
    "inline",
    "live",
    "live_workers",
    "temp_queue",
]
