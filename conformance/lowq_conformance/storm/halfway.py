"""Pushes that fail half-way: one client pushes a large work while no file may grow by more than some bytes.

Whether it is refused or not, the client then pushes it once more, and another work, and all comes out. The history of
all that is judged: the push that failed may have happened or not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowq_conformance.contract.outcomes import Broken, NotPromised
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.charges import Charge, find_concurrent
from lowq_conformance.storm.execution import WEDGED, Execution, lease_of
from lowq_conformance.storm.fork_server import BOUND, AgentFailed
from lowq_conformance.storm.performer import Step
from lowq_conformance.storm.recorder import RecordedCall, Recording, calls_of
from lowq_conformance.storm.storms import judge_run
from lowq_conformance.storm.to_history import ACCIDENT_NAMES
from lowq_conformance.subject.subject import Subject

CLAUSE = "INPUT-5"
LARGE = "large " + 20_000 * "work "
"""A work of 100 kB."""
SHORT = "large"
"""How it is told of."""
ROOMS = (None, 0, 7, 1_000, 9_000, 70_000, -1, -5_000, -50_000)
"""By how many bytes the largest file of the place may grow while the work is pushed; None: as it likes, at first.

What is below zero is the size itself, up to which every file may be written: where files are many, the largest says
little.
"""
LOOKS = 5000
"""Configurations in which an order of the few calls is looked for."""
NAME = "q"


@dataclass(slots=True)
class Halfway:
    """The pushes of one queue that fail half-way; `refused`: how many were refused."""

    subject: Subject
    agents: Agents
    folder: Callable[[], Path]
    wedged: float = WEDGED
    refused: int = 0

    def keeps(self) -> None:
        """The clause is kept. Raises Broken, and NotPromised where no push of its was refused."""
        if self.subject.only_pushes:
            raise NotPromised("its own worker claims")
        here = self.folder()
        lease = lease_of(self.subject)
        orders = Orders(
            self.subject.target, self.subject.promises, self.subject.traits, here, here, lease, acts="alone"
        )
        agent = self.agents.starting(orders)
        try:
            self._hear(agent, BOUND)
            for number, room in enumerate(ROOMS, start=1):
                self._push(agent, number, room)
        finally:
            self.agents.kill(agent)
        if not self.refused:
            raise NotPromised("no push of its writes to a file of this process")

    def _push(self, agent: Agent, number: int, room: int | None) -> None:
        """The large work was pushed with so much room. Raises Broken."""
        place = self.folder()
        run = Execution(self.subject, lease_of(self.subject), False, time.monotonic_ns(), datetime.now(UTC))
        steps = steps_of(self.subject, room)
        agent.talk.tell({"run": number, "place": str(place), "steps": steps})
        try:
            told = self._hear(agent, self.wedged + self.subject.traits.patience.total_seconds())
        except TimeoutError:
            raise Broken(f"{say(room)}: a call waits for ever", clause=CLAUSE) from None
        run.recording = Recording([shorten(call) for call in calls_of(NAME, told["lines"])])
        run.start = min(call.call for call in run.recording.calls)
        limited = [call for call in run.recording.calls if call.args.get("work") == SHORT][:1]
        refused = sum(call.error is not None for call in limited)
        if room is None and refused:
            raise NotPromised("it takes no work of 100 kB")
        self.refused += refused
        for charge in charges_of(run, limited):
            raise Broken(f"{say(room)}: {charge.said}", clause=CLAUSE, program=charge.shown, fault=charge.fault)
        self.subject.close_place(place)

    def _hear(self, agent: Agent, seconds: float) -> dict[str, Any]:
        agent.talk.limit(seconds)
        told: dict[str, Any] | None = agent.talk.next()
        if told is None:
            raise Broken("the process whose push failed half-way died", clause=CLAUSE)
        if "broken_harness" in told:
            raise BrokenHarness(told["broken_harness"])
        if "failed" in told:
            raise AgentFailed(told["failed"], told["where"])
        return told


def steps_of(subject: Subject, room: int | None) -> list[Step]:
    """What the client does."""
    reopens: list[Step] = [["reopen"]] if "persistent" in subject.promises else []
    return [
        ["push", "before"],
        ["push", "in hand"],
        ["claim"],
        ["limited", room, ["push", LARGE]],
        ["insist", ["push", LARGE]],
        ["insist", ["push", "after"]],
        ["settle_all"],
        *reopens,
        ["collect", 3],
    ]


def charges_of(run: Execution, limited: list[RecordedCall]) -> Iterator[Charge]:
    """What is wrong, apart from a named refusal of the push that failed, or of the next one before a new client was
    opened."""
    calls = run.recording.calls
    for call, then in zip(calls, [*calls[1:], None], strict=True):
        if call.error is None or call.kind in ("ack", "release"):
            continue
        name, _, said = call.error.partition(":")
        insisted = then is not None and then.kind in ("close", "open")
        if name in ACCIDENT_NAMES or not said.strip():
            yield Charge(CLAUSE, f"{call} raised {call.error}, which names nothing", find_concurrent(run, call))
        elif call not in limited and not insisted:
            yield Charge(CLAUSE, f"after it, {call} raised {call.error}", find_concurrent(run, call))
    yield from (charge for charge in judge_run(run, LOOKS).found if charge.clause != "RACE-4")


def shorten(call: RecordedCall) -> RecordedCall:
    """The call, with the large work, or what is left of it, in a few words."""
    if call.args.get("work") == LARGE:
        return replace(call, args={**call.args, "work": SHORT})
    came = call.result.get("work") if isinstance(call.result, dict) else None
    if not isinstance(came, str) or not came.startswith("large"):
        return call
    said = SHORT if came == LARGE else f"{len(came):,} characters of {len(LARGE):,}, or others"
    return replace(call, result={**call.result, "work": said})


def say(room: int | None) -> str:
    """What was done."""
    if room is None:
        return "100 kB were pushed"
    if room < 0:
        return f"100 kB were pushed while no file could be written past {-room:,} bytes"
    return f"100 kB were pushed while no file could grow by more than {room:,} bytes"
