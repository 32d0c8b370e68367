"""The order in which the points of calls are interrupted where there is no time for all.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import zip_longest
from random import Random
from typing import Any, TypeVar

EVENLY = 6
"""Points of each verb that come first, and are met however long it takes: they lie evenly over the call, so that a
state which lasts for a quarter of it is met for sure, and by no luck."""

T = TypeVar("T")

Point = list[Any]
Cut = tuple[str, Point | None, float | None]
"""A verb, and at which point it is interrupted, or by an alarm after how many seconds."""
GOLDEN = (5**0.5 - 1) / 2


def in_order(calls: Sequence[Sequence[Cut]], random: Random) -> list[Cut]:
    """The points of these calls: first some of each in turn, which lie evenly over it; then each line that was not
    met yet; then the other times that a line is come to."""
    first: list[Cut] = []
    lines: list[Cut] = []
    again: list[Cut] = []
    spread = [evenly(cuts, random) for cuts in calls]
    for some in zip_longest(*[cuts[:EVENLY] for cuts in spread]):
        first += [cut for cut in some if cut is not None]
    seen = {_line(cut) for cut in first}
    for cut in [cut for cuts in spread for cut in cuts[EVENLY:]]:
        (again if _line(cut) in seen else lines).append(cut)
        seen.add(_line(cut))
    random.shuffle(lines)
    random.shuffle(again)
    return [*first, *lines, *again]


def evenly(points: Sequence[T], random: Random) -> list[T]:
    """All of them, in an order of which any beginning lies evenly over the call, from a place that is drawn: each
    step is the golden section of the whole, after which one of the widest gaps is met next."""
    left, at, found = list(range(len(points))), random.random(), list[T]()
    while left:
        index = bisect_left(left, int(at * len(points)))
        found.append(points[left.pop(index if index < len(left) else -1)])
        at = (at + GOLDEN) % 1
    return found


def _line(cut: Cut) -> tuple[Any, ...]:
    verb, point, alarm = cut
    return (verb, alarm) if point is None else (verb, *point[:3])
