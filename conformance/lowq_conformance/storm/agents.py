"""Agents: processes of their own that use the queue under test, killed and waited for; none is ever left behind."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.agent_process import Orders, encode_orders
from lowq_conformance.storm.fork_server import BOUND, AgentFailed, ForkServer, start_fork_server
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.sockets import make_pair

HARMLESS = sys.stdlib_module_names | {"lowq"}
"""Packages that may be imported before a fork, as nothing of theirs takes two processes for one afterwards. Of a
queue's own modules nobody knows: one that notes its process id as it is imported would be accused wrongly."""


@dataclass(slots=True, eq=False)
class Agent:
    """A process that was started; `dead` is the `time.monotonic_ns()` at which it was seen dead, `exit` its code."""

    pid: int
    talk: Channel
    busy: set[str] = field(default_factory=set)
    clients: list[str] = field(default_factory=list)
    dead: int | None = None
    exit: int | None = None

    def fileno(self) -> int:
        """For selectors."""
        return self.talk.fileno()

    def do(self, parts: Sequence[dict[str, Any]]) -> None:
        """Each part, of `client`, `slot` and `steps`, is carried out by a thread of its own."""
        self.busy.update(part["client"] for part in parts)
        self.clients.extend(part["client"] for part in parts)
        self.talk.tell(list(parts))  # where it died, `heard` will tell

    def heard(self) -> bool:
        """What the agent told has been taken note of; False when it is gone. Raises AgentFailed or BrokenHarness."""
        events = self.talk.hear()
        if events is None:
            return False
        for event in events:
            if "broken_harness" in event:
                raise BrokenHarness(event["broken_harness"])
            if "failed" in event:
                raise AgentFailed(event["failed"], event["where"])
            if "done" in event:
                self.busy.discard(event["done"])
        return True


class Agents:
    """Starts agents, and ends all of them when it is left; they come from the fork server, or from one of its own."""

    def __init__(self, server: ForkServer | None = None) -> None:
        self._given = server
        self._living: list[Agent] = []

    @cached_property
    def _server(self) -> ForkServer:
        """What agents are forked from, asked when the first one is; it has imported what is harmless."""
        server = start_fork_server() if self._given is None else self._given
        server.load(list_harmless())
        return server

    def __enter__(self) -> Agents:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, orders: Orders) -> Agent:
        """An agent that is ready to be told what to do."""
        agent = self.starting(orders)
        self.await_ready(agent)
        return agent

    def await_ready(self, agent: Agent) -> None:
        """The agent, which was told nothing yet, is ready."""
        agent.talk.limit(BOUND)
        if not agent.heard():
            raise AgentFailed("the process died", "as it started a client's process")

    def starting(self, orders: Orders, *others: socket.socket) -> Agent:
        """An agent that will be ready; what it is told meanwhile it does then. It is given the other sockets, too."""
        mine, its = make_pair()
        with its:
            pid = self._server.fork(its, *others)
        agent = Agent(pid, Channel(mine))
        self._living.append(agent)
        agent.talk.send(encode_orders(orders))
        return agent

    def kill(self, agent: Agent) -> int:
        """The agent was killed by SIGKILL, unless it was dead, and this is when it was seen dead."""
        if agent.dead is None:
            os.kill(agent.pid, signal.SIGKILL)  # nobody has waited for it, so that the number is still its own
        return self.bury(agent)

    def bury(self, agent: Agent) -> int:
        """A dying agent is dead, and this is when that was seen."""
        if agent.dead is None:
            self._living.remove(agent)
            agent.exit = self._server.wait(agent.pid)
            agent.dead = time.monotonic_ns()
            agent.talk.close()
        return agent.dead

    def close(self) -> None:
        """No agent is left, nor the process that they came from."""
        server = vars(self).get("_server", self._given)
        if server is not None:
            server.close()
        for agent in self._living:
            agent.talk.close()
        self._living.clear()


def list_harmless() -> list[str]:
    """The harmless modules that this process has imported: what agents would import, one after the other."""
    return [name for name in list(sys.modules) if name.partition(".")[0] in HARMLESS]
