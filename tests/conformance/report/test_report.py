"""Verdicts and the report: what is said of a clause and of the whole, and what is said aloud of neither."""

from __future__ import annotations

import io

import pytest
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.known import Fault
from lowq_conformance.contract.verdict import Verdict, of_sides
from lowq_conformance.report.report import ranges, show, worst
from lowq_conformance.report.tally import Tally
from rich.console import Console

KEPT, BROKEN, NOT_PROMISED, NOT_OBSERVED, KNOWN, MENDED = Verdict
URL = "https://example.org/issues/167"


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


def test_what_is_not_known_is_shown_first_then_what_is_known_then_every_clause() -> None:
    out, report = io.StringIO(), three_clauses().report()

    show([report], Console(file=out, width=120))

    told = out.getvalue()
    places = [told.index(part) for part in ("✗ ORDER-2: ", "~ ORDER-1: ", f"known: {URL}", "clause ", "ORDER-3 ")]
    assert places == sorted(places)
    assert (report.verdict, report.exit_code) == ("broken", 1)
    assert report.counts() == "1 broken, 1 not promised, 1 known"


def test_what_is_not_promised_can_be_hidden() -> None:
    out = io.StringIO()

    show([three_clauses().report()], Console(file=out, width=120), hide_not_promised=True)

    assert "ORDER-3" not in out.getvalue()
    assert "Not promised, and hidden: 1 clause." in out.getvalue()
    assert "1 not promised" in out.getvalue()


def test_one_schedule_does_not_say_that_a_known_fault_is_gone() -> None:
    run = a_run(("ORDER-1", "kept", ""))
    run.known = {"ORDER-1": Fault(URL)}

    assert run.report()["ORDER-1"].verdict is MENDED
    run.schedule = "claim@3,claim"
    assert run.report()["ORDER-1"].verdict is KEPT


def test_the_command_for_a_fault_that_was_stated_states_it_again() -> None:
    run = a_run(("ORDER-1", "broken", "x"))
    run.stated = {"ORDER-1": Fault(URL, sometimes=True)}

    assert run.report()["ORDER-1"].rerun == (
        f"lowq check module:Queue --only ORDER-1 --seed 7 --sometimes ORDER-1={URL}"
    )


@pytest.mark.parametrize(
    ("operations", "kills", "one_in"), [(1842, 0, 400), (5000, 36, 8), (0, 0, None), (3, 0, None)]
)
def test_how_rare_a_fault_would_have_been_met(operations: int, kills: int, one_in: int | None) -> None:
    effort = Effort("proved", operations, 1, kills, 1.0)

    assert effort.one_in == one_in
    assert ("would have been met with 99 %" in effort.would_have_met) == (one_in is not None)


def three_clauses() -> Tally:
    """A known fault, one that is not, and a clause that is not promised."""
    run = Tally("module:Queue", 7, frozenset({"ORDER-1", "ORDER-2", "ORDER-3"}), (), {"ORDER-3": "priority"})
    run.known = {"ORDER-1": Fault(URL)}
    run.saw("test 1", [("ORDER-1", "broken", "q.claim()  # 'b', expected 'a'"), ("ORDER-2", "broken", "q.push()")])
    return run


def test_clauses_that_are_not_checked_are_named_in_short() -> None:
    assert ranges(["DELIVER-6", "RACE-1", "RACE-2", "RACE-3", "CRASH-1"]) == "DELIVER-6, RACE-1 to 3, CRASH-1"


def test_a_run_never_counts_more_as_broken_than_its_report_tells() -> None:
    run = Tally("module:Queue", 7, frozenset({"ORDER-1"}), ())
    run.saw("judged", [("ORDER-1", "kept", ""), ("LEASE-1", "broken", "what nobody asked for")])

    assert run.find_unknown() == frozenset()
    run.saw("other", [("ORDER-1", "broken", "q.claim()")])
    assert run.find_unknown() == {each.id for each in run.report().clauses if each.verdict == "broken"} == {"ORDER-1"}
