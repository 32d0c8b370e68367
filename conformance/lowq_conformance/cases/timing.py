"""Waiting for what a queue does by itself: something falls due, a lease runs out. Nobody is accused of being slow."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from lowq_conformance.cases.expect import wrong
from lowq_conformance.contract.outcomes import NotObserved, Refused
from lowq_conformance.contract.promises import FINE
from lowq_conformance.subject.client import Client, Held

ZERO = timedelta(0)


def later(q: Client, by: timedelta | None = None) -> datetime:
    """An instant ahead on the queue's clock; as far as tasks are scheduled in a test, unless `by` says."""
    return q.subject.now(q.place) + (q.subject.delay if by is None else by)


def fall_due(q: Client, due: datetime) -> None:
    """The queue's clock has reached `due`."""
    subject = q.subject
    left = due - subject.now(q.place)
    if subject.can_pass_time and not subject.knows_now:
        left += timedelta(seconds=1)  # its clock may stand a little behind the machine's
    coarse = subject.resolution > FINE or not subject.can_pass_time
    subject.pass_time(q.place, max(ZERO, left) + (subject.resolution if coarse else ZERO))


def not_yet(q: Client, due: datetime) -> None:
    """A claim hands out nothing, because only something due later waits."""
    if q.claim() is None:
        return
    if q.subject.now(q.place) >= due - q.subject.resolution:
        raise NotObserved("the machine was too slow to see it")
    raise wrong(q, "None, it is not due yet")


def run_out(q: Client, lease: timedelta) -> None:
    """Every lease of that length which was given so far has run out, and was handed on at latest by now."""
    q.subject.pass_time(q.place, lease + q.subject.traits.grace + q.subject.resolution)


class Stopwatch:
    """Says whether something still holds that was good for a while when the watch was started."""

    def __init__(self, q: Client) -> None:
        self._real = not q.subject.can_pass_time
        self._started = time.monotonic()

    def within(self, length: timedelta) -> None:
        """Raise NotObserved where time really passes and more than `length` of it has."""
        if self._real and time.monotonic() - self._started >= length.total_seconds():
            raise NotObserved("the machine was too slow to see it")


def give_back(q: Client, held: Held, lease: timedelta, **given: Any) -> None:
    """What was claimed just now, for so long, was given back. Raises NotObserved where that came too late."""
    watch = Stopwatch(q)
    try:
        q.release(held, **given)
    except Refused:
        watch.within(lease)
        raise
