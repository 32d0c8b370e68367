"""HEADERS: what goes along with a work.

Of what a queue tells, only names that were pushed in these tests are looked at: it may add headers of its own.

Long: each way in which a task comes back, and each part that a queue may not promise, has a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import (
    expect,
    expect_named_error,
    expect_refusal,
    forgets,
    gives_all,
    must_list,
    nothing,
    require,
    says_added,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.timing import fall_due, later, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.answers import field
from lowq_conformance.subject.client import MINUTE, Client, Held

Reopen = Callable[[Client], Client]

FIRST = {"trace": "one", "tenant": "red"}
OTHER = {"trace": "two", "batch": "blue"}
NAMES = {*FIRST, *OTHER}
MISSING = object()

UNUSUAL: Mapping[str, dict[str, str]] = {
    "upper case": {"Trace-Parent": "00-AB"},
    "names that differ in case": {"trace": "lower", "TRACE": "upper"},
    "empty value": {"trace": ""},
    "empty name": {"": "nameless"},
    "blanks": {" trace ": " padded ", "\ttab": "line\n"},
    "punctuation": {"a=b;c: d,e": '"quoted", {"in": \\ json}'},
    "ends of lines": {"a\u2028b": "a\u2029\x85\x0b\x0c", "a\rb": "\r\n\x1c\x1d\x1e"},
    "control characters": {"trace": "\x00\x1f\x7f", "nul\x00": "x"},
    "accents": {"\u00e9": "composed", "e\u0301": "decomposed"},
    "astral": {"\U0001f701": "\U0001f702"},
    "lone surrogate": {"trace": "\ud800"},
    "texts like other values": {"1": "1", "true": "true", "null": "null", "number": "1e3"},
    "names of its own": {"id": "7", "work": "w", "key": "k", "priority": "9", "headers": "h", "state": "dead"},
    "long value": {"trace": "x" * 20_000},
    "long name": {"n" * 2_000: "x"},
    "many": {f"name {number}": f"value {number}" for number in range(300)},
}


def read_headers(q: Client, raw: Any, pushed: Mapping[str, str]) -> dict[str, str]:
    """The headers that the queue tells of a task, as far as their names were pushed here.

    Raises NotPromised where it tells none.
    """
    holders: list[Any] = [getattr(raw, "task", None), raw]
    headers = next((holder.headers for holder in holders if hasattr(holder, "headers")), MISSING)
    if headers is MISSING:
        raise NotPromised("the queue does not tell the headers")
    if headers is not None and not isinstance(headers, Mapping):
        raise wrong(q, f"headers as a mapping, not {headers!r}")
    return {name: value for name, value in (headers or {}).items() if name in NAMES or name in pushed}


def expect_headers(q: Client, raw: Any, headers: Mapping[str, str]) -> None:
    """The last call told of a task with these headers."""
    found = read_headers(q, raw, headers)
    if found != headers:
        at = next(name for name in (*headers, *found) if headers.get(name) != found.get(name))
        raise wrong(q, f"the header {show_value(at)}: {show_value(headers.get(at))}, not {show_value(found.get(at))}")


def show_value(value: object) -> str:
    """The value as it is typed; what is long is cut."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}… of {len(text):,} characters"


def carries(q: Client, work: Any, headers: Mapping[str, str], *, lease_for: Any = MINUTE) -> Held:
    """A claim that hands out this work with these headers."""
    held = takes(q, work, lease_for=lease_for)
    expect_headers(q, held.raw, headers)
    return held


def lists(q: Client, **expected: Mapping[str, str]) -> None:
    """The listing tells these headers of these works."""
    tasks = {field(task, "work"): task for task in q.tasks()}
    expect(q, tasks.keys() == expected.keys(), f"the tasks {', '.join(expected)}")
    for work, headers in expected.items():
        expect_headers(q, tasks[work], headers)


@pytest.mark.clause("HEADERS-1")
def test_headers_arrive_as_they_were_pushed(q: Client, other: Client) -> None:
    q.push("a", headers=FIRST)
    other.ack(carries(other, "a", FIRST))
    q.push("b", headers=OTHER)

    q.ack(carries(q, "b", OTHER))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.parametrize("headers", UNUSUAL.values(), ids=list(UNUSUAL))
def test_unusual_headers_arrive_intact_or_are_refused(q: Client, other: Client, headers: dict[str, str]) -> None:
    try:
        q.push("a", headers=headers)
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
    else:
        other.ack(carries(other, "a", headers))

    nothing(q)


