"""One process of a scene in which calls are interrupted: it is told one thing after the other, and answers each."""

from __future__ import annotations

from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agents
from lowq_conformance.storm.fork_server import BOUND, AgentFailed
from lowq_conformance.storm.interrupted import Told
from lowq_conformance.subject.program import ProgramCall


class WaitsForEver(Exception):
    """Nothing was answered in time."""


class Side:
    """A process that was started and is told what to do."""

    def __init__(self, agents: Agents, orders: Orders, bound: float, calls: list[ProgramCall]) -> None:
        self._agents, self._agent = agents, agents.starting(orders)
        self._talk = self._agent.talk
        self._calls, self._bound = calls, bound
        self._ready = False
        self._label, self._doing = "", ""

    def ask(self, do: str, **told: Any) -> Told:
        """What came of it. Raises WaitsForEver, AgentFailed or BrokenHarness."""
        self._label = told.get("label", self._label)
        if not self._ready:
            self._talk.limit(BOUND)
            self._hear()
            self._talk.limit(self._bound)
            self._ready = True
        what = repr(told["work"]) if do == "push" else "…"
        self._doing = f"{self._label}.{told.get('verb', 'claim' if do == 'drain' else do)}({what})"
        self._talk.tell({"do": do, **told})
        answer = self._hear()
        self._calls += [ProgramCall(text, said) for text, said in answer.get("calls", ())]
        return answer

    def _hear(self) -> Told:
        try:
            answer = self._talk.next()
        except TimeoutError:
            self._calls.append(ProgramCall(self._doing))
            raise WaitsForEver from None
        if answer is None:
            raise AgentFailed("the process whose calls are interrupted died")
        if "broken_harness" in answer:
            raise BrokenHarness(answer["broken_harness"])
        if "failed" in answer:
            raise AgentFailed(answer["failed"], answer["where"])
        told: Told = answer
        return told

    def end(self) -> None:
        """The process is gone."""
        self._agents.kill(self._agent)
