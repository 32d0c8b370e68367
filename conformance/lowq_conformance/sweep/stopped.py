"""One client's process is stopped in the middle of a call, for longer than others wait for what it holds.

The schedules are those of the sweep, with one difference: there the first call goes on as soon as the second one
waits for it, and here it goes on when the second one is over, having given up, or when the time is over. What others
gave up by name may or may not have happened; what anybody acknowledged is there. Several schedules are made at the
same time, each by clients of its own, because they do nothing but wait.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.charges import Charge, charge_calls, find_concurrent
from lowq_conformance.storm.director import HOLD
from lowq_conformance.storm.recorder import RecordedCall, Recording
from lowq_conformance.storm.storms import judge_run
from lowq_conformance.storm.to_history import ACCIDENT_NAMES, has_surfaced
from lowq_conformance.subject.subject import Subject
from lowq_conformance.sweep.account import account_of
from lowq_conformance.sweep.rehearsal import TRIES, Rehearsal
from lowq_conformance.sweep.run import Run
from lowq_conformance.sweep.scenes import scenes_of
from lowq_conformance.sweep.schedule import Point, Scene, Schedule

CLAUSE = "RACE-8"
AIMS = (
    "claim|push",
    "*|ack",
    "*|claim",
    "ack|push",
    "push|push",
    "release|push",
    "batch|push",
    "*|batch",
    "*|release",
)
"""What the stopped client is doing, and the other one does: the telling ones first. What a client does whose patience
is over hangs little on what the other one was doing: a star is the first of these that keeps it waiting."""
ANY = ("claim", "ack", "push", "release", "batch")
LANES = 3
"""Schedules that are made at the same time."""
IMPATIENCE = 0.25
"""Seconds for which the second client waits at most where SQLite does the waiting."""
LOOKS = 5000
"""Configurations in which an order of a schedule's few calls is looked for."""


@dataclass(slots=True)
class Stops:
    """What came of it: the charge and the schedule that shows it, how many were made, and at how many points."""

    charge: Charge | None = None
    schedule: str = ""
    schedules: int = 0
    points: set[tuple[str, Point]] = field(default_factory=set)
    stuck: str = ""

    def keeps(self) -> Effort:
        """What stands behind the clause. Raises Broken, NotObserved and NotPromised."""
        if self.charge is not None:
            shown, fault = self.charge.shown, self.charge.fault
            raise Broken(self.charge.said, clause=CLAUSE, program=shown, fault=fault, schedule=self.schedule)
        if self.stuck:
            raise NotObserved(self.stuck)
        if not self.schedules:
            raise NotPromised("no two of its calls can be put into such an order")
        return Effort("proved", 0, 0, 0, 0.0, self.schedules, len(self.points))


@dataclass(slots=True)
class Aim:
    """One thing to be seen: the schedules that may show it, one after the other until enough of them did."""

    left: deque[Schedule]
    met: int = 0
    """How often the second call met the first one: it waited, or was refused."""


