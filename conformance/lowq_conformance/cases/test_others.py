"""DELIVER-11: what is done with one task leaves every other as it was.

Round one task stand others, in every state that the queue has, also of the same work where a dead one does not count
as equal. The whole listing is compared, and what comes out. Of a listed task only what is promised is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import (
    claim,
    expect,
    gives_all,
    nothing,
    push_unless_refused,
    require,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.timing import fall_due, later
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.answers import field
from lowq_conformance.subject.client import MINUTE, Client, Held

STATES = {"scheduled", "ready", "leased", "dead"}
LARGE = 300_000
"""Characters of a work that does not fit into a page, a pipe or a line."""


class Others:
    """Tasks that nothing is done with: one that waits, and where they are promised one that is scheduled, one that
    somebody else has in hand, one that is dead, and one that is dead of the same work as the one."""

    def __init__(self, q: Client, other: Client) -> None:
        self.q, self.other = q, other
        self.held: Held | None = None
        self.due = None
        self.dead: list[Any] = []

    def stand(self, *, twin: bool = True) -> None:
        """They are there, but for those that are pushed after the one."""
        q = self.q
        if "dead_letter" in q.promises:
            twin = twin and "dead" not in q.subject.traits.remembers
            for work in ("dead", *(["the one"] if twin else [])):
                q.push(work, **self._key(work))
                held = takes(q, work)
                self.dead.append((work, held.id))
                q.dead_letter(held)
        if "not_before" in q.promises:
            far = timedelta(hours=1) if q.subject.traits.max_delay is None else None
            self.due = later(q, far)  # type: ignore[assignment]
            q.push("scheduled", not_before=self.due)
        if not q.subject.traits.one_at_a_time:
            q.push("in hand")
            self.held = takes(self.other, "in hand")

    def push_one(self) -> Any:
        """The one is pushed, and one behind it; its id, where that is told."""
        return self.q.push("the one", **self._key("the one")).id

    def push_behind(self) -> None:
        """One more waits."""
        self.q.push("behind")

    def list_all(self) -> Counter[tuple[Any, ...]] | None:
        """Every task that is listed, as far as it is promised; None where nothing is."""
        if "inspect" not in self.q.promises:
            return None
        return Counter(compare_by(self.q, task) for task in self.q.tasks())

    def come_out(self, *works: str) -> None:
        """These works come out beside those that were left alone, and each of those can be settled as before."""
        q = self.q
        gives_all(q, "behind", *works)
        if self.held is not None:
            self.other.ack(self.held)
        for work, id in self.dead:
            self._redriven_comes_out(work, id)
        if self.due is not None and q.subject.can_pass_time:
            fall_due(q, self.due)
            gives_all(q, "scheduled")
        nothing(q)

    def _redriven_comes_out(self, work: Any, id: Any) -> None:
        """A dead task comes out after a redrive, unless that was refused: where ids are keys, a later push may have
        taken its place. Where redrive says nothing, it may."""
        q = self.q
        if not q.has("redrive") or id is None:
            return
        try:
            said = q.redrive(id)
        except Refused:
            return
        if said:
            gives_all(q, work)
        elif said is None and (held := claim(q)) is not None:
            expect(q, work_text(held.work) == work_text(work), repr(work))
            q.ack(held)

    def _key(self, work: str) -> dict[str, Any]:
        return {"key": f"key of {work}"} if "key" in self.q.promises else {}


def compare_by(q: Client, task: Any) -> tuple[Any, ...]:
    """What is compared of a listed task."""
    state = str(field(task, "state"))
    return (
        work_text(field(task, "work")),
        field(task, "id"),
        field(task, "key") if "key" in q.promises else None,
        field(task, "priority") if "priority" in q.promises else None,
        field(task, "attempts"),
        field(task, "reason") if "dead_letter" in q.promises else None,
        state if state in STATES else None,
    )


def same(
    q: Client, before: Counter[tuple[Any, ...]] | None, after: Counter[tuple[Any, ...]] | None, many: int
) -> None:
    """All but `many` tasks are listed as before, and each of those that are not is the one."""
    if before is None or after is None:
        return
    changed = [*(before - after).elements(), *(after - before).elements()]
    strangers = [seen for seen in changed if seen[0] != work_text("the one")]
    gone = len(list((before - after).elements()))
    if strangers or gone > many:
        named = " and ".join(sorted({seen[0] for seen in strangers} or {work_text("the one")}))
        raise wrong(q, f"every other task as it was, but {named} changed")


def hold(q: Client) -> Held:
    """The one is in hand, of a client that never pushed."""
    return takes(q, "the one")


def ack(q: Client, held: Held, id: Any) -> tuple[str, ...]:
    """It is done."""
    del id
    q.ack(held)
    return ()


def release(q: Client, held: Held, id: Any) -> tuple[str, ...]:
    """It is given back."""
    del id
    q.release(held)
    return ("the one",)


def extend(q: Client, held: Held, id: Any) -> tuple[str, ...]:
    """Its lease is made longer, and it is done."""
    del id
    q.ack(q.extend(held, lease_for=MINUTE))
    return ()


def dead_letter(q: Client, held: Held, id: Any) -> tuple[str, ...]:
    """It is set aside."""
    del id
    q.dead_letter(held)
    return ()


SETTLES: dict[str, Callable[[Client, Held, Any], tuple[str, ...]]] = {
    "ack": ack,
    "release": release,
    "extend": extend,
    "dead_letter": dead_letter,
}


@pytest.mark.clause("DELIVER-11")
@pytest.mark.parametrize(
    "verb",
    ["ack", *(pytest.param(verb, marks=pytest.mark.needs(verb)) for verb in ("release", "extend", "dead_letter"))],
)
def test_settling_one_task_leaves_every_other_as_it_was(q: Client, other: Client, verb: str) -> None:
    others = Others(q, other)
    others.stand()
    id = others.push_one()
    held = hold(other)
    others.push_behind()
    before = others.list_all()
    came = SETTLES[verb](other, held, id)
    same(q, before, others.list_all(), 1)

    others.come_out(*came)


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("cancel")
def test_cancelling_one_task_leaves_every_other_as_it_was(q: Client, other: Client) -> None:
    others = Others(q, other)
    others.stand()
    id = require(others.push_one(), "the id of what was pushed")
    others.push_behind()
    before = others.list_all()
    other.cancel(id)
    same(q, before, others.list_all(), 1)

    others.come_out()


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("cancel")
def test_cancelling_after_a_refused_duplicate_takes_the_standing_task_and_no_other(q: Client, other: Client) -> None:
    if q.subject.traits.dedupe == "off":
        raise NotPromised("equal works are not refused")
    others = Others(q, other)
    others.stand()
    first = require(others.push_one(), "the id of what was pushed")
    others.push_behind()
    again = others.push_one()
    before = others.list_all()
    q.cancel(first if again is None else again)
    same(q, before, others.list_all(), 1)

    others.come_out()


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("dead_letter")
def test_redriving_one_task_leaves_every_other_as_it_was(q: Client, other: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    others = Others(q, other)
    others.stand(twin=False)
    others.push_one()
    held = hold(other)
    id = require(held.id, "the id of a claimed task")
    other.dead_letter(held)
    others.push_behind()
    before = others.list_all()
    if q.redrive(id) is False:
        raise wrong(q, "True")
    same(q, before, others.list_all(), 1)

    others.come_out("the one")


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("cancel")
@pytest.mark.parametrize("state", ["in hand", "gone"])
def test_cancelling_in_vain_leaves_every_other_task_as_it_was(q: Client, other: Client, state: str) -> None:
    others = Others(q, other)
    others.stand()
    id = require(others.push_one(), "the id of what was pushed")
    held = hold(other)
    others.push_behind()  # before an id may come free
    if state == "gone":
        other.ack(held)
    before = others.list_all()
    with suppress(Refused):
        q.cancel(id)
    same(q, before, others.list_all(), 1)
    if state == "in hand":
        other.ack(held)

    others.come_out()


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("dead_letter")
def test_redriving_in_vain_leaves_every_other_task_as_it_was(q: Client, other: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    others = Others(q, other)
    others.stand(twin=False)  # which may have the same id
    id = require(others.push_one(), "the id of what was pushed")
    held = hold(other)
    others.push_behind()
    before = others.list_all()
    with suppress(Refused):
        q.redrive(id)
    same(q, before, others.list_all(), 1)
    other.ack(held)

    others.come_out()


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("fenced")
@pytest.mark.parametrize(
    "verb", ["ack", *(pytest.param(verb, marks=pytest.mark.needs(verb)) for verb in ("release", "dead_letter"))]
)
def test_settling_twice_leaves_every_other_task_as_it_was(q: Client, other: Client, verb: str) -> None:
    others = Others(q, other)
    others.stand()
    id = others.push_one()
    held = hold(other)
    others.push_behind()
    came = SETTLES[verb](other, held, id)
    before = others.list_all()
    with suppress(Refused):
        SETTLES[verb](other, held, id)
    same(q, before, others.list_all(), 1)

    others.come_out(*came)


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("batch")
def test_acking_one_of_a_batch_leaves_the_others(q: Client, other: Client) -> None:
    q.push_many([Item(work) for work in ("a", "b", "c")])
    held = something(other)
    other.ack(held)

    gives_all(q, *sorted({"a", "b", "c"} - {held.work}))


@pytest.mark.clause("DELIVER-11")
def test_large_works_are_left_alone_as_small_ones_are(q: Client, other: Client) -> None:
    works = [letter * LARGE for letter in "abc"]
    for work in works:
        if push_unless_refused(q, work) is None:
            raise NotPromised("it takes no work of 300 kB")
    first = something(other)
    other.ack(first)
    works.remove(first.work)
    if "release" in q.promises:
        second = something(other)
        other.release(second)

    for _ in works:
        held = something(q)
        expect(q, held.work in works, "one of the large works")
        q.ack(held)
    nothing(q)
