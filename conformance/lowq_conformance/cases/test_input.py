"""INPUT: what must be refused is refused before anything is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from lowq_conformance.cases.expect import (
    asks_for_leases,
    claim,
    expect,
    expect_named_error,
    expect_refusal,
    gives,
    gives_all,
    nothing,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.fixtures import loaded_key
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.halfway import Halfway
from lowq_conformance.subject.client import Client


def cycle() -> list[Any]:
    """A list that holds itself."""
    work: list[Any] = []
    work.append(work)
    return work


NOT_JSON: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": float("-inf"),
    "bytes": b"bytes",
    "set": {1, 2},
    "number as key": {1: "one"},
    "none as key": {None: "nothing"},
    "lone surrogate": "\ud800",
    "surrogate as key": {"\udfff": 1},
    "object": object(),
    "datetime": datetime(2030, 1, 1),  # noqa: DTZ001  # it is no JSON, with a zone or without
    "decimal": Decimal("1.5"),
    "cycle": cycle(),
}
PLACED = [kind for kind in NOT_JSON if kind != "cycle"]  # a cycle is nowhere in particular


@pytest.mark.clause("INPUT-1")
@pytest.mark.parametrize("bad", NOT_JSON.values(), ids=list(NOT_JSON))
def test_what_is_not_json_is_refused_and_not_kept(q: Client, bad: Any) -> None:
    expect_named_error(q, expect_refusal(q.push, bad))

    nothing(q)


@pytest.mark.clause("INPUT-1")
@pytest.mark.parametrize("bad", [bad for kind, bad in NOT_JSON.items() if kind in PLACED], ids=PLACED)
def test_the_error_says_where_in_the_work_it_is(q: Client, bad: Any) -> None:
    error = expect_refusal(q.push, {"user": ["fine", {"created": bad}]})

    said = " ".join([str(error), *getattr(error, "__notes__", ())])
    expect(q, "created" in said, "an error that names the place inside the work: created")
    nothing(q)


@pytest.mark.clause("INPUT-2")
@pytest.mark.needs("json")
def test_a_refused_push_leaves_the_queue_and_the_next_push_whole(q: Client) -> None:
    q.push("before")
    for bad in (float("nan"), {1, 2}, {1: "one"}):
        try:
            q.push(bad)
        except Refused:
            continue
        raise wrong(q, "it to be refused")
    q.push("after")

    gives_all(q, "before", "after")


@pytest.mark.clause("INPUT-2")
@pytest.mark.needs("json")
@pytest.mark.needs("priority")
def test_a_work_that_was_refused_for_its_priority_may_be_pushed(q: Client) -> None:
    priority: Any = "high"
    expect_refusal(q.push, "a", priority=priority)
    answer = q.push("a", priority=1)

    expect(q, answer.added is not False, "added")
    gives_all(q, "a")


@pytest.mark.clause("INPUT-3")
@pytest.mark.parametrize("depth", [50, 150, 900, 5_000, 100_000])
@pytest.mark.parametrize("kind", ["lists", "objects"])
def test_deep_nesting_arrives_intact_or_is_refused(q: Client, depth: int, kind: str) -> None:
    work: Any = "core"
    for _ in range(depth):
        work = [work] if kind == "lists" else {"in": work}
    try:
        q.push(work)
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
    else:
        held = something(q)
        expect(q, depth_of(held.work) == (depth, "core"), f"the work, {depth:,} deep")
        q.ack(held)

    q.push("after")
    gives_all(q, "after")


def depth_of(work: Any) -> tuple[int, Any]:
    """How deep a work is nested, and what is at its core; without recursion."""
    depth = 0
    while isinstance(work, (list, dict)) and len(work) == 1:
        work = work[0] if isinstance(work, list) else next(iter(work.values()))
        depth += 1
    return depth, work


@pytest.mark.clause("INPUT-3")
@pytest.mark.parametrize(
    "number",
    [2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 + 1, -(2**63) - 1, 10**40 + 7, 10**400 + 7, 10**5000],
    ids=["2**31", "2**53+1", "2**63-1", "2**63", "2**64+1", "-2**63-1", "10**40+7", "10**400+7", "10**5000"],
)
def test_a_huge_integer_arrives_intact_or_is_refused(q: Client, number: int) -> None:
    try:
        q.push([number])
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
    else:
        held = something(q)
        whole = isinstance(held.work, list) and len(held.work) == 1 and type(held.work[0]) is int
        expect(q, whole and held.work[0] == number, "the very integer")
        q.ack(held)

    q.push("after")
    gives_all(q, "after")


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("priority")
@pytest.mark.parametrize("priority", ["7", 7.9, [1]], ids=repr)
def test_a_priority_that_is_no_integer_is_refused(q: Client, priority: Any) -> None:
    expect_refusal(q.push, "a", priority=priority)

    nothing(q)


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("priority")
@pytest.mark.parametrize(
    "priority",
    [2**31, -(2**31) - 1, 2**32, -(2**32), 2**33 + 1, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**40],
    ids=["2**31", "-2**31-1", "2**32", "-2**32", "2**33+1", "2**53+1", "2**63", "-2**63-1", "2**64", "10**40"],
)
def test_a_priority_beyond_32_bits_is_refused_or_ordered_rightly(q: Client, priority: int) -> None:
    """A queue may take more; none may cut it, or wrap it round, so that it comes out elsewhere."""
    nearest = 2**31 - 1 if priority > 0 else -(2**31)
    pushes = {"ordinary": 0, "nearest": nearest, "beyond": priority}
    order = list(pushes) if priority > 0 else list(pushes)[::-1]  # where it is cut to the nearest, that comes first
    kept = [work for work in order if takes_priority(q, work, pushes[work])]

    gives(q, *sorted(kept, key=lambda work: -pushes[work]))
    nothing(q)


def takes_priority(q: Client, work: str, priority: int) -> bool:
    """Whether the queue takes the work with this priority; one within 32 bits is ORDER-5's."""
    try:
        q.push(work, priority=priority)
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
        return False
    return True


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("priority")
def test_a_truth_value_is_no_priority_or_the_number_that_it_is_in_python(q: Client) -> None:
    q.push("zero")
    if takes_priority(q, "true", True):
        gives(q, "true")

    gives(q, "zero")
    nothing(q)


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("not_before")
@pytest.mark.parametrize("ahead", [timedelta(hours=-30), timedelta(hours=30)], ids=["past", "future"])
def test_a_naive_datetime_is_refused(q: Client, ahead: timedelta) -> None:
    naive = (q.subject.now(q.place) + ahead).replace(tzinfo=None)
    expect_refusal(q.push, "a", not_before=naive)

    nothing(q)
    if q.subject.can_pass_time:
        q.subject.pass_time(q.place, timedelta(days=3))
        nothing(q)


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("not_before")
@pytest.mark.parametrize("when", ["tomorrow", [2030, 1, 1], b"2030-01-01"], ids=repr)
def test_a_time_that_is_no_datetime_is_refused(q: Client, when: Any) -> None:
    expect_refusal(q.push, "a", not_before=when)

    nothing(q)


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("not_before")
@pytest.mark.parametrize("when", [60, 1.5, timedelta(seconds=5)], ids=repr)
def test_a_number_or_a_length_of_time_is_no_time_or_means_one(q: Client, when: Any) -> None:
    """A queue may take seconds, or a delay; what it takes comes out when they are over."""
    try:
        q.push("a", not_before=when)
    except Refused:
        nothing(q)
        return
    if q.subject.can_pass_time:
        q.subject.pass_time(q.place, timedelta(minutes=2))
        gives_all(q, "a")


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("key")
@pytest.mark.parametrize("key", [7, b"k", ["k"]], ids=repr)
def test_a_key_that_is_no_text_is_refused(q: Client, key: Any) -> None:
    expect_refusal(q.push, "a", key=key)

    nothing(q)


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("lease")
@pytest.mark.parametrize("lease", ["a minute", [60]], ids=repr)
def test_a_lease_that_is_no_timedelta_is_refused(q: Client, lease: Any) -> None:
    asks_for_leases(q)
    q.push("a")
    expect_refusal(q.claim, lease_for=lease)

    takes(q, "a")


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("json")
@pytest.mark.needs("lease")
@pytest.mark.parametrize("lease", [60, 1.5], ids=repr)
def test_a_number_is_no_lease_or_means_seconds(q: Client, lease: Any) -> None:
    asks_for_leases(q)
    q.push("a")
    try:
        held = claim(q, lease_for=lease)
    except Refused:
        held = takes(q, "a")
    expect(q, held is not None, "a task")
    nothing(q)


