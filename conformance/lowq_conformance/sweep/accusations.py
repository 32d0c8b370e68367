"""The scenes of which a schedule is accused: at once, or later, where it is not sure that it shows it again."""

from __future__ import annotations

from dataclasses import dataclass, field

from lowq_conformance.sweep.rehearsal import Rehearsal
from lowq_conformance.sweep.run import Run
from lowq_conformance.sweep.schedule import Scene


@dataclass(slots=True)
class Accusations:
    """What is wrong with the schedules of one look: what more a scene breaks that is accused is seen in others."""

    rehearsal: Rehearsal
    scenes: set[Scene] = field(default_factory=set)
    """Those that are accused."""
    unsure: dict[Scene, Run] = field(default_factory=dict)
    over: bool = False
    """Whether there is nothing more to look at: who waits for ever does so in the next schedule, too."""

    def weigh(self, run: Run) -> None:
        """What the run breaks is broken again; where somebody waited, who is not always the next, that is to be seen
        later."""
        charges = self.rehearsal.charges(run)
        if charges and run.over and (run.waited or run.third_waited or run.blocks):
            self.unsure.setdefault(run.schedule.scene, run)
            self.rehearsal.move()
        elif charges and self.rehearsal.confirm(run, charges):
            self.scenes.add(run.schedule.scene)
            self.over = not run.over

    def settle(self) -> None:
        """What was not sure was made again, where nothing else of the scene is accused."""
        for scene, run in self.unsure.items():
            if (
                not self.over
                and scene not in self.scenes
                and self.rehearsal.confirm(run, self.rehearsal.charges(run))
            ):
                self.scenes.add(scene)