@pytest.mark.clause("HEADERS-1")
def test_a_work_without_headers_gets_nobody_elses(q: Client) -> None:
    forgets(q, "done")
    q.push("a", headers=FIRST)
    q.ack(carries(q, "a", FIRST))
    q.push("b")
    q.ack(carries(q, "b", {}))
    q.push("a")

    q.ack(carries(q, "a", {}))


@pytest.mark.clause("HEADERS-1")
def test_no_headers_and_empty_headers_are_the_same(q: Client) -> None:
    q.push("a", headers={})

    q.ack(carries(q, "a", {}))


@pytest.mark.clause("HEADERS-1")
def test_a_work_that_is_pushed_again_has_its_new_headers(q: Client) -> None:
    forgets(q, "done")
    q.push("a", headers=FIRST)
    q.ack(takes(q, "a"))
    q.push("a", headers=OTHER)

    q.ack(carries(q, "a", OTHER))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("json")
def test_changing_headers_after_pushing_them_changes_nothing(q: Client) -> None:
    headers = dict(FIRST)
    q.push("a", headers=headers)
    headers["trace"] = "changed"
    headers.update(OTHER)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("not_before")
def test_headers_arrive_when_their_task_falls_due(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due, headers=FIRST)
    fall_due(q, due)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("batch")
def test_each_work_of_a_batch_has_its_own_headers(q: Client) -> None:
    expected = {"a": FIRST, "b": {}, "c": OTHER}
    q.push_many([Item(work, headers=headers) for work, headers in expected.items()])

    for _ in range(len(expected)):
        held = something(q)
        expect(q, held.work in expected, f"one of {', '.join(expected)}")
        expect_headers(q, held.raw, expected.pop(held.work))
        q.ack(held)