class Unwritable:
    """What neither JSON nor pickle can write down."""

    def __reduce__(self) -> Any:
        raise TypeError("this cannot be written down")

    def __repr__(self) -> str:
        return "<unwritable>"


ODD: dict[str, Any] = {
    "nan": float("nan"),
    "bytes": b"bytes",
    "set": {1, 2},
    "number as key": {1: "one"},
    "lone surrogate": "\ud800",
    "unwritable": Unwritable(),
    "deep inside": {"user": ["fine", {"created": Unwritable()}]},
    "cycle": cycle(),
}


@pytest.mark.clause("INPUT-2")
@pytest.mark.parametrize("odd", ODD.values(), ids=list(ODD))
def test_whatever_it_refuses_leaves_the_queue_and_the_next_push_whole(
    q: Client, reopened: Callable[[Client], Client], odd: Any
) -> None:
    """A queue that does not promise JSON may take any object, and is asked about those only that it refuses."""
    q.push("before")
    refuse_or_leave(q, odd)
    q = insist(q, reopened, "after")

    gives_all(q, "before", "after")


def insist(q: Client, reopened: Callable[[Client], Client], work: Any) -> Client:
    """The client that took the work: this one, or where it refuses by name because a push failed, a new one.

    Who promises JSON, and so to refuse the rest, goes on.
    """
    try:
        q.push(work)
    except Refused as refusal:
        if "json" in q.promises:
            raise
        expect_named_error(q, refusal.cause)
        q = reopened(q)
        q.push(work)
    return q


