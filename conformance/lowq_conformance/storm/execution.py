"""Runs a workload with many clients, threads or processes, kills some of them, and drains the queue at the end.

The queue's clock moves only where a plan says so, by a client that is never killed: a lease of an hour runs out in a
run of seconds when an hour is made to pass, and never because the machine was slow. A queue whose clock cannot be
moved has leases as short as it allows, and they are really waited for.
"""

from __future__ import annotations

import selectors
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.barrier import Barrier
from lowq_conformance.storm.performer import Step
from lowq_conformance.storm.recorder import SUFFIX, RecordedCall, Recording, load
from lowq_conformance.storm.workload import ENDING, Shares
from lowq_conformance.subject.subject import Subject

WEDGED = 12.0
"""Seconds after which a call that has not returned waits for ever."""
LOOK = 0.05
SHORT = timedelta(seconds=5)
"""The lease of a queue whose leases are really waited for and must not run out by accident."""
END = "end"
"""Who claims and acks all that is left."""
AGAIN = "again"
"""Who does what follows when all has come out, which is no part of the history that is judged."""
DRAIN = 100_000

After = Callable[[Sequence[RecordedCall]], list[Step]]
"""What is to be done after these calls."""


@dataclass(slots=True)
class Execution:
    """What was seen of one run.

    `start` and `now` are one instant, in `time.monotonic_ns()` and on the queue's clock; `waiting` are the calls that
    never returned though nobody killed their process, `fell` the processes that died by themselves, and how.
    """

    subject: Subject
    lease: timedelta
    threads: bool
    start: int
    now: datetime
    recording: Recording = field(default_factory=Recording)
    waiting: list[RecordedCall] = field(default_factory=list)
    fell: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    seconds: float = 0


@dataclass(slots=True)
class Kills:
    """Kill one client after another, this many seconds apart, with steps for whoever comes in its place.

    `spared` clients, the first ones, are never killed.
    """

    every: tuple[float, float]
    reserves: Shares
    spared: int = 1


@dataclass(slots=True)
class Stress:
    """One run in the making."""

    agents: Agents
    subject: Subject
    folder: Path
    threads: bool
    seconds: float = inf
    seed: object = 0
    shared: bool = False
    """Whether the threads have one client in common."""

    def run(self, shares: Shares, kills: Kills | None = None, again: After | None = None) -> Execution:
        """What was seen when each share was carried out by a client of its own, all of them at once.

        Once what was left came out, the steps that follow from the calls so far are carried out, where there are any.
        """
        began = time.monotonic()
        state = RunState(self, len(shares))
        crew = state.start_clients(shares)
        state.watch(crew, kills)
        if not state.run.waiting:
            state.drain(again=again)
        state.finish()
        state.run.seconds = time.monotonic() - began
        return state.run

    def run_alone(
        self, victims: Sequence[Victim], then: After | None = None, again: After | None = None
    ) -> Execution:
        """What was seen when the victims came one after the other, each in a process of its own.

        Once what was left came out, the steps that follow from the calls so far are carried out, where there are any.
        """
        began = time.monotonic()
        state = RunState(self, 1)
        for number, victim in enumerate(victims):
            agent = self.agents.start(state.orders)
            agent.do([{"client": f"v{number}", "slot": 0, "steps": victim.steps}])
            state.watch([agent], None, time.monotonic() + victim.after)
            if state.run.waiting:
                break
            state.kill(agent)  # one that came to the end of its steps dies here
            if state.seconds_left() < 0:
                state.drain(then, again)
                break
        else:
            state.drain(then, again)
        state.finish()
        state.run.seconds = time.monotonic() - began
        return state.run


@dataclass(slots=True)
class Victim:
    """Steps that end in death; with `after`, death comes when so many seconds are over, wherever it then is."""

    steps: list[Step]
    after: float = inf


