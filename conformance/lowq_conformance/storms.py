"""The runs with many clients that the tests of clauses look at, each made once, and what each one shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from lowq_conformance import charges, crash, overlaps
from lowq_conformance.agents import Agents
from lowq_conformance.charges import Charge
from lowq_conformance.findings import Broken, NotObserved, NotPromised
from lowq_conformance.fixtures import loaded_key, seed_key
from lowq_conformance.harness import Subject
from lowq_conformance.history import Op
from lowq_conformance.judge import Judgement, check
from lowq_conformance.plan import Plan
from lowq_conformance.record import Call
from lowq_conformance.stress import Kills, Run, Stress, Victim
from lowq_conformance.timeline import Told, tell

CLIENTS = 4
ROUNDS = 150
SECONDS = 3.0
AGAIN = 5
SERIAL = 15.0
CLOSING = 40
RESERVES = 30
LOOKS = 5000
"""Configurations in which an order of a whole history is looked for: a second, at most."""
MILLISECOND = 1e6
EVERY = (0.1, 0.3)
"""Seconds from one kill to the next."""


@dataclass(slots=True)
class Storm:
    """Runs, the histories that they came to, and the clauses that they break."""

    runs: list[Run]
    told: list[Told]
    found: list[Charge] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        """All that was recorded."""
        return [call for run in self.runs for call in run.recording.calls]

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return sum(run.kills for run in self.runs)

    def made(self, kind: str) -> int:
        """How many calls of the kind there were."""
        return sum(call.kind == kind for call in self.calls)

    def cut_off(self, kind: str) -> int:
        """How many calls of the kind were cut off by a kill."""
        return overlaps.cut_off(self.calls, kind)

    def sees(self, count: Callable[[list[Op]], int]) -> int:
        """How much of something there is in the histories."""
        return sum(count(told.ops) for told in self.told)

    def keeps(self, clause: str, seen: int, what: str) -> None:
        """Raise Broken where the run breaks the clause, and NotObserved where it was not put to the test."""
        for charge in self.found:
            if charge.clause == clause:
                raise Broken(charge.said, clause=clause, program=charge.shown, fault=charge.fault)
        if any(run.waiting or run.fell for run in self.runs):
            raise NotObserved("the run was cut short: see RACE-5 and CRASH-6")
        if not seen:
            raise NotObserved(f"no {what} in {len(self.calls)} calls")


class Storms:
    """Makes the runs, each when it is first asked for."""

    def __init__(self, subject: Subject, seed: int, folder: Callable[[], Path]) -> None:
        self.subject, self.seed, self._folder = subject, seed, folder
        self._agents: Agents | None = None
        self._made: dict[str, Storm] = {}

    @property
    def promises(self) -> frozenset[str]:
        """What the queue promises."""
        return self.subject.promises

    def storm(self, how: str) -> Storm:
        """Threads or processes, and nobody is killed."""
        return self._once(how, lambda: self._many(how))

    def closing(self, how: str) -> Storm:
        """Threads or processes of which some close their client while others work."""
        if self._opening_disturbs():
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
        if "processes" not in self.promises or self._opening_disturbs():
            return self.deaths()
        return self._once("kills", self._kills)

    def close(self) -> None:
        """No process is left."""
        if self._agents is not None:
            self._agents.close()

    def _opening_disturbs(self) -> bool:
        return "lease" in self.promises and "shared_lease" not in self.promises

    def _once(self, name: str, make: Callable[[], Storm]) -> Storm:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _stress(self, *, threads: bool, seconds: float = SECONDS) -> Stress:
        if self._agents is None:
            self._agents = Agents()
        return Stress(self._agents, self.subject, self._folder(), threads, seconds, self.seed)

    def _plan(self, name: str, clients: int = CLIENTS) -> Plan:
        return Plan.of(self.subject, f"{self.seed} {name}", clients)

    def _many(self, how: str) -> Storm:
        def make(name: str) -> Storm:
            return judged(self._stress(threads=how == "threads").run(self._plan(name).rounds(ROUNDS)))

        return self._until_seen(how, make, [partial(Storm.sees, count=sight) for sight in self._sights()])

    def _until_seen(self, name: str, make: Callable[[str], Storm], sights: Sequence[Callable[[Storm], int]]) -> Storm:
        """Runs until each thing that the clauses ask about was seen, or something is broken, `AGAIN` more at most.

        One run is enough where the machine is not busy with something else: a run ends when its time is over.
        """
        storm = make(name)
        for number in range(AGAIN):
            if storm.found or any(run.waiting or run.fell for run in storm.runs):
                break
            if all(sight(storm) for sight in sights):
                break
            storm = together(storm, make(f"{name} {number}"))
        return storm

    def _sights(self) -> list[Callable[[list[Op]], int]]:
        """What a run has to show, so that all clauses about it are put to the test."""
        sights: list[Callable[[list[Op]], int]] = [overlaps.claims, overlaps.pushes]
        if "prompt" in self.promises:
            sights.append(overlaps.empties)
        if "lease" in self.promises:
            sights.append(overlaps.takeovers)
        if self.subject.traits.dedupe != "off":
            sights.append(overlaps.equal_pushes)
        return sights

    def _closing(self, how: str) -> Storm:
        def make(name: str) -> Storm:
            plan = self._plan(name)
            storm = judged(self._stress(threads=how == "threads").run(plan.drawn([plan.comers_and_goers], CLOSING)))
            storm.found = [replace(charge, clause="RACE-6") for charge in storm.found]
            return storm

        return self._until_seen(f"closing {how}", make, [lambda storm: storm.made("close")])

    def _fork(self) -> Storm:
        run = self._stress(threads=False, seconds=60).run(self._plan("fork", 1).forked())
        storm = judged(run, refuses=True)
        storm.found = [*charges.of_forks(run), *(replace(charge, clause="RACE-7") for charge in storm.found)]
        return storm

    def _deaths(self) -> Storm:
        return together(
            self._until_seen("writers", lambda name: self._alone(crash.writers, name), self._cuts()),
            self._until_seen("takers", lambda name: self._alone(crash.takers, name), [lambda storm: storm.kills]),
        )

    def _alone(self, victims: Callable[[Subject, object], list[Victim]], name: str) -> Storm:
        stress = self._stress(threads=False, seconds=SERIAL)
        return judged(stress.run_alone(victims(self.subject, f"{self.seed} {name}")), deadly=True)

    def _cuts(self) -> list[Callable[[Storm], int]]:
        """What deaths have to show, so that all clauses about them are put to the test."""
        kinds = ["push", *(["push_many"] if "batch" in self.promises else [])]
        cuts: list[Callable[[Storm], int]] = [partial(Storm.cut_off, kind=kind) for kind in kinds]
        if "lease" in self.promises:
            cuts.append(partial(Storm.sees, count=overlaps.takeovers))
        return cuts

    def _kills(self) -> Storm:
        def make(name: str) -> Storm:
            kills = Kills(EVERY, crash.reserves(self.subject, f"{self.seed} {name}", RESERVES))
            return judged(self._stress(threads=False).run(self._plan(name).rounds(ROUNDS), kills), deadly=True)

        return self._until_seen("kills", make, [lambda storm: storm.kills])


def judged(run: Run, *, deadly: bool = False, refuses: bool = False) -> Storm:
    """The run, with what it charges the queue with; `deadly`: processes were killed on purpose."""
    told = tell(run)
    found = list(charges.of_calls(run, deadly=deadly, refuses=refuses))
    if run.waiting:
        return Storm([run], [told], found)  # nothing was drained, so that everything would seem lost
    judgement = check(told.ops, told.spec, LOOKS)
    whole = "CRASH-7" if deadly else "RACE-3"
    for fault in judgement.faults:
        for clause in (*charges.clauses_of(fault, told, deadly=deadly), whole):
            found.append(Charge(clause, fault.said, fault.drawn(MILLISECOND), fault))
    return Storm([run], [told], found, [judgement])


def together(*storms: Storm) -> Storm:
    """Several runs as one."""
    whole = Storm([], [])
    for storm in storms:
        whole.runs += storm.runs
        whole.told += storm.told
        whole.found += storm.found
        whole.judgements += storm.judgements
    return whole


@pytest.fixture(scope="session")
def storms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storms]:
    """The runs with many clients."""
    config = request.config
    made = Storms(config.stash[loaded_key], config.stash[seed_key], lambda: tmp_path_factory.mktemp("storm"))
    yield made
    made.close()
