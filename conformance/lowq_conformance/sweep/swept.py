"""What a sweep has come to: the schedules that were made, what they broke, and what stands behind a kept clause."""

from __future__ import annotations

from dataclasses import dataclass, field

from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.storm.charges import Charge
from lowq_conformance.sweep.run import Run
from lowq_conformance.sweep.scenes import clauses_about
from lowq_conformance.sweep.schedule import How, Point, Scene, Schedule


@dataclass(slots=True)
class Swept:
    """What a sweep has come to, of all its clauses."""

    how: How
    scenes: list[Scene] = field(default_factory=list)
    plan: dict[Scene, int] = field(default_factory=dict)
    found: dict[str, tuple[Charge, Schedule]] = field(default_factory=dict)
    made: dict[Scene, int] = field(default_factory=dict)
    points: dict[Scene, set[Point]] = field(default_factory=dict)
    doubles: dict[Scene, int] = field(default_factory=dict)
    threes: dict[Scene, int] = field(default_factory=dict)
    operations: int = 0
    seconds: float = 0
    stuck: str = ""

    @property
    def planned(self) -> int:
        """How many schedules there are to make, as far as that is known."""
        return sum(self.plan.values())

    @property
    def schedules(self) -> int:
        """How many were made."""
        return sum(self.made.values())

    def effort(self, clause: str) -> Effort:
        """What stands behind a clause that they keep."""
        scenes = [scene for scene in self.made if clause in clauses_about(scene, self.how)]
        points = {(scene.first, point) for scene in scenes for point in self.points[scene]}
        pairs = [scene for scene in self.scenes if clause in clauses_about(scene, self.how)]
        whole = [scene for scene in pairs if scene in self.plan and self.made.get(scene, 0) >= self.plan[scene]]
        made = sum(self.made[scene] for scene in scenes)
        doubles = sum(self.doubles.get(scene, 0) for scene in scenes)
        threes = sum(made for scene, made in self.threes.items() if clause in clauses_about(scene, self.how))
        return Effort("proved", 0, 0, 0, 0.0, made, len(points), len(pairs), len(whole), doubles, threes)

    def keeps(self, clause: str) -> Effort:
        """What stands behind the clause. Raises Broken where it is broken, and NotPromised where it was not asked."""
        if clause in self.found:
            charge, schedule = self.found[clause]
            raise Broken(charge.said, clause=clause, program=charge.shown, fault=charge.fault, schedule=str(schedule))
        effort = self.effort(clause)
        if self.stuck:
            raise NotObserved(self.stuck)
        if not effort.schedules:
            none = effort.pairs == effort.swept_pairs
            can = "no two of its calls can be put" if none else "there was no time to put two of its calls"
            raise NotPromised(f"{can} into such an order")
        return effort

    def plans(self, scene: Scene, schedules: int) -> None:
        """So many schedules of the scene are to be made."""
        self.plan[scene], self.made[scene], self.points[scene] = schedules, 0, set()

    def count(self, run: Run) -> None:
        """The schedule was made."""
        scene = run.schedule.scene
        self.operations += len(run.seen.recording.calls)
        self.made[scene] = self.made.get(scene, 0) + 1
        points = self.points.setdefault(scene, set())
        if run.stood and run.schedule.at is not None:
            points.add(run.schedule.at)

    def count_alike(self, scene: Scene, point: Point) -> None:
        """The schedule is one that was made: the second call waits until the first has gone on."""
        self.made[scene] += 1
        self.points[scene].add(point)
