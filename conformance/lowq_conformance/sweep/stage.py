"""Runs the clients of a sweep: sends them schedules and receives what came of each."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.fork_server import BOUND, AgentFailed
from lowq_conformance.support.readiness import find_readable
from lowq_conformance.support.sockets import make_pair
from lowq_conformance.sweep.schedule import How


@dataclass(slots=True)
class Lost:
    """Clients that did not answer: which of them waited for the first when that was heard of."""

    waits: list[str]
    died: int | None


class Stage:
    """Clients at a place; cast anew where they got stuck."""

    def __init__(
        self, agents: Agents, orders: Orders, how: How, bound: float, impatience: float | None = None
    ) -> None:
        """With `impatience` the second client waits that many seconds at most where SQLite does the waiting."""
        self.how: How = how
        self._impatience = impatience
        self._agents, self._orders, self._bound = agents, replace(orders, acts=how), bound
        self._crew: list[Agent] = []
        self._answers: deque[dict[str, Any]] = deque()
        self._waits: tuple[int, list[str]] = (-1, [])
        self._clients = 0
        self._child = 0
        """The process of the other side of a fork."""

    @property
    def empty(self) -> bool:
        """Whether nobody is on it."""
        return not self._crew

    def seats(self, clients: int) -> bool:
        """Whether so many clients stand ready."""
        return bool(self._crew) and self._clients >= clients

    def cast(self, place: Path, clients: int = 2) -> None:
        """So many clients stand ready at the place."""
        orders = replace(self._orders, place=place, slots=clients)
        self._clients = clients
        if self.how == "processes":
            with ExitStack() as stack:
                ends = [make_pair() for _ in range(clients - 1)]
                for end in chain(*ends):
                    stack.enter_context(end)
                self._crew = [self._agents.starting(orders, *(mine for mine, _ in ends))]
                for slot, (_, its) in enumerate(ends, 1):
                    other = replace(orders, slot=slot, impatience=self._impatience)
                    self._crew.append(self._agents.starting(other, its))
        else:
            self._crew = [self._agents.starting(orders)]
        told = self._hear(BOUND)
        if told is None:
            raise AgentFailed(f"a client was not ready within {BOUND:.0f} s", "as it started a client's process")
        self._child = told.get("child", 0)

    def dismiss(self) -> None:
        """Nobody is left."""
        if self._child:
            with suppress(ProcessLookupError):
                os.kill(self._child, signal.SIGKILL)
            self._child = 0
        for agent in self._crew:
            self._agents.kill(agent)
        self._crew = []
        self._answers.clear()

    def order(self, run: int, **order: Any) -> None:
        """A schedule is to be made; whoever ordered it hears of it."""
        self._crew[0].talk.tell({"run": run, "bound": self._bound, **order})

    def answer(self, run: int) -> dict[str, Any] | Lost:
        """What came of the run."""
        end = time.monotonic() + 3 * self._bound
        while True:
            told = self._hear(end - time.monotonic())
            if told is None:
                died = None if self._alive() else self._agents.bury(self._crew[0])
                return Lost(self._waits[1] if self._waits[0] == run else [], died)
            if name := told.get("waits"):
                self._waits = told["run"], [*(self._waits[1] if self._waits[0] == told["run"] else []), name]
                end = time.monotonic() + self._bound
            else:
                return told

    def _hear(self, seconds: float) -> dict[str, Any] | None:
        """The next thing that is told, or None where nothing is for so long, or nobody is there to tell it."""
        first, end = self._crew[0], time.monotonic() + seconds
        while not self._answers:
            ready = find_readable([first], end - time.monotonic())
            events = first.talk.hear() if ready else None
            if events is None:
                return None
            self._answers.extend(events)
        told = self._answers.popleft()
        if "broken_harness" in told:
            raise BrokenHarness(told["broken_harness"])
        if "failed" in told:
            raise AgentFailed(told["failed"], told["where"])
        return told

    def _alive(self) -> bool:
        """Whether the first client's process is there: it closes its end of the channel when it goes."""
        return not find_readable([self._crew[0]], 0)
