"""Says which schedules come first, where there may be no time for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import TypeVar

from lowq_conformance.storm.cut_points import GOLDEN
from lowq_conformance.sweep.schedule import Point, Scene

Other = TypeVar("Other", Point, Point | None)
"""A point of the second call, or None where it does not stand still."""


def in_order(plan: dict[Scene, list[Point]]) -> Iterator[tuple[Scene, Point]]:
    """Every point of every scene: first those in the file of the client's own class, which say most to who wrote it,
    then those far apart in all scenes, and then those between them.

    So where time is short, each scene was looked at from end to end, if not everywhere.
    """
    done: set[tuple[Scene, Point]] = set()
    for scene, points in plan.items():
        for point in points:
            if not point.file:
                done.add((scene, point))
                yield scene, point
    most = max(map(len, plan.values()), default=0)
    step = 1 << max(0, most - 1).bit_length()
    while step:
        for scene, points in plan.items():
            for point in points[::step]:
                if (scene, point) not in done:
                    done.add((scene, point))
                    yield scene, point
        step //= 2


def in_turn(plan: Mapping[Scene, tuple[list[Point], list[Other]]]) -> Iterator[tuple[Scene, Point, Other]]:
    """Every two points of every scene, one scene after the other, and of each first those far apart."""
    walks = [_far_apart(scene, *points) for scene, points in plan.items() if all(points)]
    while walks:
        for walk in list(walks):
            if (found := next(walk, None)) is None:
                walks.remove(walk)
            else:
                yield found


def _far_apart(scene: Scene, firsts: list[Point], seconds: list[Other]) -> Iterator[tuple[Scene, Point, Other]]:
    many = len(firsts) * len(seconds)
    step = next(each for each in range(max(1, int(many * GOLDEN)), many + 2) if gcd(each, many) == 1)
    for number in range(many):
        first, second = divmod(number * step % many, len(seconds))
        yield scene, firsts[first], seconds[second]