@pytest.mark.clause("HEADERS-1")
def test_what_is_claimed_by_an_ack_has_its_headers(q: Client) -> None:
    if not q.takes("ack", "claim_for"):
        raise NotPromised("ack takes no claim_for")
    q.push("a", headers=FIRST)
    held = takes(q, "a")
    q.push("b", headers=OTHER)
    claimed = q.ack(held, claim_for=MINUTE)
    if claimed is None:
        raise NotPromised("the ack claimed nothing")

    expect_headers(q, claimed.raw, OTHER)


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("extend")
def test_an_extended_lease_keeps_its_headers(q: Client) -> None:
    q.push("a", headers=FIRST)
    longer = q.extend(takes(q, "a"), lease_for=MINUTE)

    expect_headers(q, longer.raw, FIRST)


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("extend", "release")
def test_a_task_whose_lease_was_extended_keeps_its_headers(q: Client, other: Client) -> None:
    q.push("a", headers=FIRST)
    q.release(q.extend(takes(q, "a"), lease_for=MINUTE))

    other.ack(carries(other, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("release")
def test_a_released_task_keeps_its_headers(q: Client, other: Client) -> None:
    q.push("a", headers=FIRST)
    held = takes(q, "a")
    headers = field(held.raw, "headers")
    if "json" in q.promises and isinstance(headers, MutableMapping):
        headers["trace"] = "changed"
    q.release(held)

    other.ack(carries(other, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("release", "not_before")
def test_a_task_released_until_a_time_keeps_its_headers(q: Client) -> None:
    if not q.takes("release", "not_before"):
        raise NotPromised("release takes no not_before")
    q.push("a", headers=FIRST)
    due = later(q)
    q.release(takes(q, "a"), not_before=due)
    fall_due(q, due)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("lease")
def test_a_task_whose_lease_ran_out_keeps_its_headers(q: Client, other: Client) -> None:
    lease = q.subject.short_lease
    q.push("a", headers=FIRST)
    takes(q, "a", lease_for=lease)
    run_out(q, lease)

    other.ack(carries(other, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("dead_letter")
def test_a_redriven_task_has_its_headers(q: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a", headers=FIRST)
    held = takes(q, "a")
    q.dead_letter(held)
    q.redrive(require(held.id, "the id of a claimed task"))

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("dead_letter", "inspect")
def test_a_dead_task_is_listed_with_its_headers(q: Client) -> None:
    must_list(q, "dead")
    q.push("a", headers=FIRST)
    q.dead_letter(takes(q, "a"))

    lists(q, a=FIRST)


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("inspect")
def test_tasks_are_listed_with_their_headers(q: Client, other: Client) -> None:
    q.push("a", headers=FIRST)
    q.push("b")
    q.push("c", headers=OTHER)
    lists(other, a=FIRST, b={}, c=OTHER)


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("persistent")
def test_headers_survive_reopening(q: Client, reopened: Reopen) -> None:
    q.push("a", headers=FIRST)
    q = reopened(q)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("persistent", "lease")
def test_headers_of_a_leased_task_survive_reopening(q: Client, reopened: Reopen) -> None:
    lease = q.subject.short_lease
    q.push("a", headers=FIRST)
    takes(q, "a", lease_for=lease)
    q = reopened(q)
    run_out(q, lease)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-1")
@pytest.mark.needs("persistent", "dead_letter")
def test_headers_of_a_dead_task_survive_reopening(q: Client, reopened: Reopen) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    q.push("a", headers=FIRST)
    held = takes(q, "a")
    q.dead_letter(held)
    q = reopened(q)
    q.redrive(require(held.id, "the id of a claimed task"))

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-2")
@pytest.mark.parametrize("headers", [FIRST, OTHER, None], ids=["same", "other", "none"])
def test_an_equal_work_is_refused_whatever_its_headers(q: Client, headers: Mapping[str, str] | None) -> None:
    q.push("a", headers=FIRST)
    q.push("a", headers=headers)

    gives_all(q, "a")


@pytest.mark.clause("HEADERS-2")
def test_a_work_with_headers_is_refused_where_an_equal_one_without_stands(q: Client) -> None:
    q.push("a")
    says_added(q, q.push("a", headers=FIRST).added, False)

    gives_all(q, "a")


@pytest.mark.clause("HEADERS-2")
def test_different_works_with_the_same_headers_are_both_added(q: Client) -> None:
    q.push("a", headers=FIRST)
    q.push("b", headers=FIRST)

    gives_all(q, "a", "b")


@pytest.mark.clause("HEADERS-2")
@pytest.mark.needs("key")
def test_a_key_decides_whatever_the_headers(q: Client) -> None:
    q.push("a", key="k", headers=FIRST)
    q.push("b", key="k", headers=OTHER)
    q.push("a", key="l", headers=FIRST)

    gives_all(q, "a", "a")


@pytest.mark.clause("HEADERS-2")
@pytest.mark.parametrize("headers", [OTHER, {**FIRST, **OTHER}, {}, None], ids=["other", "more", "empty", "none"])
def test_a_refused_duplicate_does_not_change_the_headers(q: Client, headers: Mapping[str, str] | None) -> None:
    q.push("a", headers=FIRST)
    q.push("a", headers=headers)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-2")
def test_a_refused_duplicate_lends_no_headers_to_a_task_without(q: Client) -> None:
    q.push("a")
    q.push("a", headers=FIRST)

    q.ack(carries(q, "a", {}))


@pytest.mark.clause("HEADERS-2")
@pytest.mark.needs("release")
def test_a_refused_duplicate_does_not_change_the_headers_of_a_running_task(q: Client) -> None:
    if q.subject.traits.dedupe != "until_done":
        raise NotPromised("a running task refuses no equal one")
    q.push("a", headers=FIRST)
    held = takes(q, "a")
    q.push("a", headers=OTHER)
    q.release(held)

    q.ack(carries(q, "a", FIRST))


@pytest.mark.clause("HEADERS-2")
@pytest.mark.needs("batch")
def test_the_first_of_equal_works_in_a_batch_keeps_its_headers(q: Client) -> None:
    q.push_many([Item("a", headers=FIRST), Item("a", headers=OTHER)])

    q.ack(carries(q, "a", FIRST))
    nothing(q)


ODD: Mapping[str, Any] = {
    "integer": {"trace": 7},
    "float": {"trace": 1.5},
    "true": {"trace": True},
    "none": {"trace": None},
    "bytes": {"trace": b"one"},
    "list": {"trace": ["one"]},
    "object": {"trace": {"one": "two"}},
    "last of several": {**FIRST, "last": 7},
    "integer as name": {7: "one"},
    "none as name": {None: "one"},
    "bytes as name": {b"trace": "one"},
    "true as name": {True: "one"},
    "text": "trace",
    "number": 7,
}


@pytest.mark.clause("HEADERS-3")
@pytest.mark.parametrize("headers", ODD.values(), ids=list(ODD))
def test_what_is_no_string_is_refused_and_not_kept(q: Client, other: Client, headers: Any) -> None:
    expect_refusal(q.push, "a", headers=headers)
    nothing(other)
    answer = q.push("a", headers=FIRST)

    expect(q, answer.added is not False, "added")
    gives_all(q, "a")


@pytest.mark.clause("HEADERS-3")
@pytest.mark.needs("batch")
@pytest.mark.parametrize("headers", [{"trace": 7}, {7: "one"}], ids=["value", "name"])
def test_a_batch_with_a_header_that_is_no_string_is_not_kept(q: Client, headers: Any) -> None:
    expect_refusal(q.push_many, [Item("a", headers=FIRST), Item("b", headers=headers), Item("c")])

    nothing(q)
