"""Makes every schedule with one pre-emption of two clients, and after those the deeper ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.execution import WEDGED
from lowq_conformance.subject.subject import Subject
from lowq_conformance.sweep.accusations import Accusations
from lowq_conformance.sweep.deeper_sweep import DeeperSweep
from lowq_conformance.sweep.rehearsal import TRIES, Rare, Rehearsal
from lowq_conformance.sweep.scenes import ROOM, clauses_about, filling_scenes_of, scenes_of
from lowq_conformance.sweep.schedule import How, Point, Scene, Schedule
from lowq_conformance.sweep.swept import Swept
from lowq_conformance.sweep.turns import in_order

Plan = dict[Scene, dict[Point, int]]
"""Where the first call of each scene can stand still, and in which stretch between two that it lets go of."""


class Sweep:
    """The sweep of one queue, by one sort of clients."""

    def __init__(
        self,
        subject: Subject,
        agents: Agents,
        folder: Callable[[], Path],
        how: How,
        profile: Profile,
        *,
        asked: Iterable[str] = CLAUSES,
        wedged: float = WEDGED,
        rare: Rare | None = None,
        full: bool = False,
    ) -> None:
        """Only what tells of the clauses that are `asked` is looked at. A call waits for ever that has not returned
        after `wedged` seconds. `rare`: what calls do now and then only, where that is known. `full`: the sweep is of
        pushes where there is room for one task more."""
        self.subject, self.how, self.profile, self.asked = subject, how, profile, frozenset(asked)
        self.full = full
        capacity = ROOM if full else None
        self.rehearsal = Rehearsal(subject, agents, folder, how, profile.looks, wedged=wedged, capacity=capacity)
        self.rare = rare
        self.swept = Swept(how, found=self.rehearsal.found)

    def run(self, tell: Callable[[str], None]) -> Swept:
        """All schedules were made that the profile has time for."""
        began = time.monotonic()
        try:
            free = self._sweep(tell, began)
            if free is not None and not self.full:
                deeper = DeeperSweep(self.rehearsal, self.swept, self.profile, self.asked, tell)
                self.rare = deeper.run_worn(self.rare)
                deeper.run_twice(free)
                deeper.run_three()
        finally:
            self.rehearsal.close()
        self.swept.stuck = self.rehearsal.stuck
        self.swept.seconds = time.monotonic() - began
        return self.swept

    def again(self, schedule: Schedule) -> Swept:
        """This schedule was made."""
        try:
            for _ in range(TRIES):
                run = self.rehearsal.make(schedule, fresh=True)
                self.swept.count(run)
                for charge in self.rehearsal.charges(run):
                    self.swept.found.setdefault(charge.clause, (charge, schedule))
                if self.swept.found:
                    break
            else:
                if schedule.at is not None and not run.stood:
                    self.swept.stuck = f"{schedule.scene.first} never came to {schedule.at}"
        finally:
            self.rehearsal.close()
        return self.swept

    def _sweep(self, tell: Callable[[str], None], began: float) -> dict[Scene, list[Point]] | None:
        """Where the second call did not wait for the first, of scenes that are not accused; None where there is
        nothing more to look at."""
        end = began + self.profile.sweeping
        plan = self._plan(tell, began + self.profile.sweeping / 2)
        if self.rehearsal.stuck:
            return None
        waits: dict[Scene, set[int]] = {scene: set() for scene in plan}
        accusations = Accusations(self.rehearsal)
        for scene, point in in_order({scene: list(points) for scene, points in plan.items()}):
            if scene in accusations.scenes:
                continue
            if time.monotonic() > end or self.asked <= self.swept.found.keys():
                break
            tell(f"sweep of {self.how}: {self.swept.schedules:,} of {self.swept.planned:,} schedules")
            waited, stretch = waits[scene], plan[scene][point]
            if stretch in waited:  # as it did where the first had let go of nothing since
                self.swept.count_alike(scene, point)
                continue
            run = self.rehearsal.make(Schedule(scene, point), waited=bool(waited))
            self.swept.count(run)
            if run.waited:
                waited.add(stretch)
            accusations.weigh(run)
            if accusations.over:
                return None
        accusations.settle()
        return {
            scene: [point for point, stretch in points.items() if stretch not in waits[scene]]
            for scene, points in plan.items()
            if scene not in accusations.scenes
        }

    def _plan(self, tell: Callable[[str], None], end: float) -> Plan:
        """Where the calls of the scenes can meet, of as many scenes as the queue is quick enough for."""
        subject = self.subject
        moves, redrives = subject.can_pass_time, subject.redrives
        if self.full:
            scenes = filling_scenes_of(subject.promises, subject.traits, self.how)
        else:
            scenes = scenes_of(subject.promises, subject.traits, self.how, moves=moves, redrives=redrives)
        self.swept.scenes = [scene for scene in scenes if clauses_about(scene, self.how) & self.asked]
        scenes = self.swept.scenes[: self.profile.scenes]
        plan: Plan = {}
        for scene in scenes:
            tell(f"sweep of {self.how}: where {len(plan)} of {len(scenes)} pairs of calls can meet")
            if self.rehearsal.stuck or time.monotonic() > end:
                break
            plan[scene] = self.rehearsal.points(scene)
        for scene, points in plan.items():
            self.swept.plans(scene, len(points))
        return plan
