"""DELIVER: what goes in comes out, once, as it was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from lowq_conformance.cases.expect import (
    expect,
    expect_named_error,
    gives_all,
    nothing,
    push_unless_refused,
    require,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.many import BRIEF, in_time
from lowq_conformance.cases.timing import later, run_out
from lowq_conformance.contract.outcomes import Broken, Refused
from lowq_conformance.history.work_text import work_text
from lowq_conformance.subject.client import Client

WORKS: list[Any] = [
    "a",
    " a  ",
    "\x00",
    "a\x00b",
    "line\nnext\ttab\r\x1b[0m\x7f\u2028",
    "every\u2028end\u2029of a line\r\nor\rof one\n",
    "or\x0bof\x0ca\x1cpart\x1dor\x1ea\x85record\x1f",
    "\u00e9, e\u0301, ß, Ω, \u2126, \ufb01, 漢字, עברית",
    "🜁 and 👩‍👩‍👧",
    "\"quoted\" \\ 'single' %s {} $1 ; --",
    1,
    -1,
    2**53 + 1,
    1.0,
    0.1 + 0.2,
    1 / 3,
    5e-324,
    1.7976931348623157e308,
    True,
    ["", None, False, 0, [], {}],
    [[[["deep"]]]],
    {"": "the empty key", "\x00": 1, "é": 2, "key with spaces": {"nested": [1, 2.5, "three", None]}},
    {"b": 1, "a": 2},
    {"\u00e9": "composed", "e\u0301": "decomposed", "a": 1, " a": 2, "a ": 3, "A": 4, "none": None},
    list(range(300)),
    {f"name {number}": number for number in range(300)},
]


@pytest.mark.clause("DELIVER-1")
@pytest.mark.parametrize("work", WORKS, ids=lambda work: f"{work!a:.20}")
def test_every_kind_of_work_comes_out_as_it_went_in(q: Client, work: Any) -> None:
    if push_unless_refused(q, work) is not None:
        q.ack(takes(q, work))

    nothing(q)


@pytest.mark.clause("DELIVER-1")
def test_every_kind_of_work_comes_out_at_another_client_as_it_went_in(q: Client, other: Client) -> None:
    """Which reads what was written, where who pushed may know it."""
    for work in WORKS:
        if push_unless_refused(q, work) is not None:
            other.ack(takes(other, work))

    nothing(other)


@pytest.mark.clause("DELIVER-1")
def test_every_one_of_many_waiting_works_comes_out(q: Client) -> None:
    works = [f"work {number}" for number in range(150)]
    for work in works:
        q.push(work)

    gives_all(q, *works)


@pytest.mark.clause("DELIVER-1")
def test_works_of_every_length_about_two_pages_come_out(q: Client) -> None:
    """Whatever is written around them: who reads in pieces of 4,096 bytes may take a full one for the last."""
    for work in in_time(["x" * length for length in range(8000, 8200)], BRIEF):
        if push_unless_refused(q, work) is not None:
            q.ack(takes(q, work))


@pytest.mark.clause("DELIVER-2")
def test_a_new_queue_is_empty(q: Client) -> None:
    nothing(q)


@pytest.mark.clause("DELIVER-2")
def test_nothing_comes_out_beside_what_went_in(q: Client) -> None:
    q.push("a")
    q.push(["x", "y"])

    gives_all(q, "a", ["x", "y"])


@pytest.mark.clause("DELIVER-3")
def test_what_one_client_holds_another_does_not_get(q: Client, other: Client) -> None:
    q.push("a")
    takes(q, "a")

    nothing(other)


@pytest.mark.clause("DELIVER-3")
def test_two_clients_hold_two_tasks(q: Client, other: Client) -> None:
    q.push("a")
    q.push("b")
    mine = something(q)
    theirs = something(other)

    expect(other, work_text(mine.work) != work_text(theirs.work), "the other task")


@pytest.mark.clause("DELIVER-4")
def test_an_acked_task_does_not_come_back(q: Client) -> None:
    q.push("a")
    q.ack(takes(q, "a"))

    nothing(q)


@pytest.mark.clause("DELIVER-4")
@pytest.mark.needs("lease")
def test_an_acked_task_does_not_come_back_when_its_lease_would_have_run_out(q: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    q.ack(takes(q, "a", lease_for=lease))
    run_out(q, lease)

    nothing(q)


@pytest.mark.clause("DELIVER-4")
@pytest.mark.needs("persistent")
def test_an_acked_task_does_not_come_back_after_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    lease = q.subject.short_lease
    q.push("a")
    q.push("b")
    done = something(q, lease_for=lease)
    q.ack(done)
    q = reopened(q)

    left = something(q)
    expect(q, work_text(left.work) != work_text(done.work), "the other task")
    q.ack(left)
    nothing(q)
    if "lease" in q.promises:
        run_out(q, lease)
        nothing(q)


@pytest.mark.clause("DELIVER-5")
def test_an_empty_queue_answers_none_at_once(q: Client) -> None:
    answers_at_once(q)

    q.push("a")
    q.ack(takes(q, "a"))
    answers_at_once(q)


def answers_at_once(q: Client) -> None:
    """A claim answers None within the queue's patience; a machine that stalls is given a second chance."""
    patience = q.subject.traits.patience.total_seconds()
    for chance in (1, 2):
        started = time.monotonic()
        nothing(q)
        took = time.monotonic() - started
        if took <= patience:
            return
        if chance == 2:
            raise Broken(f"an empty claim took {took:.1f} seconds; the queue says {patience:g} at most")


