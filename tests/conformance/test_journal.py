"""Programs as a person would type them."""

from __future__ import annotations

from lowq_conformance.subject.program import Call, written


def test_a_call_that_was_made_again_and_again_is_told_once() -> None:
    calls = [
        Call("q = open(place)", ""),
        *[Call("q.claim()", "None") for _ in range(40)],
        Call("q.claim()", "None", "1"),
    ]

    assert written(calls).splitlines() == [
        "q = open(place)",
        "q.claim()        # None, 40 times",
        "q.claim()        # None, expected 1",
    ]


def test_calls_that_answer_nothing_are_counted_too() -> None:
    assert written([Call("q.push(1)", ""), Call("q.push(1)", "")]) == "q.push(1)  # 2 times"


def test_a_call_that_did_not_return_says_so() -> None:
    assert written([Call("q.claim()")]) == "q.claim()  # did not return"
