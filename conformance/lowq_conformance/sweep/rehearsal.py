"""Makes schedules at a place, one after the other, and judges each one.

The place is used again while nothing is wrong: a schedule ends with an empty queue. Whatever is accused is made again
at a fresh place, by clients that have done nothing else, so that it can be made again by whoever reads of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any

from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.charges import Charge, charge_calls
from lowq_conformance.storm.director import HOLD, NAMES
from lowq_conformance.storm.execution import OUTLIVES, WEDGED, Execution, lease_of
from lowq_conformance.storm.recorder import RecordedCall, Recording, calls_of
from lowq_conformance.storm.sequences import charge_unexplained
from lowq_conformance.storm.storms import judge_run
from lowq_conformance.storm.to_history import has_surfaced
from lowq_conformance.subject.subject import Subject
from lowq_conformance.sweep.account import KINDS, account_of
from lowq_conformance.sweep.filling import charge_filling
from lowq_conformance.sweep.run import Run, lacks_a_call, shape_of
from lowq_conformance.sweep.scenes import WHOLE, clauses_about, script_of
from lowq_conformance.sweep.schedule import How, Point, Scene, Schedule
from lowq_conformance.sweep.stage import Lost, Stage

Line = tuple[str, int]
"""The name of a file, nothing for the client's own, and a line of it."""
Rare = Mapping[str, tuple[int, set[Line]]]
"""After how many tasks a call of a kind comes to lines to which none came before, and to which."""
OFTEN = 100
"""How many schedules are made at one place."""
ROUNDS, SCANNING = 260, 1.5
"""How many tasks go through, or for how many seconds of the processor, to see what a call does now and then only."""
SETTLED = 20
"""After so many tasks a call has done what it does each time."""
TRIES = 3
"""How often what was accused is made again, until it is accused again."""


class Rehearsal:
    """Clients of one sort that make schedules of one queue, and what was found wrong with these."""

    def __init__(
        self,
        subject: Subject,
        agents: Agents,
        folder: Callable[[], Path],
        how: How,
        looks: int,
        *,
        wedged: float = WEDGED,
        impatience: float | None = None,
        capacity: int | None = None,
    ) -> None:
        """An order of the calls is looked for in so many configurations. A call waits for ever that has not returned
        after `wedged` seconds. With `impatience` the second client waits so many seconds at most where SQLite does
        the waiting. `capacity` is what clients ask for who open the queue."""
        self.subject, self.how = subject, how
        self.found: dict[str, tuple[Charge, Schedule]] = {}
        self.stuck = ""
        self.first: dict[Scene, dict[Point, int]] = {}
        """Where the first call of a scene can stand still, and in which stretch between two that it lets go of."""
        self.second: dict[Scene, dict[Point, int]] = {}
        self._folder, self._looks = folder, looks
        self._lease = lease_of(subject)
        here = folder()
        orders = Orders(subject.target, subject.promises, subject.traits, here, here, self._lease, capacity=capacity)
        self._stage = Stage(agents, orders, how, wedged + subject.traits.patience.total_seconds(), impatience)
        self._used, self._number = OFTEN, 0
        self._often = 1 if subject.traits.remembers else OFTEN  # where works are refused that came out before
        self._place: Path | None = None
        self._good: set[Any] = set()
        self._warm: set[str] = set()

    def close(self) -> None:
        """Nobody is on the stage, and nothing is left of the places."""
        self._stage.dismiss()
        self._leave()

    def move(self) -> None:
        """What comes next happens at another place."""
        self._used = OFTEN

    def points(self, scene: Scene) -> dict[Point, int]:
        """Where the first call of the scene can stand still, when one of its kind was made before."""
        if scene.first not in self._warm:
            self._warm.add(scene.first)
            self.make(Schedule(scene, None))
        run = self.make(Schedule(scene, None), watch=True)
        charges = self.charges(run)
        if charges and self.confirm(run, charges) and not run.over:
            self.stuck = "a call waits for ever: see RACE-5"
        self.first[scene], self.second[scene] = run.points, run.second_points
        return {} if run.over and lacks_a_call(run) else run.points

    def scan(self, seconds: float) -> Rare:
        """Which calls came to new lines when so many tasks had gone through, and to which; as far as so many seconds
        reach on a machine that others use, too."""
        self.move()
        self._set_up(2)
        self._number += 1
        scan = {"scan": ROUNDS, "settled": SETTLED, "seconds": seconds, "busy": SCANNING}
        self._stage.order(self._number, place=str(self._place), **scan)
        told = self._stage.answer(self._number)
        self.move()
        if isinstance(told, Lost):
            self._stage.dismiss()
            return {}
        rare = told["rare"].items()
        return {verb: (rounds, {(file, line) for file, line in lines}) for verb, (rounds, lines) in rare}

    def make(self, schedule: Schedule, *, waited: bool = False, fresh: bool = False, watch: bool = False) -> Run:
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
            self.move()
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

    def charges(self, run: Run) -> list[Charge]:
        """What the schedule breaks."""
        key = shape_of(run)
        if key in self._good:
            return []
        charges = list(self._charge(run))
        if not charges and run.over:
            self._good.add(key)
        return charges

    def confirm(self, run: Run, charges: list[Charge]) -> bool:
        """Whether the schedule is accused again, by new clients at a new place: then the queue is."""
        if run.over and all(charge.clause in self.found for charge in charges):
            self.move()
            return True
        for _ in range(TRIES):
            again = self.make(run.schedule, fresh=True)
            charges = self.charges(again)
            for charge in charges:
                self.found.setdefault(charge.clause, (charge, self._name_schedule(run.schedule)))
            if charges:
                break
        self.move()
        return bool(charges)

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

    def _leave(self) -> None:
        """Nothing is left of the place."""
        if self._place is not None:
            self.subject.close_place(self._place)
            rmtree(self._place, ignore_errors=True)
            self._place = None

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

    def _charge(self, run: Run) -> Iterator[Charge]:
        refuses = self.how == "fork"
        scene = run.schedule.scene
        if scene.full:
            found = list(charge_filling(run, self._looks))
        elif scene.changes and run.over:
            found = list(charge_calls(run.seen, deadly=False, refuses=refuses))
            found += charge_unexplained(run.seen, clauses_about(scene, "processes"))
        elif run.over:
            found = judge_run(run.seen, self._looks, refuses=refuses).found
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

    def _name_schedule(self, schedule: Schedule) -> Schedule:
        plain: How = "processes" if "processes" in self.subject.promises else "threads"
        return schedule if self.how == plain else replace(schedule, how=self.how)
