"""Many works at once: together in a batch where the queue has one, and else as many as there is time for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import takewhile

from lowq import Item
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.client import Client

BRIEF = 2.0
"""Seconds for as many works as there is time for, where few of them tell enough."""
LONGEST = 30.0
"""Seconds for one and the same call with many works: less than any lease that is asked for here."""


def in_time(works: Sequence[str], seconds: float = LONGEST) -> Iterator[str]:
    """The works, or as many of them as are worked off within so many seconds."""
    end = time.monotonic() + seconds
    yield from takewhile(lambda _: time.monotonic() < end, works)


def push_together(q: Client, items: Sequence[Item]) -> list[Answer] | None:
    """What became of each, pushed in a batch, as far as it is told; None where the queue has no batches, or none that
    large."""
    if "batch" not in q.promises:
        return None
    try:
        return q.push_many(items) or []
    except Refused:
        return None
