"""Programs as a person would type them."""

from __future__ import annotations

from lowq_conformance.subject.program import ProgramCall, format_program


def test_a_call_that_was_made_again_and_again_is_told_once() -> None:
    calls = [
        ProgramCall("q = open(place)", ""),
        *[ProgramCall("q.claim()", "None") for _ in range(40)],
        ProgramCall("q.claim()", "None", "1"),
    ]

    assert format_program(calls).splitlines() == [
        "q = open(place)",
        "q.claim()        # None, 40 times",
        "q.claim()        # None, expected 1",
    ]


def test_calls_that_answer_nothing_are_counted() -> None:
    assert format_program([ProgramCall("q.push(1)", ""), ProgramCall("q.push(1)", "")]) == "q.push(1)  # 2 times"


def test_a_call_that_did_not_return_says_so() -> None:
    assert format_program([ProgramCall("q.claim()")]) == "q.claim()  # did not return"
