"""Faults that are known: what they make of a verdict, and what is said of a wrong statement before anything runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.known import Fault, read_known, read_options, spell
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.subject.loading import load

HARNESSES = Path(__file__).parent.with_name("harnesses.py")
URL = "https://example.org/issues/167"
KEPT, BROKEN, NOT_PROMISED, NOT_OBSERVED, KNOWN, MENDED = Verdict


@pytest.mark.parametrize(
    ("seen", "known", "sometimes"),
    [
        (BROKEN, KNOWN, KNOWN),
        (KEPT, MENDED, KEPT),
        (NOT_OBSERVED, NOT_OBSERVED, NOT_OBSERVED),
        (NOT_PROMISED, NOT_PROMISED, NOT_PROMISED),
    ],
)
def test_a_known_fault_excuses_what_is_broken_and_nothing_else(
    seen: Verdict, known: Verdict, sometimes: Verdict
) -> None:
    assert Fault(URL).judge(seen) is known
    assert Fault(URL, sometimes=True).judge(seen) is sometimes


def test_what_was_looked_at_in_part_does_not_say_that_a_fault_is_gone() -> None:
    assert Fault(URL).judge(KEPT, in_part=True) is KEPT
    assert Fault(URL).judge(BROKEN, in_part=True) is KNOWN


@pytest.mark.parametrize(
    ("harness", "says"),
    [
        ("UnknownKnown", "known: there is no clause 'ODER-1', did you mean 'ORDER-1'?"),
        ("KnownSet", 'known: expected a mapping such as {"RACE-1": "https://…"}, got set'),
        ("KnownNumber", "known: ORDER-1: expected where the fault is written down, in one line, got 167"),
        ("KnownTwice", "ORDER-1 is said to be known and to show sometimes; it is in one of the two only"),
        ("MisspeltKnown", "unknown statement 'knowns', did you mean 'known'?"),
    ],
)
def test_a_wrong_statement_is_a_broken_harness(harness: str, says: str) -> None:
    with pytest.raises(BrokenHarness) as caught:
        load(f"{HARNESSES}:{harness}")

    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_of_a_clause_without_a_check_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLAUSES, "KEEP-1", replace(CLAUSES["KEEP-1"], checked=False))

    with pytest.raises(BrokenHarness, match="KEEP-1 is not checked by this version, so that nothing of it can be"):
        read_known({"KEEP-1": URL}, {}, "mine.py")


@pytest.mark.parametrize("link", ["", " ", "two\nlines", None, b"https://example.org"])
def test_where_a_fault_is_written_down_is_one_line_of_text(link: object) -> None:
    with pytest.raises(BrokenHarness, match="ORDER-1: expected where the fault is written down"):
        read_known({"ORDER-1": link}, {}, "mine.py")


@pytest.mark.parametrize(
    ("known", "sometimes", "says"),
    [
        (["ORDER-1"], [], "--known: expected CLAUSE=URL, such as RACE-1=https://…, got 'ORDER-1'"),
        (["ORDER-1="], [], "the command line: known: ORDER-1: expected where the fault is written down"),
        ([], ["ORDER-99=x"], "--sometimes: there is no clause 'ORDER-99'"),
        (["ORDER-1=x", "ORDER-1=y"], [], "--known: ORDER-1 is said twice"),
        (["ORDER-1=x"], ["ORDER-1=x"], "ORDER-1 is said to be known and to show sometimes"),
        (["ORDER=x"], [], "--known: there is no clause 'ORDER'"),
    ],
)
def test_a_wrong_option_is_told(known: list[str], sometimes: list[str], says: str) -> None:
    with pytest.raises(BrokenHarness) as caught:
        read_options(known, sometimes)

    assert says in str(caught.value)


def test_options_are_read_as_they_are_spelt() -> None:
    faults = read_options([f"order-1={URL}?a=b"], ["RACE-1=a race"])

    assert faults == {"ORDER-1": Fault(f"{URL}?a=b"), "RACE-1": Fault("a race", sometimes=True)}
    assert spell(faults) == [("known", f"ORDER-1={URL}?a=b"), ("sometimes", "RACE-1=a race")]