@pytest.mark.clause("DELIVER-6")
def test_an_empty_answer_is_not_remembered(q: Client, other: Client) -> None:
    nothing(q)
    nothing(other)
    other.push("a")
    takes(q, "a")
    nothing(other)
    q.push("b")

    takes(other, "b")


@pytest.mark.clause("DELIVER-6")
def test_a_claim_is_empty_only_when_every_task_was_claimed(q: Client) -> None:
    works = [f"work {number}" for number in range(50)]
    for work in works:
        q.push(work)
    for _ in works:
        something(q)

    nothing(q)


@pytest.mark.clause("DELIVER-7")
@pytest.mark.parametrize("work", [0, 0.0, "", False, None, [], {}], ids=repr)
def test_a_falsy_work_is_a_work(q: Client, work: Any) -> None:
    if push_unless_refused(q, work) is not None:
        q.ack(takes(q, work))

    nothing(q)


@pytest.mark.clause("DELIVER-8")
@pytest.mark.parametrize("kind", ["text", "list", "object", "name"])
def test_a_large_work_arrives_whole_or_is_refused(q: Client, kind: str) -> None:
    """Lists and objects have more parts than two bytes count."""
    numbers = [f"{number:07}" for number in range(1 + 2**20 // 8)]
    text = "\r\n".join(numbers)
    members = dict.fromkeys(numbers[: 1 + 2**16], 0)
    work = {"text": text, "list": numbers, "object": members, "name": {text: 0}}[kind]
    arrives_whole_or_is_refused(q, work)


@pytest.mark.clause("DELIVER-8")
@pytest.mark.parametrize("offset", range(3))
def test_a_large_work_of_long_characters_arrives_whole_or_is_refused(q: Client, offset: int) -> None:
    """Each character takes three bytes, so that pieces of it end within one, whatever stands before it."""
    arrives_whole_or_is_refused(q, "x" * offset + "漢" * (2**20 // 3))


def arrives_whole_or_is_refused(q: Client, work: Any) -> None:
    """The large work comes out as it went in, or is refused by name and not kept."""
    try:
        q.push(work)
    except Refused as refused:
        expect_named_error(q, refused.cause)
        nothing(q)
        return

    held = something(q)
    if work_text(held.work) != work_text(work):
        raise wrong(q, f"all {len(work_text(work)):,} characters, not {len(work_text(held.work)):,}")


@pytest.mark.clause("DELIVER-9")
def test_an_object_that_is_changed_after_its_push_is_not_changed_in_the_queue(q: Client) -> None:
    work = {"lines": [1]}
    q.push(work)
    work["lines"].append(2)
    q.subject.journal.note("2 is appended to the lines of the object that was pushed")

    takes(q, {"lines": [1]})


@pytest.mark.clause("DELIVER-9")
def test_an_object_that_was_handed_out_is_not_the_one_that_was_pushed(q: Client) -> None:
    work: dict[str, Any] = {"lines": [1]}
    q.push(work)
    something(q).work["lines"].append(2)
    q.subject.journal.note("2 is appended to the lines of the object that was handed out")

    expect(q, work == {"lines": [1]}, "a work of its own, not the object that was pushed")


@pytest.mark.clause("DELIVER-10")
def test_counts_and_listings_agree_with_what_was_pushed_and_acked(q: Client) -> None:
    agrees(q)
    q.push("a")
    q.push("b")
    agrees(q, ready=["a", "b"])
    held = something(q)
    other = "b" if held.work == "a" else "a"
    agrees(q, ready=[other], leased=[held.work])
    q.ack(held)
    agrees(q, ready=[other])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("not_before")
def test_counts_and_listings_tell_of_what_is_scheduled(q: Client) -> None:
    q.push("a")
    q.push("b", not_before=later(q))

    agrees(q, ready=["a"], scheduled=["b"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("dead_letter")
def test_counts_and_listings_tell_of_what_is_dead(q: Client) -> None:
    q.push("a")
    q.dead_letter(takes(q, "a"))
    q.push("b")

    agrees(q, ready=["b"], dead=["a"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("cancel")
def test_counts_and_listings_forget_what_was_cancelled(q: Client) -> None:
    id = require(q.push("a").id, "the id of what was pushed")
    q.push("b")
    q.cancel(id)

    agrees(q, ready=["b"])


@pytest.mark.clause("DELIVER-10")
@pytest.mark.needs("release")
def test_counts_and_listings_tell_of_what_was_released(q: Client) -> None:
    q.push("a")
    q.release(takes(q, "a"))

    agrees(q, ready=["a"])


def agrees(q: Client, **states: list[Any]) -> None:
    """The counts that the queue gives, and its listing, are of these works in these states.

    Works in states that the queue does not count need not be listed.
    """
    counts = q.count()
    if counts is None:
        raise wrong(q, "how many are scheduled, ready, leased and dead")
    for state, number in counts.items():
        if state in ("scheduled", "ready", "leased", "dead"):
            expect(q, number == len(states.get(state, [])), f"{len(states.get(state, []))} {state}")
    works = {state: Counter(map(work_text, each)) for state, each in states.items()}
    listed = Counter(work_text(getattr(task, "work", None)) for task in q.tasks())
    told = sum((each for state, each in works.items() if state in counts), Counter[str]())
    every = sum(works.values(), Counter[str]())
    named = ", ".join(sorted(told.elements())) or "none"
    expect(q, told <= listed <= every, f"the works {named}")
