"""How figures are taken: interleaved, paired round by round, and told as medians."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(slots=True)
class Figures:
    """What was measured of each subject, one number a round; None: the subject has no such thing."""

    title: str
    unit: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, subject: str, value: float) -> None:
        self.samples.setdefault(subject, []).append(value)

    def median(self, subject: str) -> float:
        return median(self.samples[subject])

    def speed(self, subject: str, base: str) -> float:
        """How fast the subject is beside the base: the median over the rounds of base / subject."""
        return median(b / s for s, b in zip(self.samples[subject], self.samples[base], strict=True))


def interleaved(subjects: Sequence[str], rounds: int) -> Iterator[str]:
    """Each subject once a round, each round beginning with another."""
    for round in range(rounds):
        turn = round % len(subjects)
        yield from (*subjects[turn:], *subjects[:turn])


@contextmanager
def folder(within: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(dir=within))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
