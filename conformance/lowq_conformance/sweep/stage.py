"""Runs the two clients of a sweep: sends them schedules and receives what came of each."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.fork_server import BOUND, AgentFailed
from lowq_conformance.support.readiness import find_readable
from lowq_conformance.sweep.schedule import How


@dataclass(slots=True)
class Lost:
    """Clients that did not answer: whether the second one waited for the first when that was heard of."""

    waits: bool
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
        self._waits = -1
        self._child = 0
        """The process of the other side of a fork."""

    @property
    def empty(self) -> bool:
        """Whether nobody is on it."""
        return not self._crew

    def cast(self, place: Path) -> None:
        """Two clients stand ready at the place."""
        orders = replace(self._orders, place=place)
        if self.how == "processes":
            mine, its = socket.socketpair()
            with mine, its:
                self._crew = [self._agents.starting(orders, mine)]
                self._crew.append(self._agents.starting(replace(orders, slot=1, impatience=self._impatience), its))
        else:
            self._crew = [self._agents.starting(orders)]
        told = self._hear(BOUND)
        if told is None:
            raise AgentFailed("an agent did not start")
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
                return Lost(self._waits == run, died)
            if told.get("waits"):
                self._waits = told["run"]
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
