"""Interrupts calls of a queue at every line where a signal could, and finds what is not as it should be afterwards.

One process has the client whose calls are interrupted; where the queue promises processes, another one has a client
that must not notice; else that is another thread of the first, or nobody. In each scene one call of the client is
interrupted, the other one pushes, the client makes the call again and pushes, too, and then all is claimed. How often
each work comes out is counted: never more often than it was pushed, nor less often than was acknowledged.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.aftermath import FREE, USABLE, WHOLE, Said, Tally
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.cut_points import EVENLY, Cut, Point, in_order
from lowq_conformance.storm.fork_server import AgentFailed
from lowq_conformance.storm.interrupted import Told
from lowq_conformance.storm.side import Side, WaitsForEver
from lowq_conformance.subject.client import MINUTE
from lowq_conformance.subject.program import ProgramCall, format_program
from lowq_conformance.subject.subject import Subject

EACH = 40
"""Scenes at one place."""
MOST = 4
"""Verbs of which one is found broken before no more is looked for."""
AHEAD = (1, 0, 2, 4)
"""So many steps another call of the client is ahead of one that is cancelled."""
MORE = 2
"""So many awaits more a call may come to where it has to wait for another one of its client."""
NO_AWAIT = 0
"""Stands for the await of a claim that waits when another call of its client returns."""
ALARMS = (0.02, 0.05, 0.1)
"""Seconds after which a waiting claim is cut off."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A clause that is broken, the sentence that says by what, and the program that shows it."""

    clause: str
    said: str
    program: str


@dataclass(slots=True)
class Interruptions:
    """What was found about one queue: the faults, and how many calls were interrupted."""

    subject: Subject
    folder: Callable[[], Path]
    profile: Profile
    random: Random
    agents: Agents
    """Where the processes come from."""
    wanted: frozenset[str] = frozenset({WHOLE, USABLE, FREE})
    """The clauses that are looked for: once each of them is found broken, no more is done."""
    faults: dict[str, Fault] = field(default_factory=dict)
    interrupted: int = 0
    ended: bool = False
    """Whether enough was found before every chosen point was come to."""
    _looked: bool = False
    _never: NotPromised | None = None
    """Why no call can be interrupted, said of each clause."""
    _bad: set[str] = field(default_factory=set)

    def keeps(self, clause: str) -> None:
        """Raise Broken where the queue breaks the clause, NotObserved or NotPromised where it was not seen."""
        if clause == FREE and self.subject.promises.isdisjoint(("threads", "processes")):
            raise NotPromised("it has one client at a time")
        if not self._looked:
            self._looked = True
            try:
                self._look()
            except NotPromised as why:
                self._never = why
        if self._never is not None:
            raise NotPromised(*self._never.args)
        fault = self.faults.get(clause)
        if fault is not None:
            raise Broken(fault.said, clause=clause, program=fault.program)
        if self.ended:
            raise NotObserved(f"the run was cut short: see {min(self.faults)}")
        if not self.interrupted:
            if self.subject.asynchronous:
                raise NotPromised("none of its calls waits at an await, where it could be cancelled")
            raise NotObserved("no call was interrupted")

    def _look(self) -> None:
        stage = Stage(self.agents, self.subject, self.folder(), self.profile)
        try:
            plan = stage.plan(self.random, self.profile.interruptions)
            end = time.monotonic() + self.profile.interrupting  # however long the processes took to start
            met = Counter[str]()
            for verb, point, alarm in plan:
                if verb in self._bad:
                    continue
                met[verb] += 1
                if time.monotonic() > end and self.interrupted and met[verb] > EVENLY:
                    self.ended = bool(self.faults)
                    return
                if stage.number % EACH == 0 or stage.haunted:
                    stage.move(self.folder())
                found = stage.scene(verb, point, alarm)
                self.interrupted += found is not None
                if not found:
                    continue
                self._bad.add(verb)
                self.faults = {**{fault.clause: fault for fault in reversed(found)}, **self.faults}
                stage.close()
                if len(self._bad) == MOST or self.wanted <= set(self.faults):
                    self.ended = True
                    return
                stage = Stage(self.agents, self.subject, self.folder(), self.profile)
                stage.open()
        finally:
            stage.close()


