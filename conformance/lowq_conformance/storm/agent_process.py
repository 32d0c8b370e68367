"""The program of the fork server, and of the agents, which are forked by it.

The server has imported the suite and what it is told is harmless, but nothing of the queue's own, runs one thread
and has no queue open, so that its forks are as good as new interpreters and cost a tenth. Each agent is told over a
socket what to do; when the other end of the socket is gone, however that came about, the agent is gone too.
PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from math import inf
from pathlib import Path

from lowq_conformance.contract.promises import Traits
from lowq_conformance.storm.actor import Ledger
from lowq_conformance.storm.barrier import Barrier
from lowq_conformance.storm.director import play
from lowq_conformance.storm.interrupted import obey
from lowq_conformance.storm.performer import Equipment, NoJournal, Performer, SharedClient, Step, trouble_of
from lowq_conformance.storm.recorder import Log
from lowq_conformance.subject.subject import Subject
from lowq_conformance.subject.target import maker_of
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.impatience import cut_waits
from lowq_conformance.support.sockets import take_over


@dataclass(frozen=True, slots=True)
class Orders:
    """What an agent must know of its run; `switch` is the interval, in seconds, after which threads take turns.

    One that `acts` does one step after the other, as it is told: as one of `slots` "processes", which its slot says,
    as so many "threads" or "coroutines" of one client, as both sides of a "fork", or "alone"; or as one whose calls
    are "interrupted".
    """

    target: str
    promises: frozenset[str]
    traits: Traits
    place: Path
    logs: Path
    lease: timedelta
    folder: str = field(default_factory=os.getcwd)
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    meeting: Path | None = None
    slots: int = 0
    switch: float = 0.005
    shared: bool = False
    """Whether those who are threads of one process have one client in common."""
    acts: str = ""
    slot: int = 0
    capacity: int | None = None
    """For how many tasks its clients ask the queue to have room, where they do."""
    impatience: float | None = None
    """Seconds for which SQLite waits at most for others, whatever the queue tells it; None: as the queue tells it."""

    def subject(self) -> Subject:
        """The queue under test, by a harness made here, which is looked for where the starter would look for it."""
        sys.path += [folder for folder in self.path if folder not in sys.path]
        make = maker_of(self.target)
        return Subject(self.target, make, make(), self.promises, self.traits, NoJournal())


def main() -> None:
    """Serve who started this interpreter, over the socket whose number is the argument."""
    serve(take_over(int(sys.argv[1])))


def serve(control: socket.socket) -> None:
    """Fork an agent for each request, and tell how each one ended that is asked for; leave none behind."""
    children: set[int] = set()
    signal.signal(signal.SIGINT, lambda *_: None)  # who started this one decides when it ends
    try:
        while True:
            data, sockets, _, _ = socket.recv_fds(control, 64, 3)
            if not data:
                return
            word, _, number = data.decode().partition(" ")
            if word == "load":
                _load(*sockets)
            elif word == "fork":
                children.add(pid := _fork_agent(control, *sockets))
                for each in sockets:
                    os.close(each)
                control.sendall(f"{pid}\n".encode())
            else:
                status = os.waitpid(int(number), 0)[1]
                children.discard(int(number))
                control.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _load(own: int) -> None:
    """The environment is as it comes over `own`, and the modules were imported; no fork copies what none frees."""
    with open(own, "rb") as told:
        found = json.loads(told.read())
    os.environ.clear()
    os.environ.update(found["environment"])
    for name in found["modules"]:
        with suppress(Exception):  # whoever needs it will say so
            import_module(name)
    gc.collect()
    gc.freeze()


def _fork_agent(control: socket.socket, own: int, *others: int) -> int:
    """The process id of a new agent, which talks over `own`, and where it is to act two parts, over another one."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        control.close()
        AgentProcess(take_over(own), [take_over(each) for each in others]).run()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


class AgentProcess:
    """One process of a run; its first thread listens, each client has a thread of its own or must have that."""

    def __init__(self, own: socket.socket, others: list[socket.socket]) -> None:
        self._own, self._others = own, others
        self._talk = Channel(own)

    def run(self) -> None:
        """Everything asked for was done, and nobody asks any more."""
        listening = self._own.makefile("rb")
        try:
            orders: Orders = pickle.loads(bytes.fromhex(listening.readline().decode()))
            os.chdir(orders.folder)
            sys.setswitchinterval(orders.switch)
            if orders.impatience is not None:
                cut_waits(orders.impatience)
            subject = orders.subject()
            meeting = None if orders.meeting is None else Barrier(orders.meeting, orders.slots)
        except Exception as error:
            self._fail(error)
            return
        if orders.acts == "interrupted":
            obey(self._talk, subject, orders.place)
            return
        if orders.acts:
            equipment = Equipment(
                subject,
                orders.place,
                orders.logs,
                Ledger(""),
                orders.lease,
                slot=orders.slot,
                capacity=orders.capacity,
            )
            play(orders.acts, self._talk, self._others, equipment, orders.slots)
            return
        shared = SharedClient() if orders.shared else None
        self._talk.tell({"ready": os.getpid()})
        for line in listening:
            for part in json.loads(line):
                log = Log(orders.logs, part["client"])
                equipment = Equipment(
                    subject, orders.place, orders.logs, log, orders.lease, meeting, part["slot"], shared
                )
                arguments = (Performer(equipment), part["steps"], part.get("ending", []), part.get("seconds", inf))
                if orders.traits.main_thread:
                    self._perform(*arguments)
                else:
                    threading.Thread(target=self._perform, args=arguments, name=part["client"], daemon=True).start()

    def _perform(self, performer: Performer, steps: list[Step], ending: list[Step], seconds: float) -> None:
        equipment = performer.equipment
        try:
            performer.perform(steps, ending, seconds)
            self._talk.tell({"done": equipment.log.process})
        except Exception as error:
            self._fail(error)
        finally:
            if equipment.meeting is not None:
                equipment.meeting.leave(equipment.slot)

    def _fail(self, error: Exception) -> None:
        self._talk.tell(trouble_of(error))


def encode_orders(orders: Orders) -> bytes:
    """Orders as one line."""
    return pickle.dumps(orders).hex().encode() + b"\n"
