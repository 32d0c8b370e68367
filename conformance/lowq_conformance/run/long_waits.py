"""Says beforehand that a run will take long, because the suite really waits for what the queue does by itself."""

from __future__ import annotations

from datetime import timedelta

from lowq_conformance.subject.under_test import UnderTest

LONG = timedelta(seconds=5)
"""What takes so long at least is told."""


def tell_waits(subject: UnderTest) -> str:
    """What takes long with this queue, and what can be done; nothing where nothing does."""
    traits, waits = subject.traits, list[str]()
    moves = subject.can_pass_time
    if not moves and "lease" in subject.promises and (lease := subject.short_lease + traits.grace) >= LONG:
        waits.append(f"a lease is handed on after {lease.total_seconds():g} s at the earliest")
    if not moves and "not_before" in subject.promises and subject.delay >= LONG:
        waits.append(f"a due time is {subject.delay.total_seconds():g} s ahead at least")
    if "prompt" not in subject.promises and traits.patience >= LONG:
        waits.append(f"an empty queue is asked for {traits.patience.total_seconds():g} s each time")
    if not waits:
        return ""
    moved = "" if moves else "; a harness with pass_time moves the queue's clock instead"
    said = f"{', and '.join(waits)}, so that this takes many minutes: with -n 8 several tests wait at once"
    return f"{subject.target}: {said}{moved}"