class StoppedClients:
    """The schedules of one queue in which a process is stopped."""

    def __init__(
        self, subject: Subject, agents: Agents, folder: Callable[[], Path], profile: Profile, *, wedged: float
    ) -> None:
        """A call waits for ever that has not returned `wedged` seconds after the first one went on."""
        self._subject, self._profile, self._still = subject, profile, profile.still
        self._lanes = [
            Rehearsal(
                subject,
                agents,
                folder,
                "processes",
                profile.looks,
                wedged=wedged + self._still,
                impatience=IMPATIENCE,
            )
            for _ in range(min(LANES, profile.stills))
        ]
        self.stops = Stops()

    def run(self, tell: Callable[[str], None]) -> Stops:
        """All schedules were made that the profile has time for."""
        end = time.monotonic() + self._profile.sweeping
        try:
            aims = self._find_aims()
            while self.stops.charge is None and not self.stops.stuck and aims and time.monotonic() < end:
                tell(f"clients stand still: {self.stops.schedules:,} schedules")
                pairs = list(zip(aims, self._lanes, strict=False))
                runs = [lane.order(aim.left.popleft(), still=self._still) for aim, lane in pairs]
                for (aim, lane), run in zip(pairs, runs, strict=True):
                    self._take(aim, lane, lane.result(run))
                aims = [aim for aim in aims if aim.left and aim.met < self._profile.meets]
        finally:
            for lane in self._lanes:
                lane.close()
        return self.stops

    def again(self, schedule: Schedule) -> Stops:
        """This schedule was made."""
        assert schedule.at is not None
        try:
            for _ in range(TRIES):
                run = self._confirm_once(self._lanes[0], schedule)
                self.stops.schedules += 1
                self.stops.points.add((schedule.scene.first, schedule.at))
                if self.stops.charge is not None:
                    break
            else:
                if not run.stood:
                    self.stops.stuck = f"{schedule.scene.first} never came to {schedule.at}"
        finally:
            for lane in self._lanes:
                lane.close()
        return self.stops

    def _find_aims(self) -> list[Aim]:
        """What is to be seen, and the schedules that may show it: in the middle of a call first."""
        known = scenes_of(self._subject.promises, self._subject.traits, "processes", moves=False)
        verbs = {verb for scene in known for verb in (scene.first, scene.second)}
        scout, points_of = self._lanes[0], dict[str, list[Point]]()
        aims: list[Aim] = []
        for first, _, second in (aim.partition("|") for aim in AIMS[: self._profile.stills]):
            left = deque[Schedule]()
            for verb in ANY if first == "*" else (first,):
                if not {verb, second} <= verbs:
                    continue
                if verb not in points_of:
                    points_of[verb] = from_the_middle(scout.points(Scene(verb, "push")))
                    self.stops.stuck = self.stops.stuck or scout.stuck
                left.extend(Schedule(Scene(verb, second), point) for point in points_of[verb])
            aims += [Aim(left)] if left else []
        return aims

    def _take(self, aim: Aim, lane: Rehearsal, run: Run) -> None:
        """What the run came to is known."""
        schedule = run.schedule
        assert schedule.at is not None
        self.stops.schedules += 1
        self.stops.points.add((schedule.scene.first, schedule.at))
        if not self._meets(run):
            return
        aim.met += 1
        lane.move()  # something may be left in hand
        if self.stops.charge is None and any(self._charges(run)):
            self._confirm(lane, schedule)

    def _confirm(self, lane: Rehearsal, schedule: Schedule) -> None:
        """The schedule was made again by new clients at a new place; if it is accused again, then the queue is."""
        for _ in range(TRIES):
            self._confirm_once(lane, schedule)
            if self.stops.charge is not None:
                return

    def _confirm_once(self, lane: Rehearsal, schedule: Schedule) -> Run:
        """The schedule was made by new clients at a new place, and what it is accused of is known."""
        run = lane.result(lane.order(schedule, fresh=True, still=self._still))
        self.stops.charge = next(self._charges(run), None)
        self.stops.schedule = str(replace(schedule, stopped=True))
        return run

    def _meets(self, run: Run) -> bool:
        """Whether the second call waited, or was refused: else the sweep has seen it."""
        second = run.crossing[1]
        if not run.over or second is None or second.ret is None:
            return True
        return run.waited or second.error is not None or second.ret - second.call > HOLD * 1e9

    def _charges(self, run: Run) -> Iterator[Charge]:
        """What is wrong with the schedule, but for who was refused by name."""
        for charge in charges_of(run):
            said = account_of(run.schedule, run.crossing, run.home, charge.said, waited=run.waited)
            said = said.replace(
                " stood still before ", f" was stopped (SIGSTOP, for {self._still:g} s at most) before ", 1
            )
            yield Charge(CLAUSE, said, charge.shown, charge.fault)


def from_the_middle(points: Mapping[Point, int]) -> list[Point]:
    """One point of each stretch, those in the middle first."""
    kept = list({stretch: point for point, stretch in points.items()}.values())
    return sorted(kept, key=lambda point: abs(kept.index(point) - len(kept) / 2))


def charges_of(run: Run) -> Iterator[Charge]:
    """What is wrong with a schedule, in the words of the sweep's clauses, but for who was refused by name."""
    seen = replace(run.seen, recording=Recording([in_doubt(call) for call in run.seen.recording.calls]))
    found = judge_run(seen, LOOKS).found if run.over else list(charge_calls(seen, deadly=False))
    yield from (charge for charge in found if charge.clause != "RACE-4" or seen.fell)
    for call in run.seen.recording.calls:
        name, _, said = (call.error or "").partition(":")
        if call.error is not None and (name in ACCIDENT_NAMES or not said.strip()) and has_surfaced(call):
            yield Charge("RACE-4", f"{call} raised {call.error}, which names nothing", find_concurrent(seen, call))


def in_doubt(call: RecordedCall) -> RecordedCall:
    """The call; a settle that was refused may have been so because another client was in the way, and may have been
    done or not, whatever its error is called."""
    refused = call.kind in ("ack", "release") and call.error is not None
    return replace(call, error=f"TimeoutError: {call.error}") if refused else call
