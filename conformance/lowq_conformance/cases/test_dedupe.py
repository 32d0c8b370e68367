"""DEDUPE: an equal work is refused while one stands; `until_done` and `until_claimed` say for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import (
    claim,
    expect_named_error,
    forgets,
    gives,
    gives_all,
    nothing,
    push_unless_refused,
    require,
    says_added,
    something,
    takes,
    wrong,
)
from lowq_conformance.cases.timing import fall_due, later, not_yet, run_out
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.client import Client, Held

SAME_CHECKSUM = ("plumless", "buckeroo", "beb", "ccc", "Aa", "BB")
"""Pairs of the same CRC-32, the same Adler-32, and the same hash in Java, whatever stands before and behind them."""

UNUSUAL_KEYS = {
    "composed and decomposed": ("\u00e9", "e\u0301"),
    "a tab behind": ("ab", "ab\t"),
    "1,100 characters": ("x" * 1100, "x" * 1099 + "y"),
    "3,900 characters": ("x" * 3900, "x" * 3899 + "y"),
}
"""Keys that differ, such as a queue may refuse by name."""


def require_added(q: Client, answer: Answer) -> None:
    """The push did not say that it was refused."""
    if answer.added is False:
        raise wrong(q, "added")


def require_refused(q: Client, answer: Answer) -> None:
    """The push did not say that it added."""
    if answer.added is True:
        raise wrong(q, "not added")


def by_work(q: Client) -> None:
    """Raise NotPromised where works are equal under equal keys only."""
    if q.subject.traits.dedupe_by == "key":
        raise NotPromised("only a key makes works equal")


@pytest.mark.clause("DEDUPE-1")
def test_an_equal_work_is_not_added_again(q: Client, other: Client) -> None:
    q.push("a")
    q.push("a")
    other.push("a")

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-1")
def test_a_push_says_whether_it_added(q: Client, other: Client) -> None:
    says_added(q, q.push("a").added, True)
    says_added(q, q.push("a").added, False)
    says_added(other, other.push("a").added, False)


@pytest.mark.clause("DEDUPE-1")
def test_a_refused_push_names_the_task_that_stands(q: Client) -> None:
    first = require(q.push("a").id, "the id of what was pushed")
    again = require(q.push("a").id, "the id of what stands")

    if again != first:
        raise wrong(q, f"the id {first!r} of the task that stands")


@pytest.mark.clause("DEDUPE-2")
@pytest.mark.parametrize(
    ("one", "same"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([{"x": {"c": [], "d": None}}], [{"x": {"d": None, "c": []}}]),
        ("é", "\u00e9"),
    ],
    ids=["keys", "nested keys", "spelling"],
)
def test_equal_values_are_equal_works(q: Client, one: Any, same: Any) -> None:
    by_work(q)
    require_added(q, q.push(one))
    require_refused(q, q.push(same))

    gives_all(q, one)


@pytest.mark.clause("DEDUPE-3")
@pytest.mark.parametrize(
    "works",
    [
        [1, "1", True, 1.0, [1], "true", "1.0"],
        [0, False, 0.0, "", [], {}, [None], ["null"], "null", "0"],  # null itself is DELIVER-7
        ["\u00e9", "e\u0301"],
        ["a", "A", "a ", " a", "ä", "a\x00", "a\x00b"],
        ["x" * 300 + "1", "x" * 300 + "2"],
        ["x" * 5000 + "1", "x" * 5000 + "2"],
        ["a b", "ab", ["a", "b"], ["b", "a"], ["a b"]],
        [{"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": None}, {"A": 1}, {"a": 1, "b": None}],
        [{"\u00e9": 1}, {"e\u0301": 1}, {"a": 1}, {" a": 1}, {"a ": 1}, {"": 1}],
        ["ab", "a*", "a%", "a_", "a?", "a.", "x*", "x%", "x_", "x?", "x.", "xy"],
        [2**53, 2**53 + 1, float(2**53)],
        [*SAME_CHECKSUM, -1, -2],  # which have the same hash in Python
    ],
    ids="one nothing accents letters long longer spaces objects names patterns numbers checksums".split(),
)
def test_different_works_are_not_merged(q: Client, works: list[Any]) -> None:
    kept = []
    for work in works:
        answer = push_unless_refused(q, work)
        if answer is not None:
            require_added(q, answer)
            kept.append(work)

    gives_all(q, *kept)


@pytest.mark.clause("DEDUPE-3")
def test_a_work_is_not_taken_for_another_one_that_was_done(q: Client) -> None:
    for work in [1, "1", True, "a", "A", "ab", ["a", "b"], {"a": 1}, {"a": 2}, *SAME_CHECKSUM]:
        require_added(q, q.push(work))
        gives(q, work)

    nothing(q)


@pytest.mark.clause("DEDUPE-4")
def test_works_under_one_key_are_equal(q: Client) -> None:
    require_added(q, q.push("a", key="k"))
    require_refused(q, q.push("b", key="k"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-4")
def test_equal_works_under_two_keys_are_different(q: Client) -> None:
    require_added(q, q.push("a", key="k"))
    require_added(q, q.push("a", key="l"))
    require_added(q, q.push("a"))

    gives_all(q, "a", "a", "a")


@pytest.mark.clause("DEDUPE-4")
@pytest.mark.parametrize(("key", "work"), [("1", 1), ('"a"', "a"), ("a", "a"), ("null", None), ('{"a":1}', {"a": 1})])
def test_a_key_never_meets_the_work_whose_text_it_is(q: Client, key: str, work: Any) -> None:
    by_work(q)
    answer = push_unless_refused(q, work)
    if answer is not None:
        require_added(q, answer)
    require_added(q, q.push("under a key", key=key))

    gives_all(q, *([] if answer is None else [work]), "under a key")


@pytest.mark.clause("DEDUPE-4")
def test_where_only_keys_decide_works_without_one_are_all_kept(q: Client) -> None:
    if q.subject.traits.dedupe_by == "work":
        raise NotPromised("a work without a key is equal to itself")
    require_added(q, q.push("a", keyless=True))
    require_added(q, q.push("a", keyless=True))

    gives_all(q, "a", "a")


@pytest.mark.clause("DEDUPE-4")
def test_the_empty_key_is_a_key(q: Client) -> None:
    try:
        answer = q.push("a", key="")
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
        return  # or it is none, and says so
    require_added(q, answer)
    require_refused(q, q.push("b", key=""))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-4")
def test_keys_are_compared_as_they_are(q: Client, other: Client) -> None:
    keys = [
        "ab",
        "ab\u2028",
        "ab\u2028c",
        "a*",
        "a%",
        "a_",
        "AB",
        "ab ",
        "a.",
        "x" * 300 + "1",
        "x" * 300 + "2",
        *SAME_CHECKSUM,
    ]
    keys += [" ab", "1", "01", "1.0", "1e0", "+1"]
    for key in keys:
        require_added(q, q.push(f"under {key}", key=key))

    gives_all(other, *(f"under {key}" for key in keys))


@pytest.mark.clause("DEDUPE-4")
@pytest.mark.parametrize("pair", UNUSUAL_KEYS.values(), ids=list(UNUSUAL_KEYS))
def test_unusual_keys_are_compared_as_they_are_or_are_refused(q: Client, pair: tuple[str, str]) -> None:
    for key, work in zip(pair, ("a", "b"), strict=True):
        try:
            answer = q.push(work, key=key)
        except Refused as refusal:
            expect_named_error(q, refusal.cause)
            raise NotPromised("such a key is refused") from refusal
        require_added(q, answer)

    gives_all(q, "a", "b")


@pytest.mark.clause("DEDUPE-5")
def test_after_ack_the_work_may_be_pushed_again(q: Client) -> None:
    forgets(q, "done")
    for _ in range(3):
        require_added(q, q.push("a"))
        gives(q, "a")

    nothing(q)


@pytest.mark.clause("DEDUPE-6")
def test_while_a_task_runs_the_declared_window_holds(q: Client, other: Client) -> None:
    q.push("a")
    held = takes(q, "a")

    if q.subject.traits.dedupe == "until_done":
        require_refused(other, other.push("a"))
        q.ack(held)
        nothing(q)
    else:
        require_added(other, other.push("a"))
        require_refused(q, q.push("a"))
        q.ack(held)
        gives_all(q, "a")


@pytest.mark.clause("DEDUPE-7")
@pytest.mark.needs("dead_letter")
def test_after_dead_letter_the_work_may_be_pushed_again(q: Client) -> None:
    forgets(q, "dead")
    q.push("a")
    q.dead_letter(takes(q, "a"))
    require_added(q, q.push("a"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-7")
@pytest.mark.needs("cancel")
def test_after_cancel_the_work_may_be_pushed_again(q: Client) -> None:
    forgets(q, "cancelled")
    q.cancel(require(q.push("a").id, "the id of what was pushed"))
    require_added(q, q.push("a"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-8")
@pytest.mark.needs("fifo")
def test_a_refused_duplicate_does_not_move_the_standing_task(q: Client) -> None:
    q.push("a")
    q.push("b")
    q.push("a")

    gives(q, "a", "b")


@pytest.mark.clause("DEDUPE-8")
@pytest.mark.needs("priority")
def test_a_refused_duplicate_does_not_change_the_priority(q: Client) -> None:
    q.push("a", priority=1)
    q.push("b", priority=3)
    q.push("c", priority=2)
    q.push("a", priority=4)
    q.push("b", priority=1)

    gives(q, "b", "c", "a")


@pytest.mark.clause("DEDUPE-8")
@pytest.mark.needs("not_before")
def test_a_refused_duplicate_does_not_postpone(q: Client) -> None:
    q.push("a")
    q.push("a", not_before=later(q))

    gives(q, "a")


@pytest.mark.clause("DEDUPE-8")
@pytest.mark.needs("not_before")
def test_a_refused_duplicate_does_not_bring_forward(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)
    q.push("a")
    not_yet(q, due)
    fall_due(q, due)

    gives(q, "a")


@pytest.mark.clause("DEDUPE-8")
@pytest.mark.needs("key")
def test_a_refused_duplicate_does_not_replace_the_work(q: Client) -> None:
    q.push("a", key="k")
    q.push("b", key="k")

    gives(q, "a")


@pytest.mark.clause("DEDUPE-10")
def test_equal_works_are_refused_after_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    q.push("a")
    q = reopened(q)
    require_refused(q, q.push("a"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-11")
def test_of_equal_works_in_a_batch_one_is_added(q: Client) -> None:
    answers = q.push_many([Item("a"), Item("b"), Item("a")])
    if answers is not None and [answer.added for answer in answers] not in ([True, True, False], [None] * 3):
        raise wrong(q, "[True, True, False]")

    gives_all(q, "a", "b")


@pytest.mark.clause("DEDUPE-11")
def test_a_batch_does_not_add_what_stands(q: Client) -> None:
    q.push("a")
    q.push_many([Item("a"), Item("b")])

    gives_all(q, "a", "b")


@pytest.mark.clause("DEDUPE-11")
@pytest.mark.needs("key")
def test_of_equals_in_a_batch_the_first_is_added(q: Client) -> None:
    q.push_many([Item("first", key="k"), Item("second", key="k")])

    gives_all(q, "first")


@pytest.mark.clause("DEDUPE-12")
@pytest.mark.needs("lease")
def test_a_task_whose_lease_ran_out_still_stands(q: Client) -> None:
    lease = q.subject.short_lease
    q.push("a")
    takes(q, "a", lease_for=lease)
    run_out(q, lease)
    require_refused(q, q.push("a"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-12")
@pytest.mark.needs("release")
def test_a_released_task_still_stands(q: Client) -> None:
    q.push("a")
    q.release(takes(q, "a"))
    require_refused(q, q.push("a"))

    gives_all(q, "a")


@pytest.mark.clause("DEDUPE-12")
@pytest.mark.needs("release")
def test_a_task_released_beside_a_waiting_equal_is_kept(q: Client) -> None:
    q.push("a")
    held = takes(q, "a")
    q.push("a")
    q.release(held)
    waiting: list[Held] = []
    for _ in range(2 if q.subject.traits.dedupe == "until_claimed" else 1):
        waiting.append(something(q))
    for each in waiting:
        q.ack(each)

    if claim(q) is not None:
        raise wrong(q, "None")
