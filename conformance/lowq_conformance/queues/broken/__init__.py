"""Broken queues, each a few lines on a sound one, to see the suite bite: `lowq check` with the `target` of one."""

from lowq_conformance.queues.broken import (
    crash,
    dedupe,
    deliver,
    due,
    headers,
    inputs,
    interrupt,
    keep,
    keys,
    lasting,
    lease,
    order,
    others,
    race,
    settle,
    waiting,
    worker,
)
from lowq_conformance.queues.broken.register import BROKEN, BrokenQueue

__all__ = [
    "BROKEN",
    "BrokenQueue",
    "crash",
    "dedupe",
    "deliver",
    "due",
    "headers",
    "inputs",
    "interrupt",
    "keep",
    "keys",
    "lasting",
    "lease",
    "order",
    "others",
    "race",
    "settle",
    "waiting",
    "worker",
]
