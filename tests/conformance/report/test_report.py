"""Verdicts and the report: what is said of a clause and of the whole, and what is said aloud of neither."""

from __future__ import annotations

import io

import pytest
from lowq_conformance.contract.verdict import Verdict, of_sides
from lowq_conformance.report.report import ranges, show, worst
from lowq_conformance.report.tally import Tally
from rich.console import Console

KEPT, BROKEN, NOT_PROMISED, NOT_OBSERVED = Verdict


def a_run(*sides: tuple[str, str, str], lacks: str | None = None, unfinished: bool = False) -> Tally:
    run = Tally("module:Queue", 7, frozenset({"ORDER-1"}), (), {"ORDER-1": lacks} if lacks else {})
    if unfinished:
        run.planned["another test"] = ("ORDER-1",)
    for number, side in enumerate(sides):
        run.saw(f"test {number}", [side])
    return run


@pytest.mark.parametrize(
    ("sides", "verdict"),
    [
        ([KEPT, KEPT], KEPT),
        ([KEPT, BROKEN, NOT_OBSERVED], BROKEN),
        ([KEPT, NOT_OBSERVED], NOT_OBSERVED),
        ([KEPT, NOT_PROMISED], KEPT),
        ([NOT_PROMISED], NOT_PROMISED),
        ([], NOT_OBSERVED),
    ],
)
def test_the_verdict_of_a_clause_is_that_of_its_worst_side(sides: list[Verdict], verdict: Verdict) -> None:
    assert of_sides(sides) is verdict


def test_a_promised_clause_that_no_test_came_to_see_is_never_kept() -> None:
    report = a_run().report()

    assert report["ORDER-1"].verdict is NOT_OBSERVED
    assert (report.verdict, report.exit_code) == ("incomplete", 3)


def test_a_clause_of_which_a_test_did_not_end_is_not_kept() -> None:
    assert a_run(("ORDER-1", "kept", ""), unfinished=True).report()["ORDER-1"].verdict is NOT_OBSERVED


def test_a_clause_that_takes_what_was_not_promised_says_what() -> None:
    clause = a_run(lacks="fifo").report()["ORDER-1"]

    assert (clause.verdict, clause.evidence) == (NOT_PROMISED, "needs fifo")


def test_of_two_runs_that_break_a_clause_the_shorter_is_shown() -> None:
    run = a_run(("ORDER-1", "broken", "a long program"), ("ORDER-1", "broken", "short"))

    assert run.report()["ORDER-1"].evidence == "short"


def test_broken_counts_before_incomplete_before_kept() -> None:
    kept, broken = a_run(("ORDER-1", "kept", "")).report(), a_run(("ORDER-1", "broken", "x")).report()
    unseen = a_run().report()

    assert worst([kept]) == 0
    assert worst([kept, unseen]) == 3
    assert worst([unseen, broken, kept]) == 1


def test_a_broken_clause_is_shown_with_its_words_its_program_and_how_to_run_it_again() -> None:
    out = io.StringIO()
    show([a_run(("ORDER-1", "broken", "q.claim()  # 'b', expected 'a'")).report()], Console(file=out, width=120))

    assert "ORDER-1: First in, first out for one client" in out.getvalue()
    assert "    q.claim()  # 'b', expected 'a'" in out.getvalue()
    assert "again: lowq check module:Queue --only ORDER-1 --seed 7" in out.getvalue()


def test_clauses_that_are_not_checked_are_named_in_short() -> None:
    assert ranges(["DELIVER-6", "RACE-1", "RACE-2", "RACE-3", "CRASH-1"]) == "DELIVER-6, RACE-1 to 3, CRASH-1"
