"""The runs with many clients that the tests of clauses look at; each is made once and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import mean

from lowq_conformance.checker.judge import Judgement, check
from lowq_conformance.contract.effort import Effort
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.contract.profile import DEFAULT, Deaths, Profile
from lowq_conformance.history.operation import Op
from lowq_conformance.history.units import NANOSECONDS
from lowq_conformance.storm import charges
from lowq_conformance.storm import coverage as overlaps
from lowq_conformance.storm import nemesis as crash
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.charges import Charge
from lowq_conformance.storm.execution import After, Execution, Kills, Stress, Victim
from lowq_conformance.storm.fates import (
    find_blocked,
    find_changed,
    find_miscounted,
    find_unaccounted,
    follow_up,
    follow_up_aside,
    push_again,
)
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.storm.sequences import charge_changed_works, find_changed_works
from lowq_conformance.storm.to_history import RunHistory, build_history
from lowq_conformance.storm.workload import Plan
from lowq_conformance.subject.subject import Subject

LATE = 0.25
"""The share of the time in which a test must end after which no run more is begun."""
LASTING = 4
"""A storm of kills has that many times the rounds of another: its time ends it, however fast the machine is."""
ENOUGH = 1 / 3
"""The share of the deaths that are meant to happen in a run without which it is made again."""

Victims = Callable[[Subject, object, Deaths], list[Victim]]


@dataclass(slots=True)
class Storm:
    """Runs, the histories that they came to, and the clauses that they break."""

    runs: list[Execution]
    told: list[RunHistory]
    found: list[Charge] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def calls(self) -> list[RecordedCall]:
        """All that was recorded."""
        return [call for run in self.runs for call in run.recording.calls]

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(run.kills for run in self.runs)

    @property
    def effort(self) -> Effort:
        """What stands behind a clause that they keep."""
        proved = len(self.judgements) == len(self.told) and all(each.verdict == "proved" for each in self.judgements)
        return Effort(
            "proved" if proved else "not refuted",
            sum(each.ops for each in self.judgements),
            len(self.runs),
            self.kills,
            sum(run.seconds for run in self.runs),
        )

    def killed(self, number: float) -> bool:
        """Whether so many processes were killed, and one at least."""
        return self.kills >= max(1, number)

    def count_calls(self, kind: str) -> int:
        """How many calls of the kind there were."""
        return sum(call.kind == kind for call in self.calls)

    def cut_off(self, kind: str) -> int:
        """How many calls of the kind were cut off by a kill."""
        return overlaps.cut_off(self.calls, kind)

    def sees(self, count: Callable[[list[Op]], int]) -> int:
        """How much of something there is in the histories."""
        return sum(count([*told.ops, *told.open]) for told in self.told)

    def breaks(self, clause: str) -> bool:
        """Whether the run breaks the clause."""
        return any(charge.clause == clause for charge in self.found)

    def keeps(self, clause: str, seen: int, what: str) -> None:
        """Raise Broken where the run breaks the clause, and NotObserved where it was not put to the test."""
        for charge in self.found:
            if charge.clause == clause:
                raise Broken(charge.said, clause=clause, program=charge.shown, fault=charge.fault)
        if any(run.waiting or run.fell for run in self.runs):
            raise NotObserved("the run was cut short: see RACE-5 and CRASH-6")
        if not seen:
            raise NotObserved(f"no {what} in {len(self.calls)} calls")


def nobody(said: str) -> None:
    """Nobody is told."""


class Storms:
    """Makes the runs, each when it is first asked for; `latest` is the one that was asked for last."""

    def __init__(
        self,
        subject: Subject,
        seed: int,
        folder: Callable[[], Path],
        profile: Profile = DEFAULT,
        agents: Agents | None = None,
        tell: Callable[[str], None] = nobody,
    ) -> None:
        """Without `agents` there are some of its own; each run is told of as it begins."""
        self.subject, self.seed, self.profile, self._folder = subject, seed, profile, folder
        self._tell = tell
        self.latest: Storm | None = None
        self._agents, self._given = agents, agents is not None
        self._made: dict[str, Storm] = {}

    @property
    def promises(self) -> frozenset[str]:
        """What the queue promises."""
        return self.subject.promises

    def storm(self, how: str) -> Storm:
        """Threads or processes, and nobody is killed; or "coroutines": many calls at once of one client."""
        return self._once(how, lambda: self._many(how))

    def closing(self, how: str) -> Storm:
        """Threads or processes of which some close their client while others work."""
        if opening_disturbs(self.promises):
            raise NotPromised("opening another client may disturb leases")
        return self._once(f"closing {how}", lambda: self._closing(how))

    def fork(self) -> Storm:
        """A client on both sides of a fork."""
        return self._once("fork", self._fork)

    def deaths(self) -> Storm:
        """One process after the other dies at a chosen instant."""
        return self._once("deaths", self._deaths)

    def kills(self) -> Storm:
        """Processes of which one after the other is killed, where several are promised."""
        return self._once("kills", self._kills) if serves_many(self.promises) else self.deaths()

    def close(self) -> None:
        """No process is left, but for who was given."""
        if self._agents is not None and not self._given:
            self._agents.close()

    def _once(self, name: str, make: Callable[[], Storm]) -> Storm:
        if name not in self._made:
            self._made[name] = make()
        self.latest = self._made[name]
        return self.latest

    def _stress(self, *, threads: bool, seconds: float | None = None, shared: bool = False) -> Stress:
        seconds = self.profile.seconds if seconds is None else seconds
        if self._agents is None:
            self._agents = Agents()
        return Stress(self._agents, self.subject, self._folder(), threads, seconds, self.seed, shared)

    def _plan(self, name: str, clients: int | None = None) -> Plan:
        return Plan.of(self.subject, f"{self.seed} {name}", self.profile.clients if clients is None else clients)

    def _judge(self, run: Execution, *, deadly: bool = False, refuses: bool = False) -> Storm:
        return judge_run(run, self.profile.looks, deadly=deadly, refuses=refuses)

    def _many(self, how: str) -> Storm:
        def make(name: str) -> Storm:
            stress = self._stress(threads=how != "processes", shared=how == "coroutines")
            storm = self._judge(stress.run(self._plan(name).rounds(self.profile.rounds)))
            if how == "coroutines":
                storm.found = [replace(charge, clause="RACE-9") for charge in storm.found]
            return storm

        return self._until_seen(how, make, [partial(Storm.sees, count=sight) for sight in self._sights()])

    def _until_seen(self, name: str, make: Callable[[str], Storm], sights: Sequence[Callable[[Storm], int]]) -> Storm:
        """Runs until each thing that the clauses ask about was seen, or something is broken, `again` more at most.

        One run is enough where the machine is not busy with something else: a run ends when its time is over. None is
        begun so late that the test might seem to hang.
        """
        late = time.monotonic() + self.profile.bound * LATE
        self._tell(f"storm of {name}")
        storm = make(name)
        for number in range(self.profile.again):
            if storm.found or any(run.waiting or run.fell for run in storm.runs) or time.monotonic() > late:
                break
            if all(sight(storm) for sight in sights):
                break
            self._tell(f"storm of {name}, once more")
            storm = merge(storm, make(f"{name} {number}"))
        return storm

    def _sights(self) -> list[Callable[[list[Op]], int]]:
        """What a run has to show, so that all clauses about it are put to the test."""
        sights: list[Callable[[list[Op]], int]] = [overlaps.claims, overlaps.pushes]
        if "prompt" in self.promises:
            sights.append(overlaps.empties)
        if "lease" in self.promises and self.subject.traits.max_deliveries != 1:
            sights.append(overlaps.takeovers)
        if self.subject.traits.dedupe != "off":
            sights.append(overlaps.equal_pushes)
        return sights

    def _closing(self, how: str) -> Storm:
        def make(name: str) -> Storm:
            plan = self._plan(name)
            shares = plan.draw([plan.comers_and_goers], self.profile.closing)
            storm = self._judge(self._stress(threads=how == "threads").run(shares))
            storm.found = [replace(charge, clause="RACE-6") for charge in storm.found]
            return storm

        return self._until_seen(f"closing {how}", make, [lambda storm: storm.count_calls("close")])

    def _fork(self) -> Storm:
        if self.subject.asynchronous:
            raise NotPromised("its methods are async, and no event loop goes through a fork")
        run = self._stress(threads=False, seconds=60).run(self._plan("fork", 1).fork())
        storm = self._judge(run, refuses=True)
        storm.found = [*charges.charge_forks(run), *(replace(charge, clause="RACE-7") for charge in storm.found)]
        return storm

    def _deaths(self) -> Storm:
        made = [self._alone("writers", crash.writers, self._cuts()), self._alone("takers", crash.takers, [])]
        if crash.heirs(self.subject, self.seed, self.profile.deaths):
            made.append(self._alone("heirs", crash.heirs, []))
        if crash.changers(self.subject, self.seed, self.profile.deaths):
            then = follow_up if self.subject.traits.max_deliveries is None else follow_up_aside
            made.append(self._alone("changers", crash.changers, [], then))
        return merge(*made)

    def _alone(
        self, name: str, victims: Victims, sights: Sequence[Callable[[Storm], int]], then: After | None = None
    ) -> Storm:
        def dying(name: str) -> list[Victim]:
            return victims(self.subject, f"{self.seed} {name}", self.profile.deaths)

        def make(name: str) -> Storm:
            stress = self._stress(threads=False, seconds=self.profile.serial)
            if then is not None:
                return judge_changes(stress.run_alone(dying(name), then))
            return self._judge(stress.run_alone(dying(name), again=push_again), deadly=True)

        enough = partial(Storm.killed, number=len(dying(name)) * ENOUGH)
        return self._until_seen(name, make, [*sights, enough])

    def _cuts(self) -> list[Callable[[Storm], int]]:
        """What deaths have to show, so that all clauses about them are put to the test."""
        kinds = ["push", *(["push_many"] if "batch" in self.promises else [])]
        cuts: list[Callable[[Storm], int]] = [partial(Storm.cut_off, kind=kind) for kind in kinds]
        if "lease" in self.promises and self.subject.traits.max_deliveries != 1:
            cuts.append(partial(Storm.sees, count=overlaps.takeovers))
        return cuts

    def _kills(self) -> Storm:
        def make(name: str) -> Storm:
            reserves = crash.reserves(self.subject, f"{self.seed} {name}", self.profile.reserves)
            shares = self._plan(name).rounds(self.profile.rounds * LASTING, alone=False)
            run = self._stress(threads=False, seconds=self.profile.killing).run(
                shares, Kills(self.profile.every, reserves), push_again
            )
            return self._judge(run, deadly=True)

        meant = self.profile.killing / mean(self.profile.every)
        return self._until_seen("kills", make, [partial(Storm.killed, number=meant * ENOUGH)])


def opening_disturbs(promises: frozenset[str]) -> bool:
    """Whether a queue with these promises may have its leases disturbed by opening another client."""
    return "lease" in promises and "shared_lease" not in promises


def serves_many(promises: frozenset[str]) -> bool:
    """Whether one process can be killed while others go on."""
    return "processes" in promises and not opening_disturbs(promises)


def name_of_run(name: str, promises: frozenset[str]) -> str:
    """The name of the run that is looked at under this name."""
    return "deaths" if name == "kills" and not serves_many(promises) else name


def judge_run(run: Execution, looks: int, *, deadly: bool = False, refuses: bool = False) -> Storm:
    """The run, with what it charges the queue with; `deadly`: processes were killed on purpose.

    An order of its whole history is looked for in so many configurations.
    """
    changed = find_changed_works(run)
    told = build_history(run, changed)
    found = list(charges.charge_calls(run, deadly=deadly, refuses=refuses))
    if deadly and not run.waiting:
        found += [*find_blocked(run), *find_miscounted(run)]
    if run.waiting:
        return Storm([run], [told], found)  # nothing was drained, so that everything would seem lost
    found += find_unaccounted(run)
    found += charge_changed_works(run, changed)
    judgement = check(told.ops, told.spec, looks)
    whole = "CRASH-7" if deadly else "RACE-3"
    for fault in judgement.faults:
        for clause in (*charges.clauses_of(fault, told, deadly=deadly), whole):
            found.append(Charge(clause, fault.said, fault.draw(NANOSECONDS), fault))
    return Storm([run], [told], found, [judgement])


def judge_changes(run: Execution) -> Storm:
    """The run, in which clients died as they changed tasks, with what it charges the queue with."""
    found = list(charges.charge_calls(run, deadly=True))
    if not run.waiting:
        found += [*find_changed(run), *find_miscounted(run)]
    return Storm([run], [], found)


def merge(*storms: Storm) -> Storm:
    """Several runs as one."""
    whole = Storm([], [])
    for storm in storms:
        whole.runs += storm.runs
        whole.told += storm.told
        whole.found += storm.found
        whole.judgements += storm.judgements
    return whole
