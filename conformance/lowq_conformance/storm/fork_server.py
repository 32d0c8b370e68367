"""The fork server: a clean process that forks agents, as it is told over a socket; its program is `agent_process.py`.

It is an interpreter of its own; or a fork of a process that has imported the suite and nothing of the queue's, made
before that loads the queue, which costs a hundredth.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from lowq_conformance.storm.agent_process import serve
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.processes import is_gone
from lowq_conformance.support.sockets import make_pair

BOUND = 30.0
"""Seconds within which an interpreter must have started, or a killed process be gone."""
PROGRAM = "from lowq_conformance.storm.agent_process import main; main()"
LOOK = 0.001
"""Seconds between two looks whether a process has ended."""


class AgentFailed(Exception):
    """An agent could not do what it was told, through a fault of the harness or, at `where`, of the suite."""

    def __init__(self, said: str, where: str | None = None) -> None:
        super().__init__(said)
        self.where = where


@dataclass(slots=True, eq=False)
class ForkServer:
    """It is told of by its `control` socket, and has the modules `loaded`."""

    control: socket.socket
    process: Forked | subprocess.Popen[bytes]
    loaded: frozenset[str] = frozenset()

    def load(self, modules: Iterable[str]) -> None:
        """The modules will have been imported before the next fork, and this process's environment is that of agents.

        A harness may have set it as it was loaded: where a server is that it has started, say.
        """
        told = {"modules": [name for name in modules if name not in self.loaded], "environment": dict(os.environ)}
        mine, its = make_pair()
        with mine:
            with its:
                socket.send_fds(self.control, [b"load"], [its.fileno()])
            mine.sendall(json.dumps(told).encode())

    def fork(self, *sockets: socket.socket) -> int:
        """The process id of a new agent, which was given the sockets."""
        socket.send_fds(self.control, [b"fork"], [each.fileno() for each in sockets])
        return int(self._answer())

    def wait(self, pid: int) -> int:
        """The exit code of the agent, which has ended; negative, as that of `subprocess`, where a signal did it."""
        self.control.sendall(f"wait {pid}".encode())
        return int(self._answer())

    def close(self) -> None:
        """It is gone, and none of its agents is left."""
        self.control.close()
        try:
            self.process.wait(BOUND)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _answer(self) -> bytes:
        """One line from it. Raises AgentFailed."""
        line = b""
        while not line.endswith(b"\n"):
            if not (byte := self.control.recv(1)):
                raise AgentFailed("the interpreter from which agents are forked died", "as it forked a process")
            line += byte
        return line


@dataclass(frozen=True, slots=True)
class Forked:
    """A child of this process, which is nobody else's to wait for."""

    pid: int

    def wait(self, timeout: float = BOUND) -> None:
        """It has ended. Raises subprocess.TimeoutExpired after so many seconds."""
        end = time.monotonic() + timeout
        while not is_gone(self.pid):
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("the fork server", timeout)
            time.sleep(LOOK)

    def kill(self) -> None:
        """It was sent SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


def start_fork_server() -> ForkServer:
    """An interpreter of its own, so that it is clean whatever this process has done."""
    mine, its = make_pair()
    with its:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, str(its.fileno())],
            pass_fds=(its.fileno(),),
            stdin=subprocess.DEVNULL,
        )
    mine.settimeout(BOUND)
    return ForkServer(mine, process)


def fork_fork_server(*talks: Channel) -> ForkServer:
    """A fork of this process, which runs one thread and has loaded no queue; the channels stay this one's alone."""
    mine, its = make_pair()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            mine.close()
            for talk in talks:
                talk.close()
            serve(its)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    its.close()
    mine.settimeout(BOUND)
    return ForkServer(mine, Forked(pid), frozenset(sys.modules))
