"""KEEP: what is in the queue survives closing and opening again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lowq_conformance.cases.expect import (
    expect,
    gives,
    gives_all,
    nothing,
    push_unless_refused,
    require,
    something,
    takes,
)
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import field
from lowq_conformance.subject.client import Client

Reopen = Callable[[Client], Client]

FIELDS = ("id", "work", "key", "priority", "not_before", "attempts", "state", "reason")


def listing(q: Client) -> list[dict[str, Any]]:
    """What the queue tells of each task, in an order that does not depend on it."""
    fields = [name for name in FIELDS if name != "key" or "key" in q.promises]
    told = [{name: field(task, name) for name in fields if hasattr(task, name)} for task in q.tasks()]
    return sorted(told, key=lambda fields: work_text(fields.get("work")))


def tells_the_same(q: Client, before: list[dict[str, Any]]) -> None:
    """The queue tells of each task what it told before."""
    after = listing(q)
    differences = [
        f"{name} {was.get(name)!r} of {was.get('work')!r}, not {now.get(name)!r}"
        for was, now in zip(before, after, strict=False)
        for name in was
        if was.get(name) != now.get(name)
    ]
    expect(q, len(before) == len(after), f"{len(before)} tasks, not {len(after)}")
    expect(q, not differences, "; ".join(differences))


@pytest.mark.clause("KEEP-1")
def test_waiting_tasks_survive_reopening(q: Client, reopened: Reopen) -> None:
    works: list[Any] = ["a", {"b": [1, 2.5, None]}, "é", "é\x00", "🜁", "a\u2028b", "a\x85b\x1c", "a\r\n"]
    kept = [work for work in works if push_unless_refused(q, work) is not None]

    gives_all(reopened(q), *kept)


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("not_before")
def test_scheduled_tasks_survive_reopening(q: Client, reopened: Reopen) -> None:
    due = later(q)
    q.push("a", not_before=due)
    q = reopened(q)
    fall_due(q, due)

    gives_all(q, "a")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("priority")
def test_priorities_survive_reopening(q: Client, reopened: Reopen) -> None:
    q.push("low", priority=1)
    q.push("high", priority=3)
    q = reopened(q)
    q.push("middle", priority=2)

    gives(q, "high", "middle", "low")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("key")
def test_keys_survive_reopening(q: Client, reopened: Reopen) -> None:
    if q.subject.traits.dedupe == "off":
        raise NotPromised("nothing tells of a key where nothing is deduped")
    q.push("a", key="k")
    q = reopened(q)
    q.push("b", key="k")

    gives_all(q, "a")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("lease")
def test_leased_tasks_survive_reopening(q: Client, reopened: Reopen) -> None:
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    q = reopened(q)
    run_out(q, lease)

    gives_all(q, "a")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("lease")
def test_attempts_survive_reopening(q: Client, reopened: Reopen) -> None:
    lease = q.subject.short_lease
    q.push("a")
    require(takes(q, "a", lease_for=lease).attempts, "attempts")
    q = reopened(q)
    run_out(q, lease)
    held = takes(q, "a")

    expect(q, held.attempts == 2, f"attempts 2, not {held.attempts}")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("dead_letter")
def test_dead_tasks_stay_dead_after_reopening(q: Client, reopened: Reopen) -> None:
    q.push("a")
    held = takes(q, "a")
    q.dead_letter(held, reason="no such file: 7")
    q = reopened(q)

    nothing(q)
    if q.has("redrive"):
        q.redrive(require(held.id, "the id of a claimed task"))
        gives_all(q, "a")


@pytest.mark.clause("KEEP-1")
@pytest.mark.needs("inspect")
def test_what_is_told_of_every_task_is_the_same_after_reopening(q: Client, reopened: Reopen) -> None:
    if "dead_letter" in q.promises:
        q.push("dead")
        q.dead_letter(takes(q, "dead"), reason="no such file: 7")
    if "shared_lease" in q.promises:
        q.push("leased")
        takes(q, "leased")
    if "not_before" in q.promises:
        q.push("scheduled", not_before=later(q))
    if "release" in q.promises:
        q.push("released")
        q.release(takes(q, "released"))
    if "key" in q.promises:
        q.push("under a key", key="k")
    if "priority" in q.promises:
        q.push("urgent", priority=7)
    q.push("waiting")
    before = listing(q)
    q = reopened(q)

    tells_the_same(q, before)


@pytest.mark.clause("KEEP-1")
def test_an_empty_queue_is_empty_after_reopening(q: Client, reopened: Reopen) -> None:
    q.push("a")
    q.ack(something(q))

    nothing(reopened(q))