class Stage:
    """The two sides at one place."""

    def __init__(self, agents: Agents, subject: Subject, place: Path, profile: Profile) -> None:
        self.agents, self.subject, self.place = agents, subject, place
        self.haunted = False
        """Whether a claim that waits was interrupted here: at a server it may go on, and take a task later."""
        self.calls: list[ProgramCall] = []
        self.claimed: list[Any] = []
        self.number = 0
        self._batches = 0
        """Batches that were interrupted. The first are not pushed again, nor each second one of the others: pushed
        again, one that was torn is whole."""
        self._orders = orders = Orders(
            subject.target, subject.promises, subject.traits, place, place, MINUTE, acts="interrupted"
        )
        patience = subject.traits.patience.total_seconds()
        self.patience = 0.0 if "prompt" in subject.promises else patience
        self._bound = min(profile.bound / 3, profile.stuck + patience)
        self.first = Side(agents, orders, self._bound, self.calls)
        self.second: Side | None = None
        if {"processes", "persistent"} <= subject.promises:
            self.second = Side(agents, orders, self._bound, self.calls)
        self.may_be_full = subject.traits.room is not None
        self.threads = self.second is None and "threads" in subject.promises

    def close(self) -> None:
        """Nothing is left."""
        self.first.end()
        if self.second is not None:
            self.second.end()
        self.subject.close_place(self.place)

    def move(self, place: Path) -> None:
        """The clients are those of another place, where nothing happened yet."""
        before, self.place, self.haunted = self.place, place, False
        self.open()
        self.subject.close_place(before)

    def plan(self, random: Random, number: int) -> list[Cut]:
        """The calls that are to be interrupted, and where, as far as there is room."""
        verbs = self.open()
        if not verbs:
            raise NotPromised("its own worker claims")
        cuts: list[list[Cut]] = []
        for verb in verbs:
            points: list[Point] = []
            if verb == "claim_wait":
                cuts.append([(verb, None, seconds * random.uniform(0.5, 1.5)) for seconds in ALARMS])
            else:
                points = self._points(verb)
                cuts.append([(verb, point, None) for point in points])
            if "coroutines" in self.subject.promises and verb != "close":
                awaits = range(1, 1 + len(points) + MORE) if verb != "claim_wait" else [NO_AWAIT]
                beside = [["", 0, "await", number, ahead] for number in awaits for ahead in AHEAD]
                cuts.append([(verb, point, None) for point in beside])
        return in_order(cuts, random)[:number]

    def open(self) -> list[str]:
        """The clients are open; the verbs that they have."""
        verbs: list[str] = self._open(self.first, "q")["verbs"]
        if self.second is not None:
            self._open(self.second, "other")
        return verbs

    def _points(self, verb: str) -> list[Point]:
        self.number += 1
        if not self.first.ask("prepare", verb=verb, n=self.number).get("there"):
            return []
        points: list[Point] = self.first.ask("cut", verb=verb, n=self.number)["points"]
        if verb == "close":
            self._open(self.first, "q")
        self._drain()
        return points

    def _open(self, side: Side, label: str) -> Told:
        opened = side.ask("open", label=label, place=str(self.place))
        if "refused" in opened:
            raise AgentFailed(f"open: {opened['refused']}")
        return opened

    def _other(self, do: str, **told: Any) -> Told:
        """What came of it for another client: of another process, or in another thread, or, where there is none, for
        the same one."""
        if self.second is not None:
            return self.second.ask(do, **told)
        return self.first.ask(do, thread=self.threads, **told)

    def _drain(self, enough: list[str] | None = None) -> Told:
        return self._other("drain", patience=self.patience, enough=enough or [])

    def scene(self, verb: str, point: Point | None, alarm: float | None) -> list[Fault] | None:
        """What was found when the call was interrupted there; None: it was not."""
        self.number += 1
        opened = [ProgramCall("q = open(place)", ""), *[ProgramCall("other = open(place)", "")] * bool(self.second)]
        self.calls.clear()
        n = self.number
        if not self.first.ask("prepare", verb=verb, n=n).get("there"):
            return None
        cut = self.first.ask("cut", verb=verb, n=n, at=point, alarm=alarm)
        if "cut" not in cut and verb != "close":
            self._drain()
            return None
        tally = Tally(
            verb,
            n,
            merges=self.subject.traits.dedupe != "off",
            lasts=self.second is not None or verb != "close",
            returns=self.subject.traits.max_deliveries != 1,
        )
        self.haunted = verb == "claim_wait"
        tally.beside = point is not None and len(point) > 4
        tally.note("cut", cut)
        faults = list(self._aftermath(tally))
        program = format_program([*opened, *self.calls])
        return [Fault(clause, said, program) for clause, said in faults]

    def _aftermath(self, tally: Tally) -> Iterator[Said]:
        """What is wrong after the call: for others, for the client itself, and with the works."""
        n, gone, locked_out = tally.n, False, ""
        others = self.second is not None or (self.threads and tally.verb != "close")
        if others:
            tally.others = "refused"
            try:
                other = self._other("push", work=f"{n} other")
                if "refused" in other and (other["accident"] or not self.may_be_full):
                    locked_out = f"another client was refused: {other['error']}: {other['refused']}"
                    if self.second is not None or other["accident"]:
                        yield FREE, locked_out
                        locked_out = ""
                elif other.get("returned"):
                    tally.others = "returned"
            except WaitsForEver:
                yield FREE, "another client's push waits for ever"
                if self.second is None:
                    return
                self.second.end()
                self.second, gone = Side(self.agents, self._orders, self._bound, self.calls), True
        renewed, refused = gone, tally.others == "refused"
        try:
            for fault in self._afterwards(tally):
                yield fault
                gone = True
        except WaitsForEver:
            yield USABLE, "its client waits for ever"
            gone = True
        if locked_out and not tally.opened_again:  # a thread may be refused where its own client is
            yield FREE, locked_out
        if gone and self.second is None:
            return
        if gone or (refused and self.second is not None and not self.may_be_full):
            self.first.end()  # what it kept locked is free, and what is kept can be seen
        if renewed and self.second is not None:
            self._open(self.second, "other")
        yield from self._count(tally)

    def _afterwards(self, tally: Tally) -> Iterator[Said]:
        """What the interrupted client does then: it is to work on, or to refuse by name until it is opened again."""
        n = tally.n
        if tally.beside:
            became = self.first.ask("beside", n=n)["became"]
            tally.early, tally.late = became.get("early", ""), became.get("late", "")
            for name in became:
                if became[name] == "cancelled":
                    yield USABLE, f"a push of '{n} {name}', which was under way, was cancelled, too"
        self._batches += tally.verb == "push_many"
        if not tally.returned and (tally.verb != "push_many" or (self._batches > EVENLY and self._batches % 2)):
            again = self.first.ask("again", verb=tally.verb, n=n)
            if again.get("returned"):
                tally.note("again", again)
                self.claimed += again.get("works", ())
            elif "refused" in again:
                tally.tried += 1
        after = self.first.ask("push", work=f"{n} after")
        if "refused" in after and after["accident"] and tally.verb != "close":
            yield USABLE, f"the client works no more, and does not say so: {after['error']}: {after['refused']}"
            return
        tally.after = "returned" if after.get("returned") else "refused"
        if "refused" in after:
            if (fault := self._open_again(tally)) is not None:
                yield fault
                return
            after = self.first.ask("push", work=f"{n} after")
            if "refused" in after and (after["accident"] or not self.may_be_full):
                yield USABLE, f"the queue, opened again, refused a push: {after['error']}: {after['refused']}"
                return
            tally.after = "refused" if "refused" in after else "returned"

    def _open_again(self, tally: Tally) -> Said | None:
        """The client that refused is opened again; what is wrong where it cannot be."""
        opened = self.first.ask("open", label="q", place=str(self.place))
        tally.opened_again = True
        if "refused" in opened:
            return USABLE, f"the client works no more, nor can the queue be opened again: {opened['refused']}"
        promises = self.subject.promises
        if "persistent" not in promises or not (opened["closed"] or "crash" in promises):
            tally.forget()
        return None

    def _count(self, tally: Tally) -> Iterator[Said]:
        """What is wrong with what comes out."""
        clause = FREE if self.second is not None or self.threads else USABLE
        works, self.claimed = self.claimed, []
        all_back = False
        while True:
            try:
                drained = self._drain(tally.enough)
            except WaitsForEver:
                yield clause, "a claim waits for ever"
                return
            works += drained["works"]
            if "refused" in drained:
                said = f"{drained['error']}: {drained['refused']}"
                if self.second is not None:
                    yield FREE, f"a claim was refused: {said}"
                    return
                if drained["accident"] and tally.verb != "close":
                    yield USABLE, f"the client works no more, and does not say so: {said}"
                    return
                if tally.opened_again:
                    yield USABLE, f"the queue, opened again, refused a claim: {said}"
                    return
                if (fault := self._open_again(tally)) is not None:
                    yield fault
                    return
                continue
            if all_back or not tally.misses(works) or not self._leases_end():
                break
            self.subject.pass_time(self.place, 3 * MINUTE)
            self.calls.append(ProgramCall("pass_time(place, timedelta(seconds=180))", ""))
            all_back = True
        yield from tally.faults(works, all_back=all_back)

    def _leases_end(self) -> bool:
        traits = self.subject.traits
        return self.subject.can_pass_time and "lease" in self.subject.promises and traits.fixed_lease is None
