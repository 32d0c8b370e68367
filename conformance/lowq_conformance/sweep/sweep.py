"""Makes schedules, judges each one, and tells what they break.

The place is used again while nothing is wrong: a schedule ends with an empty queue. Whatever is accused is made again
at a fresh place, by clients that have done nothing else, so that it can be made again by whoever reads of it.

Long: how schedules are made, with which clients, and what becomes of one that hangs belong to one loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any

from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.charges import Charge, charge_calls
from lowq_conformance.storm.director import HOLD, NAMES
from lowq_conformance.storm.execution import OUTLIVES, WEDGED, Execution, lease_of
from lowq_conformance.storm.recorder import RecordedCall, Recording, calls_of
from lowq_conformance.storm.storms import judge_run
from lowq_conformance.storm.to_history import has_surfaced
from lowq_conformance.subject.subject import Subject
from lowq_conformance.sweep.account import KINDS, account_of
from lowq_conformance.sweep.scenes import (
    WHOLE,
    calls_before,
    clauses_about,
    scenes_of,
    script_of,
    threes_of,
    worn_scenes_of,
)
from lowq_conformance.sweep.schedule import CHANGES, How, Point, Scene, Schedule
from lowq_conformance.sweep.sequences import charge_unexplained
from lowq_conformance.sweep.stage import Lost, Stage
from lowq_conformance.sweep.turns import in_order, in_turn

Rare = Mapping[str, tuple[int, set[tuple[str, int]]]]
"""After how many tasks a call of a kind comes to lines to which none came before, and to which."""
OFTEN = 100
"""How many schedules are made at one place."""
ROUNDS, SCANNING = 260, 1.5
"""How many tasks go through, or for how many seconds, to see what a call does now and then only."""
SETTLED = 20
"""After so many tasks a call has done what it does each time."""
BEFORE = 3
"""By how many tasks more or fewer than expected it may be that a call does so."""
TRIES = 3
"""How often what was accused is made again, until it is accused again."""


@dataclass(slots=True)
class Run:
    """One schedule that was made: what was recorded, and whether the first stood still where it was to."""

    schedule: Schedule
    seen: Execution
    number: int
    stood: bool = False
    waited: bool = False
    third_waited: bool = False
    over: bool = True
    points: dict[Point, int] = field(default_factory=dict)
    second_points: dict[Point, int] = field(default_factory=dict)
    blocks: bool = False
    crossing: list[RecordedCall | None] = field(default_factory=list)
    home: str = ""


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
            raise NotPromised("no two of its calls can be put into such an order")
        return effort


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
        impatience: float | None = None,
        rare: Rare | None = None,
    ) -> None:
        """Only what tells of the clauses that are `asked` is looked at. A call waits for ever that has not returned
        after `wedged` seconds. `rare`: what calls do now and then only, where that is known."""
        self.subject, self.how, self.profile, self.asked = subject, how, profile, frozenset(asked)
        self._folder = folder
        self._lease = lease_of(subject)
        self._here = folder()
        orders = Orders(subject.target, subject.promises, subject.traits, self._here, self._here, self._lease)
        patience = subject.traits.patience.total_seconds()
        self._stage = Stage(agents, orders, how, wedged + patience, impatience)
        self._used, self._number = OFTEN, 0
        self._often = 1 if subject.traits.remembers else OFTEN  # where works are refused that came out before
        self._place: Path | None = None
        self._good: set[Any] = set()
        self._warm: set[str] = set()
        self._first: dict[Scene, dict[Point, int]] = {}
        self._second: dict[Scene, dict[Point, int]] = {}
        self.rare = rare
        self.swept = Swept(how)

    def run(self, tell: Callable[[str], None]) -> Swept:
        """All schedules were made that the profile has time for."""
        began = time.monotonic()
        try:
            self._sweep(tell, began + self.profile.sweeping)
        finally:
            self.close()
        self.swept.seconds = time.monotonic() - began
        return self.swept

    def again(self, schedule: Schedule) -> Swept:
        """This schedule was made."""
        try:
            for _ in range(TRIES):
                run = self._make(schedule, fresh=True)
                self._count(run)
                for charge in self.charges(run):
                    self.swept.found.setdefault(charge.clause, (charge, schedule))
                if self.swept.found:
                    break
            else:
                if schedule.at is not None and not run.stood:
                    self.swept.stuck = f"{schedule.scene.first} never came to {schedule.at}"
        finally:
            self.close()
        return self.swept

    def close(self) -> None:
        """Nobody is on the stage, and nothing is left of the places."""
        self._stage.dismiss()
        self._leave()

    def _sweep(self, tell: Callable[[str], None], end: float) -> None:
        moves = self.subject.can_pass_time
        promises, traits = self.subject.promises, self.subject.traits
        scenes = scenes_of(promises, traits, self.how, moves=moves, redrives=self.subject.redrives)
        self.swept.scenes = [scene for scene in scenes if clauses_about(scene, self.how) & self.asked]
        scenes = self.swept.scenes[: self.profile.scenes]
        plan: dict[Scene, dict[Point, int]] = {}
        for scene in scenes:
            tell(f"sweep of {self.how}: where {len(plan)} of {len(scenes)} pairs of calls can meet")
            if time.monotonic() > end:
                return
            plan[scene] = self.points(scene)
            if self.swept.stuck:
                return
        self.swept.plan = {scene: len(points) for scene, points in plan.items()}
        waits: dict[Scene, set[int]] = {}
        unsure: dict[Scene, Run] = {}
        over: set[Scene] = set()
        for scene, point in in_order({scene: list(points) for scene, points in plan.items()}):
            if scene in over:
                continue
            if time.monotonic() > end or self.asked <= self.swept.found.keys():
                break
            tell(f"sweep of {self.how}: {self.swept.schedules:,} of {self.swept.planned:,} schedules")
            waited, stretch = waits.setdefault(scene, set()), plan[scene][point]
            if stretch in waited:  # as it did where the first had let go of nothing since
                self._count_alike(scene, point)
                continue
            run = self._make(Schedule(scene, point), waited=bool(waited))
            self._count(run)
            if run.waited:
                waited.add(stretch)
            if self._accuses(run, unsure):
                over.add(scene)  # what more it breaks is seen in other scenes
                if not run.over:
                    return  # who waits for ever does so in the next one, too
        self._confirm_unsure(unsure, over)
        free = {
            scene: {point: stretch for point, stretch in points.items() if stretch not in waits.get(scene, ())}
            for scene, points in plan.items()
            if scene not in over
        }
        self._sweep_worn(tell)
        self._sweep_twice(tell, free)
        self._sweep_three(tell, threes_of(promises, traits, self.how, moves=moves))

    def _sweep_worn(self, tell: Callable[[str], None]) -> None:
        """Schedules were made in which a call does what it does now and then only, as where a file is full, and a new
        one is begun, or what was read is thrown away."""
        about = set[str]().union(*(clauses_about(scene, self.how) for scene in worn_scenes_of("claim")))
        if not self.profile.wearing or self.how not in ("processes", "threads") or not about & self.asked:
            return
        end, accused, unsure = time.monotonic() + self.profile.wearing, set[Scene](), dict[Scene, Run]()
        tell(f"sweep of {self.how}: which calls do something now and then only")
        plan: dict[Scene, list[Point]] = {}
        seldom: list[tuple[Scene, Point]] = []
        rare = self.rare = self._scan() if self.rare is None else self.rare
        for number, verb in sorted((number, each) for each in rare for number, _ in enumerate(worn_scenes_of(each))):
            if time.monotonic() > end - self.profile.wearing / 2:
                break
            rounds, lines = rare[verb]
            worn = self._find_worn(worn_scenes_of(verb)[number], verb, rounds, lines)
            if worn is not None:
                plan[worn] = list(self._first[worn])
                seldom += [(worn, point) for point in plan[worn] if (point.file, point.line) in lines]
        for scene, point in dict.fromkeys([*seldom, *in_order(plan)]):
            if time.monotonic() > end or self.asked <= self.swept.found.keys():
                break
            if scene in accused:
                continue
            tell(f"sweep of {self.how}: calls that do something now and then only")
            run = self._make(Schedule(scene, point))
            self._count(run)
            if self._accuses(run, unsure):
                accused.add(scene)
                if not run.over:
                    return
        self._confirm_unsure(unsure, accused)

    def _accuses(self, run: Run, unsure: dict[Scene, Run]) -> bool:
        """Whether what the run breaks is broken again; where somebody waited, who is not always the next, that is to
        be seen later."""
        charges = self.charges(run)
        if charges and run.over and (run.waited or run.third_waited or run.blocks):
            unsure.setdefault(run.schedule.scene, run)
            self._used = OFTEN
            return False
        return bool(charges) and self._confirm(run, charges)

    def _confirm_unsure(self, unsure: dict[Scene, Run], accused: set[Scene]) -> None:
        """What was not sure was made again, of scenes not `accused` yet, which are where it is so."""
        for scene, run in unsure.items():
            if scene not in accused and self._confirm(run, self.charges(run)):
                accused.add(scene)

    def _scan(self) -> Rare:
        """Which calls came to new lines when so many tasks had gone through, and to which."""
        self.move()
        self._set_up(2)
        self._number += 1
        self._stage.order(self._number, place=str(self._place), scan=ROUNDS, settled=SETTLED, seconds=SCANNING)
        told = self._stage.answer(self._number)
        self.move()
        if isinstance(told, Lost):
            self._stage.dismiss()
            return {}
        rare = told["rare"].items()
        return {verb: (rounds, {(file, line) for file, line in lines}) for verb, (rounds, lines) in rare}

    def _find_worn(self, scene: Scene, verb: str, rounds: int, lines: set[tuple[str, int]]) -> Scene | None:
        """The scene after so many tasks that in it a call of that kind comes to one of these lines, if to any."""
        expected = rounds - calls_before(scene, verb)
        for worn in sorted(range(expected - BEFORE, expected + BEFORE), key=lambda worn: abs(worn - expected)):
            candidate = replace(scene, worn=max(1, worn))
            self.points(candidate)
            del self.swept.made[candidate], self.swept.points[candidate]
            points = self._first[candidate] if scene.first == verb else self._second[candidate]
            if not lines.isdisjoint((point.file, point.line) for point in points):
                return candidate
        return None

    def _sweep_twice(self, tell: Callable[[str], None], plan: dict[Scene, dict[Point, int]]) -> None:
        """Schedules were made in which both stand still, the first where the second does not wait for it, the second
        before its end: the first call ends in the middle of the second one, unless it waits for that."""
        if not self.profile.doubling or self.subject.asynchronous:
            return
        both = in_turn({scene: (list(points), list(self._second[scene])) for scene, points in plan.items()})
        self._sweep_more(tell, both, self.swept.doubles, self.profile.doubling, "with two pre-emptions")

    def _sweep_three(self, tell: Callable[[str], None], scenes: list[Scene]) -> None:
        """Schedules of three clients were made: the second one's call is over before that of the third begins, or
        stands still, too, until the first is over."""
        if not self.profile.crowding or self.subject.asynchronous:
            return
        scenes = [scene for scene in scenes if clauses_about(scene, self.how) & self.asked]
        firsts = {scene: list(self.points(scene)) for scene in scenes}
        one = in_turn({scene: (points, [None]) for scene, points in firsts.items()})
        both = in_turn({scene: (points, list(self._second[scene])) for scene, points in firsts.items()})
        self._sweep_more(tell, chain(one, both), self.swept.threes, self.profile.crowding, "of three clients")

    def _sweep_more(
        self,
        tell: Callable[[str], None],
        schedules: Iterator[tuple[Scene, Point, Point | None]],
        made: dict[Scene, int],
        seconds: float,
        named: str,
    ) -> None:
        """These were made, for so many seconds at most; what waits for the first call two clients show.

        What is `async` is left out, since one loop cannot stand still at two points of its own.
        """
        end, accused, unsure = time.monotonic() + seconds, set[Scene](), dict[Scene, Run]()
        blocked: set[tuple[Any, ...]] = set()
        for scene, point, second in schedules:
            if time.monotonic() > end or self.asked <= self.swept.found.keys():
                break
            tell(f"sweep of {self.how}: {sum(made.values()):,} schedules {named}")
            stretch = scene, self._first[scene][point]
            alike = *stretch, None if second is None else self._second[scene][second]
            if scene in accused or stretch in blocked:
                continue
            made[scene] = made.get(scene, 0) + 1
            if alike in blocked:  # somebody waited, and so does it where nobody has let go of anything since
                continue
            run = self._make(Schedule(scene, point, second))
            if run.waited:
                blocked.add(stretch)
            if run.third_waited or run.blocks:
                blocked.add(alike)
            self.swept.operations += len(run.seen.recording.calls)
            if self._accuses(run, unsure):
                accused.add(scene)
                if not run.over:
                    return
        self._confirm_unsure(unsure, accused)

    def points(self, scene: Scene) -> dict[Point, int]:
        """Where the first call of the scene can stand still, when one of its kind was made before."""
        if scene.first not in self._warm:
            self._warm.add(scene.first)
            self._make(Schedule(scene, None))
        run = self._make(Schedule(scene, None), watch=True)
        if not scene.third:
            self.swept.made[scene], self.swept.points[scene] = 0, set()
        charges = self.charges(run)
        if charges and self._confirm(run, charges) and not run.over:
            self.swept.stuck = "a call waits for ever: see RACE-5"
        self._first[scene], self._second[scene] = run.points, run.second_points
        return {} if run.over and lacks_a_call(run) else run.points

    # one schedule

    def _make(self, schedule: Schedule, *, waited: bool = False, fresh: bool = False, watch: bool = False) -> Run:
        """The schedule was made; where the second call is known to have `waited` before, that is seen sooner."""
        return self.result(self.order(schedule, waited=waited, fresh=fresh, watch=watch))

    def order(
        self,
        schedule: Schedule,
        *,
        waited: bool = False,
        fresh: bool = False,
        watch: bool = False,
        still: float = 0.0,
    ) -> Run:
        """The schedule is being made.

        `still`: the process of the first call is stopped, for so many seconds at most; leases are over at the end.
        """
        if fresh:
            self._stage.dismiss()
            self._used = OFTEN
        if schedule.scene.worn:
            self.move()
        self._set_up(len(schedule.scene.verbs))
        self._number += 1
        passes = OUTLIVES if still and self.subject.can_pass_time and "lease" in self.subject.promises else 0
        now, recording = datetime.now(UTC), Recording()
        seen = Execution(self.subject, self._lease, self.how == "threads", time.monotonic_ns(), now, recording)
        script = script_of(schedule.scene)
        points = [None if point is None else point.as_json() for point in (schedule.at, schedule.second_at)]
        self._stage.order(
            self._number,
            place=str(self._place),
            before=script.before,
            calls=script.calls,
            after=script.after,
            again=script.again,
            stand=points[0],
            second_stand=points[1],
            waited=waited,
            watch=watch,
            still=still,
            passes=passes,
        )
        return Run(schedule, seen, self._number)

    def _set_up(self, clients: int) -> None:
        """So many clients stand ready, at a new place where the other was used enough."""
        if (self._used >= self._often and self.how == "fork") or not self._stage.seats(clients):
            self._stage.dismiss()
        if self._used >= self._often or self._stage.empty:
            self._leave()
            self._place = self._folder()
            self._used = 0
        assert self._place is not None
        if self._stage.empty:
            self._stage.cast(self._place, clients)
        self._used += 1

    def result(self, run: Run) -> Run:
        """The run that was ordered last, with what came of it."""
        told, seen = self._stage.answer(run.number), run.seen
        calls = seen.recording.calls
        if isinstance(told, Lost):
            self._record_lost(run, told)
        else:
            mine = {name: calls_of(name, lines) for name, lines in told["lines"].items()}
            calls += sorted(chain(*mine.values()), key=lambda call: call.call)
            run.stood, run.over, run.home = told["stood"], not told["stuck"], told["home"]
            run.waited, run.third_waited = ("second" in told["waited"], "third" in told["waited"])
            run.points = {Point(*point): stretch for *point, stretch in told["points"]}
            run.second_points = {Point(*point): stretch for *point, stretch in told["second_points"]}
            run.blocks = told["blocks"]
            for name, number in zip(NAMES, told["crossing"], strict=False):
                run.crossing.append(mine[name][number] if 0 <= number < len(mine[name]) else None)
            seen.start = min([seen.start, *(call.call for call in calls)])
            if not run.over:
                self._open(run, told["stuck"])
        if not run.over:
            self._stage.dismiss()
        return run

    def _record_lost(self, run: Run, lost: Lost) -> None:
        """Nobody answers: the first client waits for ever, and perhaps others; or is dead."""
        run.over = False
        run.crossing = [None for _ in run.schedule.scene.verbs]
        if lost.died is not None:
            run.seen.fell["first"] = lost.died
            return
        self._open(run, "first")
        for name in lost.waits:
            self._open(run, name)

    def _open(self, run: Run, name: str) -> None:
        """The client's call never returned."""
        kind, *arguments = script_of(run.schedule.scene).calls[NAMES.index(name)]
        number = sum(call.process == name for call in run.seen.recording.calls)
        args = {"items": []} if kind == "batch" else {"work": arguments[0]} if kind == "push" else {}
        call = RecordedCall(name, number, KINDS.get(kind) or kind, args, time.monotonic_ns())
        run.seen.recording.calls.append(call)
        run.seen.waiting.append(call)

    def move(self) -> None:
        """What comes next happens at another place."""
        self._used = OFTEN

    def _leave(self) -> None:
        """Nothing is left of the place."""
        if self._place is not None:
            self.subject.close_place(self._place)
            rmtree(self._place, ignore_errors=True)
            self._place = None

    # what it comes to

    def _confirm(self, run: Run, charges: list[Charge]) -> bool:
        """Whether the schedule is accused again, by new clients at a new place: then the queue is."""
        if run.over and all(charge.clause in self.swept.found for charge in charges):
            self._used = OFTEN
            return True
        for _ in range(TRIES):
            again = self._make(run.schedule, fresh=True)
            charges = self.charges(again)
            for charge in charges:
                self.swept.found.setdefault(charge.clause, (charge, self._name_schedule(run.schedule)))
            if charges:
                break
        self._used = OFTEN
        return bool(charges)

    def _name_schedule(self, schedule: Schedule) -> Schedule:
        plain: How = "processes" if "processes" in self.subject.promises else "threads"
        return schedule if self.how == plain else replace(schedule, how=self.how)

    def _count_alike(self, scene: Scene, point: Point) -> None:
        """The schedule is one that was made: the second call waits until the first has gone on."""
        self.swept.made[scene] += 1
        self.swept.points[scene].add(point)

    def _count(self, run: Run) -> None:
        scene = run.schedule.scene
        self.swept.operations += len(run.seen.recording.calls)
        self.swept.made[scene] = self.swept.made.get(scene, 0) + 1
        points = self.swept.points.setdefault(scene, set())
        if run.stood and run.schedule.at is not None:
            points.add(run.schedule.at)

    def charges(self, run: Run) -> list[Charge]:
        """What the schedule breaks."""
        key = shape(run)
        if key in self._good:
            return []
        charges = list(self._charge(run))
        if not charges and run.over:
            self._good.add(key)
        return charges

    def _charge(self, run: Run) -> Iterator[Charge]:
        refuses = self.how == "fork"
        scene = run.schedule.scene
        if scene.changes and run.over:
            found = list(charge_calls(run.seen, deadly=False, refuses=refuses))
            found += charge_unexplained(run.seen, clauses_about(scene, "processes"))
        elif run.over:
            found = judge_run(run.seen, self.profile.looks, refuses=refuses).found
        else:
            found = list(charge_calls(run.seen, deadly=False, refuses=refuses))
        late = any(
            has_surfaced(call) and call.ret is not None and call.ret - call.call > HOLD * 1e9
            for call in run.seen.recording.calls
        )
        for charge in found:
            if charge.clause == "RACE-4" and late:
                continue  # somebody's patience was over
            clause = charge.clause
            if self.how in WHOLE:
                clause = WHOLE[self.how]
            elif "close" in scene.verbs:
                clause = "RACE-6"
            named = self._name_schedule(run.schedule)
            waits = {"waited": run.waited, "third_waited": run.third_waited}
            said = account_of(named, run.crossing, run.home, charge.said, **waits)
            fault = None if charge.fault is None else replace(charge.fault, said=said)
            yield replace(charge, clause=clause, said=said, fault=fault)


