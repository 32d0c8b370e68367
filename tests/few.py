"""Storms of few calls over a queue, for tests that look at what a storm finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path

from lowq_conformance.contract.profile import DEFAULT, Deaths
from lowq_conformance.storm.storms import Storms
from lowq_conformance.subject.loading import load

FEW = replace(
    DEFAULT,
    rounds=24,
    closing=8,
    seconds=inf,
    serial=inf,
    again=0,
    deaths=Deaths(push=2, key=1, batch=1, claim=1, ack=1, release=1, change=2, after=2, anywhere=3),
)
"""Enough to accuse a queue of what sound ones were once accused of, and few enough for every day."""

Made = Callable[..., Storms]
"""Makes the storms over a target, with a seed."""


@contextmanager
def few_storms(folder: Path) -> Iterator[Made]:
    """Storms may be made in the block, in that folder."""
    folders = (folder / f"{number}" for number in range(1000))
    made: list[Storms] = []

    def make(target: str, seed: int = 1) -> Storms:
        made.append(Storms(load(target), seed, lambda: next(folders), FEW))
        return made[-1]

    yield make
    for each in made:
        each.close()
