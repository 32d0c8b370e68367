"""DEDUPE: many different works and keys, of which two meet where only a short hash of each is kept."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import pytest

from lowq import Item
from lowq_conformance.cases.expect import wrong
from lowq_conformance.cases.many import BRIEF, in_time, push_together
from lowq_conformance.cases.test_dedupe import require_added
from lowq_conformance.contract.outcomes import NotPromised
from lowq_conformance.subject.answers import Answer
from lowq_conformance.subject.client import Client

MANY = 3000
"""Of so many different works two are equal, all but surely, to whoever keeps 20 bits of each only."""


@pytest.mark.clause("DEDUPE-3")
def test_none_of_many_different_works_is_taken_for_another(scout: Client, q: Client) -> None:
    works = make_varied(scout)
    answers = push_together(scout, [Item(work) for work in works])
    if answers is None:
        answers = [scout.push(work) for work in in_time(works, BRIEF)]

    if (merged := find_merged(works, answers)) is not None:
        for work in merged:
            require_added(q, q.push(work))
        raise wrong(scout, f"all to be added: nothing equals {merged[-1]!r}")


@pytest.mark.clause("DEDUPE-4")
def test_none_of_many_different_keys_is_taken_for_another(scout: Client, q: Client) -> None:
    keys = make_varied(scout)
    answers = push_together(scout, [Item("a", key=key) for key in keys])
    if answers is None:
        answers = [scout.push("a", key=key) for key in in_time(keys, BRIEF)]

    if (merged := find_merged(keys, answers)) is not None:
        for key in merged:
            require_added(q, q.push("a", key=key))
        raise wrong(scout, f"all to be added: no other key is {merged[-1]!r}")


def make_varied(q: Client) -> list[str]:
    """Many texts that have little in common, or as many as there is room for."""
    many = min(MANY, q.subject.traits.room or MANY)
    return [sha256(str(number).encode()).hexdigest()[:24] for number in range(many)]


def find_merged(texts: Sequence[str], answers: Sequence[Answer]) -> list[str] | None:
    """The first text that was refused, and before it the one whose task stands for it, where the ids tell that; None
    where all were added. Raises NotPromised where no push says anything."""
    if all(answer.added is None for answer in answers):
        raise NotPromised("push does not say whether it added")
    for text, answer in zip(texts, answers, strict=False):
        if answer.added is False:
            ids = [each.id for each in answers]
            return [texts[ids.index(answer.id)], text]
    return None