def lacks_a_call(run: Run) -> bool:
    """Whether a change was not made: the queue does not tell the id that it takes."""
    verbs = run.schedule.scene.verbs
    calls = zip(verbs, run.crossing, strict=True)
    return any(verb in CHANGES and (call is None or call.kind != verb) for verb, call in calls)


def shape(run: Run) -> Any:
    """What was called and answered, in which order, whatever the time was: equal shapes have equal verdicts."""
    names: dict[Any, int] = {}
    calls = run.seen.recording.calls
    events = sorted(
        [(call.call, number, 0) for number, call in enumerate(calls)]
        + [(call.ret, number, 1) for number, call in enumerate(calls) if call.ret is not None]
    )
    said = []
    for call in calls:
        answers = call.result if isinstance(call.result, list) else [call.result]
        told: list[Any] = []
        for answer in answers:
            if isinstance(answer, dict):
                id = answer.get("id")
                told.append((str(answer.get("work")), answer.get("added"), id and names.setdefault(id, len(names))))
            else:
                told.append(str(answer))
        args = (
            {**call.args, "id": names.setdefault(str(id), len(names))} if (id := call.args.get("id")) else call.args
        )
        said.append((call.process, call.kind, str(args), str(told), call.error))
    return str(said), tuple((number, end) for _, number, end in events)
