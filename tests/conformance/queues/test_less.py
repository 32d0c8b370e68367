"""Sound queues that lack something that others have are accused of nothing: the cheapest part of the matrix of less.

`python -m bench.power --less --pairs` looks at every queue without each thing and each pair of things. Here a few
queues lack so much at a time that each pair is missing in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import QUICK
from lowq_conformance.contract.promises import PROMISES, BrokenHarness
from lowq_conformance.contract.verdict import Verdict
from lowq_conformance.queues.sound import less
from lowq_conformance.run.runner import run
from lowq_conformance.subject.loading import load

SLOW = ("clock",)
"""Without these time really passes; one test looks at them."""
ONE_CLIENT = [id for id, clause in CLAUSES.items() if clause.group not in ("RACE", "CRASH", "WORKER")]
WORDS = [word for word in less.words_of(less.Memory) if word not in SLOW]


def covering(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Few groups of words, each pair together in one of them: by each digit of their numbers, and what is left."""
    left = set(combinations(words, 2))
    for digit in range(len(words).bit_length()):
        for value in (0, 1):
            group = tuple(word for number, word in enumerate(words) if number >> digit & 1 == value)
            left -= set(combinations(group, 2))
            yield group
    rest = {word for pair in left for word in pair}
    if rest:
        yield tuple(word for word in words if word in rest)


GROUPS = list(covering(WORDS))


def accusations(target: str, *only: str) -> dict[str, str]:
    (report,) = run([target], only=only, seed=1, profile=QUICK)
    return {clause.id: clause.evidence for clause in report.clauses if clause.verdict == Verdict.BROKEN}


def test_each_pair_of_things_is_missing_somewhere() -> None:
    missing = {pair for group in GROUPS for pair in combinations(group, 2)}

    assert missing == set(combinations(WORDS, 2))
    assert len(GROUPS) < 15


@pytest.mark.parametrize("lacks", GROUPS, ids=lambda lacks: f"{len(lacks)} of them, as {lacks[0]}")
def test_a_queue_that_lacks_much_is_accused_of_nothing(lacks: tuple[str, ...]) -> None:
    assert accusations(less.lacking(less.Memory, lacks), *ONE_CLIENT) == {}


@pytest.mark.parametrize("word", ["shared_lease", "lease", "ids"])
def test_a_queue_that_lacks_something_is_accused_of_nothing_where_clients_meet_and_die(word: str) -> None:
    assert accusations(less.lacking(less.Journal, [word]), "RACE", "CRASH", "DEDUPE-9", "LEASE-12", "ORDER-2") == {}


def test_a_queue_whose_time_really_passes_is_accused_of_nothing() -> None:
    assert accusations(less.lacking(less.Journal, ["clock"]), "DUE", "LEASE", "RELEASE") == {}


@pytest.mark.parametrize("queue", less.QUEUES)
def test_what_a_queue_lacks_it_does_not_promise(queue: type[less.Less]) -> None:
    for word in less.words_of(queue):
        promises = load(less.lacking(queue, [word])).promises

        assert word not in promises
        assert promises == {each for each in promises if set(PROMISES[each].needs) <= promises}


def test_an_unknown_word_is_no_queue() -> None:
    with pytest.raises(BrokenHarness, match=r"has no SQLite\.nonsense"):
        load(less.lacking(less.SQLite, ["nonsense"]))
