"""Whole programs of several clients: every answer must be one that the sequential model has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowq_conformance.cases.explore import explore
from lowq_conformance.contract.outcomes import Broken
from lowq_conformance.contract.profile import Profile
from lowq_conformance.subject.subject import Subject


@pytest.mark.judges(
    *(f"DELIVER-{number}" for number in (1, 2, 3, 4, 6, 10)),
    *(f"DEDUPE-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12)),
    *(f"ORDER-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 10)),
    *(f"DUE-{number}" for number in (1, 2, 4, 5)),
    *(f"LEASE-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13)),
    *("RELEASE-1", "RELEASE-2", "RELEASE-3", "DEAD-1", "DEAD-2", "DEAD-3", "CANCEL-1", "CANCEL-2", "CANCEL-3"),
    *("BATCH-1", "KEEP-1", "INPUT-1"),
)
def test_programs_of_several_clients_get_the_answers_of_the_model(
    subject: Subject, place: Path, seed: int, profile: Profile
) -> None:
    found = explore(
        subject,
        place,
        seed,
        seconds=profile.exploring,
        shrinking=profile.shrinking,
        examples=profile.programs,
    )

    if found is not None:
        raise Broken(found.said, clause=found.clause, program=found.program)
