"""Makes schedules beyond one pre-emption of two new clients: after many tasks, with two of them, of three clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from lowq_conformance.contract.profile import Profile
from lowq_conformance.sweep.accusations import Accusations
from lowq_conformance.sweep.rehearsal import Line, Rare, Rehearsal
from lowq_conformance.sweep.scenes import calls_before, clauses_about, threes_of, worn_scenes_of
from lowq_conformance.sweep.schedule import Point, Scene, Schedule
from lowq_conformance.sweep.swept import Swept
from lowq_conformance.sweep.turns import in_order, in_turn

BEFORE = 3
"""By how many tasks more or fewer than expected it may be that a call does what it does now and then only."""


class DeeperSweep:
    """The schedules of one queue that are made when those with one pre-emption are known."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        swept: Swept,
        profile: Profile,
        asked: frozenset[str],
        tell: Callable[[str], None],
    ) -> None:
        self._rehearsal, self._swept, self._profile, self._asked = rehearsal, swept, profile, asked
        self._tell = tell
        self._how = rehearsal.how

    def run_worn(self, rare: Rare | None) -> Rare | None:
        """Schedules were made in which a call does what it does now and then only, as where a file is full, and a new
        one is begun, or what was read is thrown away; `rare`, or what was found out, says where that is."""
        about = set[str]().union(*(clauses_about(scene, self._how) for scene in worn_scenes_of("claim")))
        if not self._profile.wearing or self._how not in ("processes", "threads") or not about & self._asked:
            return rare
        began, seconds = time.monotonic(), self._profile.wearing
        end, accusations = began + seconds, Accusations(self._rehearsal)
        self._tell(f"sweep of {self._how}: which calls do something now and then only")
        rare = self._rehearsal.scan(seconds / 3) if rare is None else rare
        plan = self._find_all_worn(rare, began + seconds / 2)
        seldom = [
            (scene, point) for scene, (points, lines) in plan.items() for point in points if _at(point) in lines
        ]
        others = in_order({scene: points for scene, (points, _) in plan.items()})
        for scene, point in dict.fromkeys([*seldom, *others]):
            if time.monotonic() > end or self._asked <= self._swept.found.keys() or accusations.over:
                break
            if scene not in accusations.scenes:
                self._tell(f"sweep of {self._how}: calls that do something now and then only")
                run = self._rehearsal.make(Schedule(scene, point))
                self._swept.count(run)
                accusations.weigh(run)
        accusations.settle()
        return rare

    def run_twice(self, plan: Mapping[Scene, list[Point]]) -> None:
        """Schedules were made in which both stand still, the first where the second does not wait for it, the second
        before its end: the first call ends in the middle of the second one, unless it waits for that."""
        if self._profile.doubling and not self._rehearsal.subject.asynchronous:
            seconds = self._rehearsal.second
            both = in_turn({scene: (points, list(seconds[scene])) for scene, points in plan.items()})
            self._make_all(both, self._swept.doubles, self._profile.doubling, "with two pre-emptions")

    def run_three(self) -> None:
        """Schedules of three clients were made: the second one's call is over before that of the third begins, or
        stands still, too, until the first is over."""
        subject = self._rehearsal.subject
        if not self._profile.crowding or subject.asynchronous:
            return
        scenes = threes_of(subject.promises, subject.traits, self._how, moves=subject.can_pass_time)
        scenes = [scene for scene in scenes if clauses_about(scene, self._how) & self._asked]
        began, firsts = time.monotonic(), dict[Scene, list[Point]]()
        for scene in scenes:
            if time.monotonic() > began + self._profile.crowding / 2:
                break
            firsts[scene] = list(self._rehearsal.points(scene))
        one = in_turn({scene: (points, [None]) for scene, points in firsts.items()})
        both = in_turn({scene: (points, list(self._rehearsal.second[scene])) for scene, points in firsts.items()})
        self._make_all(chain(one, both), self._swept.threes, self._profile.crowding, "of three clients")

    def _make_all(
        self,
        schedules: Iterator[tuple[Scene, Point, Point | None]],
        made: dict[Scene, int],
        seconds: float,
        named: str,
    ) -> None:
        """These were made, for so many seconds at most; what waits for the first call two clients show.

        What is `async` is left out, since one loop cannot stand still at two points of its own.
        """
        end, accusations = time.monotonic() + seconds, Accusations(self._rehearsal)
        blocked: set[tuple[Any, ...]] = set()
        for scene, point, second in schedules:
            if time.monotonic() > end or self._asked <= self._swept.found.keys() or accusations.over:
                break
            self._tell(f"sweep of {self._how}: {sum(made.values()):,} schedules {named}")
            stretch = scene, self._rehearsal.first[scene][point]
            alike = *stretch, None if second is None else self._rehearsal.second[scene][second]
            if scene in accusations.scenes or stretch in blocked:
                continue
            made[scene] = made.get(scene, 0) + 1
            if alike in blocked:  # somebody waited, and so does it where nobody has let go of anything since
                continue
            run = self._rehearsal.make(Schedule(scene, point, second))
            if run.waited:
                blocked.add(stretch)
            if run.third_waited or run.blocks:
                blocked.add(alike)
            self._swept.operations += len(run.seen.recording.calls)
            accusations.weigh(run)
        accusations.settle()

    def _find_all_worn(self, rare: Rare, end: float) -> dict[Scene, tuple[list[Point], set[Line]]]:
        """The scenes after so many tasks, with the points of the first call, and the lines to which a call comes
        then; those that were found until the `end`."""
        found: dict[Scene, tuple[list[Point], set[Line]]] = {}
        for number, verb in sorted((number, each) for each in rare for number, _ in enumerate(worn_scenes_of(each))):
            if time.monotonic() > end:
                break
            rounds, lines = rare[verb]
            worn = self._find_worn(worn_scenes_of(verb)[number], verb, rounds, lines)
            if worn is not None:
                found[worn] = list(self._rehearsal.first[worn]), lines
        return found

    def _find_worn(self, scene: Scene, verb: str, rounds: int, lines: set[Line]) -> Scene | None:
        """The scene after so many tasks that in it a call of that kind comes to one of these lines, if to any."""
        expected = rounds - calls_before(scene, verb)
        nearest = sorted(range(expected - BEFORE, expected + BEFORE), key=lambda worn: abs(worn - expected))
        for worn in dict.fromkeys(max(1, each) for each in nearest):
            candidate = replace(scene, worn=worn)
            self._rehearsal.points(candidate)
            known = self._rehearsal.first if scene.first == verb else self._rehearsal.second
            if not lines.isdisjoint(map(_at, known[candidate])):
                return candidate
        return None


def _at(point: Point) -> Line:
    return point.file, point.line