def refuse_or_leave(q: Client, work: Any, **given: Any) -> None:
    """The push is refused. Raises NotPromised where it is not."""
    try:
        q.push(work, **given)
    except Refused:
        return
    raise NotPromised("it takes what was tried, and does not promise to refuse it")


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("priority")
@pytest.mark.parametrize("priority", ["7", 7.9, [1]], ids=repr)
def test_a_priority_that_is_refused_is_in_nobodys_way(q: Client, priority: Any) -> None:
    q.push("before", priority=1)
    refuse_or_leave(q, "a", priority=priority)
    q.push("after", priority=1)

    gives_all(q, "before", "after")


@pytest.mark.clause("INPUT-4")
@pytest.mark.needs("not_before")
@pytest.mark.parametrize("when", ["tomorrow", [2030, 1, 1], datetime(2030, 1, 1)], ids=repr)  # noqa: DTZ001  on purpose
def test_a_time_that_is_refused_is_in_nobodys_way(q: Client, when: Any) -> None:
    past = q.subject.now(q.place) - timedelta(hours=1)
    q.push("before", not_before=past)
    refuse_or_leave(q, "a", not_before=when)
    q.push("after", not_before=past)

    gives_all(q, "before", "after")


LONG = [{"item": number, "text": "good data"} for number in range(4_000)]
"""150 kB of JSON."""


@pytest.mark.clause("INPUT-5")
@pytest.mark.parametrize("place_of_it", ["last", "inside the last"])
def test_a_work_that_cannot_be_written_down_to_its_end_leaves_nothing_behind(
    q: Client, reopened: Callable[[Client], Client], place_of_it: str
) -> None:
    q.push("before")
    refuse_or_leave(q, [*LONG, Unwritable() if place_of_it == "last" else {"item": 4_000, "text": Unwritable()}])
    q = insist(q, reopened, "after")
    if "persistent" in q.promises:
        q = reopened(q)

    gives_all(q, "before", "after")


@pytest.fixture
def halfway(request: pytest.FixtureRequest, places: Path, agents: Agents) -> Iterator[Halfway]:
    """Pushes that fail half-way."""
    subject = request.config.stash[loaded_key].fresh()
    yield Halfway(subject, agents, lambda: Path(mkdtemp(dir=places)))
    subject.close()


@pytest.mark.clause("INPUT-5")
@pytest.mark.together("kills")
def test_a_push_for_which_there_is_no_room_is_whole_or_absent(halfway: Halfway) -> None:
    halfway.keeps()