class RunState:
    """Where a run takes place: its folders, its agents, and what was seen of them."""

    def __init__(self, stress: Stress, slots: int) -> None:
        subject, folder = stress.subject, stress.folder
        self.stress, self.subject, self.slots = stress, subject, slots
        self.agents = stress.agents
        self.place, self.logs = folder / "place", folder / "logs"
        for each in (self.place, self.logs):
            each.mkdir(parents=True, exist_ok=True)
        self.lease = lease_of(subject)
        self.orders = Orders(
            subject.target,
            subject.promises,
            subject.traits,
            self.place,
            self.logs,
            self.lease,
            meeting=folder / "meeting",
            slots=slots,
            switch=0.00005 if stress.threads else 0.005,
            shared=stress.shared,
        )
        self.meeting = Barrier(folder / "meeting", slots)
        self.run = Execution(subject, self.lease, stress.threads, time.monotonic_ns(), subject.now(self.place))
        self.sizes: dict[str, tuple[int, float]] = {}
        self.crew: list[Agent] = []
        self.end = time.monotonic() + stress.seconds

    def start_clients(self, shares: Shares) -> list[Agent]:
        """Agents that carry out the shares: one with a thread for each, or one for each.

        The run's time begins when they are ready, which takes a busy machine longer than the run; that in which
        leases really run out comes on top.
        """
        crew = [self.agents.starting(self.orders) for _ in (shares[:1] if self.stress.threads else shares)]
        for agent in crew:
            self.agents.await_ready(agent)
        rests = max((sum(step[1] for step in steps if step[0] == "rest") for steps in shares), default=0)
        self.end = time.monotonic() + self.stress.seconds + (self.lease * rests).total_seconds()
        parts = [self.part(f"c{slot}", slot, steps) for slot, steps in enumerate(shares)]
        if self.stress.threads:
            crew[0].do(parts)
        else:
            for agent, part in zip(crew, parts, strict=True):
                agent.do([part])
        return crew

    def part(self, client: str, slot: int, steps: list[Step]) -> dict[str, Any]:
        """What an agent is told of a client."""
        return {"client": client, "slot": slot, "steps": steps, "ending": ENDING, "seconds": self.seconds_left()}

    def seconds_left(self) -> float:
        """Seconds until nobody begins anything new."""
        return self.end - time.monotonic()

    def watch(self, crew: Sequence[Agent], kills: Kills | None, end: float = inf) -> None:
        """Everybody is done, dead, or waits for ever; at the end, a `time.monotonic()`, all are killed."""
        slots = dict(enumerate(crew))
        random = Random(f"kills {self.stress.seed}")
        reserves = [] if kills is None else list(kills.reserves)
        due = inf if kills is None else time.monotonic() + random.uniform(*kills.every) + 0.2
        with selectors.DefaultSelector() as selector:
            for agent in crew:
                selector.register(agent, selectors.EVENT_READ)
            while any(agent.busy and agent.dead is None for agent in slots.values()):
                self.listen(selector, slots, min(LOOK, max(0.0, end - time.monotonic())))
                if time.monotonic() >= end:
                    for agent in crew:
                        self.kill(agent)
                    break
                if self.wedged(list(slots.values())):
                    return
                if kills is None or time.monotonic() < due or not reserves or self.seconds_left() < 0:
                    continue
                victims = [slot for slot, agent in slots.items() if slot >= kills.spared and agent.busy]
                if victims:
                    slot = random.choice(victims)
                    selector.unregister(slots[slot])
                    self.kill(slots[slot])
                    self.meeting.leave(slot)
                    agent = slots[slot] = self.agents.starting(self.orders)
                    agent.do([self.part(f"c{slot}-{self.run.kills}", slot, reserves.pop())])
                    selector.register(agent, selectors.EVENT_READ)
                due = time.monotonic() + random.uniform(*kills.every)
        self.crew = list(slots.values())

    def listen(self, selector: selectors.BaseSelector, slots: dict[int, Agent], seconds: float) -> None:
        """What agents told was heard, and those that died by themselves were buried."""
        for key, _ in selector.select(seconds):
            agent = key.fileobj
            assert isinstance(agent, Agent)
            if agent.heard():
                continue
            selector.unregister(agent)
            dead = self.agents.bury(agent)
            for client in agent.clients:
                self.run.recording.deaths[client] = dead
            if agent.exit == -signal.SIGKILL:
                self.run.kills += 1  # as its steps told it
            elif agent.busy:
                self.run.fell.update(dict.fromkeys(agent.busy, agent.exit or 0))
            for slot, each in slots.items():
                if each is agent:
                    self.meeting.leave(slot)

    def kill(self, agent: Agent) -> None:
        """The agent is dead, and so are its clients."""
        if agent.dead is not None:
            return
        self.run.kills += 1
        dead = self.agents.kill(agent)
        for client in agent.clients:
            self.run.recording.deaths[client] = dead

    def wedged(self, crew: Sequence[Agent]) -> bool:
        """Whether somebody has waited too long; then all are killed, and who waited is known."""
        now = time.monotonic()
        stuck = []
        for client in (client for agent in crew if agent.dead is None for client in agent.busy):
            file = self.logs / f"{client}{SUFFIX}"
            size = file.stat().st_size if file.exists() else 0
            if self.sizes.get(client, (-1, 0.0))[0] != size:
                self.sizes[client] = (size, now)
            elif now - self.sizes[client][1] > find_bound(self.subject) + self.really(OUTLIVES):
                stuck.append(client)
        if not stuck:
            return False
        calls = load(self.logs).calls
        self.run.waiting = [call for call in calls if call.process in stuck and call.ret is None]
        for agent in crew:
            self.agents.kill(agent)  # nothing is judged of what follows, and nobody is to be told that a kill did it
        return True

    def drain(self, then: After | None = None, again: After | None = None) -> None:
        """Leases have run out, what has a time is due, and what was left came out; then one more came and went.

        What `then` asks for is done before that one, and what `again` does is done after all.
        """
        traits = self.subject.traits
        grace = (traits.grace + traits.resolution) / self.lease
        more = [] if then is None else then(load(self.logs).calls)
        steps: list[Step] = [["open"], ["drain", DRAIN], *more, ["push", "last"], ["drain", 10]]
        if "inspect" in self.subject.promises:
            steps.append(["count"])
        if not self.subject.promises.isdisjoint({"lease", "not_before"}):
            steps.insert(0, ["pass", OUTLIVES + grace])
        part = {"client": END, "slot": 0, "steps": steps}
        living = [agent for agent in self.crew if agent.dead is None]
        agent = living[0] if self.stress.threads and living else self.agents.start(self.orders)
        agent.do([part])
        self.watch([agent], None)
        steps = [] if again is None else again(load(self.logs, self.run.recording.deaths).calls)
        if steps and agent.dead is None:
            agent.do([{"client": AGAIN, "slot": 0, "steps": [["open"], *steps]}])
            self.watch([agent], None)

    def really(self, leases: float) -> float:
        """Seconds for which a client may be silent because leases really pass."""
        if self.subject.can_pass_time:
            return 0
        traits = self.subject.traits
        return (self.lease * leases + traits.grace + traits.resolution).total_seconds()

    def finish(self) -> None:
        """Nobody is left, and all that was recorded is known."""
        for agent in self.crew:
            if agent.dead is None:
                self.agents.kill(agent)
        deaths = self.run.recording.deaths
        self.run.recording = load(self.logs, deaths)
        stuck = {(call.process, call.number) for call in self.run.waiting}
        self.run.waiting = [call for call in self.run.recording.calls if (call.process, call.number) in stuck]
        self.meeting.close()
        self.subject.close_place(self.place)


def find_bound(subject: Subject) -> float:
    """Seconds after which a call that has not returned waits for ever: longer than a claim may take to be empty."""
    return WEDGED + subject.traits.patience.total_seconds()


OUTLIVES = 1.2
"""After so many leases every lease has run out."""


def lease_of(subject: Subject) -> timedelta:
    """How long leases are in a run: an hour where the clock is moved, else short, unless a late settle does harm."""
    traits = subject.traits
    if traits.fixed_lease is not None:
        return traits.fixed_lease
    if subject.can_pass_time:
        return max(timedelta(hours=1), traits.shortest_lease)
    return traits.shortest_lease if "fenced" in subject.promises else max(SHORT, traits.shortest_lease)
