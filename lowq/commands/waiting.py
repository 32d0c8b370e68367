"""What waits in a queue, for how long, and whether anybody is in sight who runs it."""

from __future__ import annotations

from datetime import datetime, timedelta

from lowq.backend import Backend, Counts
from lowq.clock import SystemClock
from lowq.location import locate
from lowq.metrics import due_since
from lowq.worker.background import active_pid

_OF_THIS_MACHINE = ("sqlite", "files")

_AT_REST = timedelta(seconds=5)
"""A task that is due for less than this may be between two workers."""


def summary(counts: Counts) -> str:
    """``3 ready, 0 scheduled, 1 leased, 0 dead``."""
    return f"{counts.ready} ready, {counts.scheduled} scheduled, {counts.leased} leased, {counts.dead} dead"


def find_unattended(queue: Backend, counts: Counts, location: str, name: str) -> datetime | None:
    """Since when a task is due for which no worker is in sight, in the background or with a task in hand."""
    if not counts.ready or counts.leased:
        return None
    if _is_attended(location, name):
        return None
    since = due_since(queue)
    return since if since is not None and SystemClock().now() - since > _AT_REST else None


def find_later(queue: Backend, counts: Counts, location: str, name: str) -> datetime | None:
    """When the next task falls due, where none is now and no worker of `start()` stays for it."""
    if (
        counts.ready
        or counts.leased
        or locate(location).scheme not in _OF_THIS_MACHINE
        or _is_attended(location, name)
    ):
        return None
    return queue.next_due()


def _is_attended(location: str, name: str) -> bool:
    """Whether a worker of `start()` runs here. Whoever else runs a queue of a server is nowhere to be seen."""
    return locate(location).scheme in _OF_THIS_MACHINE and active_pid(location, name) is not None
