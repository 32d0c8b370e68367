"""The verdict of a clause, and of a queue."""

from __future__ import annotations

import pytest
from lowq_conformance.contract.verdict import Verdict, of_clauses, of_sides

KEPT, BROKEN, NOT_PROMISED, NOT_OBSERVED, KNOWN, MENDED = Verdict


@pytest.mark.parametrize(
    ("clauses", "whole"),
    [
        ([KEPT, NOT_PROMISED], "kept"),
        ([KEPT, BROKEN, NOT_OBSERVED], "broken"),
        ([KEPT, NOT_OBSERVED], "incomplete"),
        ([NOT_PROMISED], "incomplete"),
        ([], "incomplete"),
    ],
)
def test_a_queue_is_kept_when_something_was_kept_and_nothing_else_was_promised(
    clauses: list[Verdict], whole: str
) -> None:
    assert of_clauses(clauses) == whole


@pytest.mark.parametrize(
    ("sides", "clause"),
    [
        ([KEPT, BROKEN], BROKEN),
        ([KEPT, NOT_OBSERVED], NOT_OBSERVED),
        ([KEPT, NOT_PROMISED], KEPT),
        ([NOT_PROMISED], NOT_PROMISED),
        ([], NOT_OBSERVED),
    ],
)
def test_a_clause_is_kept_when_every_promised_side_is(sides: list[Verdict], clause: Verdict) -> None:
    assert of_sides(sides) == clause
