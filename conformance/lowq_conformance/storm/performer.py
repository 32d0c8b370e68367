"""Carries out one client's steps of a run and records them.

A step is a list, its first word what to do. What is drawn for a client never depends on what the queue answered: to
settle when nothing is in hand is to claim, so that one seed always means the same steps.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any, NoReturn
from zlib import crc32

from lowq import Item
from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.storm.barrier import Barrier
from lowq_conformance.storm.recorder import HEADER, Log, Recorder, encode_length, encode_name, record
from lowq_conformance.subject.client import Client, Held
from lowq_conformance.subject.handler import Handler
from lowq_conformance.subject.program import Journal, ProgramCall
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support.own_frames import where_of
from lowq_conformance.support.processes import alone
from lowq_conformance.support.tracepoints import TracedClient, die

Step = list[Any]

NEARLY = 0.7
"""After which part of its lease nothing is settled any more by who would not be refused."""
EMPTIES = 2
"""How often in a row a queue must say that it is empty before it is believed."""


def trouble_of(error: Exception) -> dict[str, Any]:
    """What is told of an error that is none of the queue's: of the harness, or of the suite."""
    if isinstance(error, BrokenHarness):
        return {"broken_harness": str(error)}
    return {"failed": "".join(traceback.format_exception(error)), "where": where_of(error)}


CHILDHOOD = 15
"""Seconds after which a forked child is taken to wait for ever, and ends."""


BARE = 4
"""Of so many works one has no headers."""


def headers_of(work: Any) -> dict[str, str]:
    """The headers with which each run pushes the work: those of no other one, or none."""
    name = str(work)[:40]
    return {} if crc32(name.encode()) % BARE == 0 else {HEADER: name}


class NoJournal(Journal):
    """Keeps nothing: the log of a run tells what happened, and by whom."""

    def begin(self, text: str) -> ProgramCall:
        return ProgramCall(text)

    def assign(self, label: str) -> None:  # noqa: ARG002  nothing is kept
        return

    def expect(self, what: str) -> None:  # noqa: ARG002  likewise
        return


class SharedClient:
    """One client, opened by the first who needs it."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._client: Client | None = None

    def open(self, subject: Subject, place: Path, capacity: int | None) -> Client:
        """The client, by a name of one's own: who steers it steers nobody else's calls."""
        with self._opening:
            if self._client is None:
                self._client = subject.open(place, capacity=capacity)
            return copy(self._client)


@dataclass(slots=True)
class Equipment:
    """What a performer works with."""

    subject: Subject
    place: Path
    logs: Path
    log: Log
    lease: timedelta
    meeting: Barrier | None = None
    slot: int = 0
    shared: SharedClient | None = None
    """The client that several have in common, where they do."""
    capacity: int | None = None
    """For how many tasks the queue is to have room, where that is asked for."""


class Performer:
    """Carries out steps with a client of its own, opened at the first step that needs one."""

    def __init__(self, equipment: Equipment) -> None:
        self.equipment = equipment
        self.subject = equipment.subject
        self.log = equipment.log
        self.held: list[Held] = []
        self.pushed: list[tuple[Any, Any]] = []
        """The ids and the works of what it has pushed and not cancelled."""
        self.buried: list[Any] = []
        """The ids of what it has set aside and not redriven."""
        self._since: dict[Held, float] = {}
        """When what is in hand was asked for."""
        self._client: Recorder | None = None
        self._steered: set[Any] = set()
        self._child, self._child_name = 0, ""
        self._open_transactions: list[AbstractContextManager[Client]] = []

    @property
    def client(self) -> Recorder:
        """The client that is open now."""
        if self._client is None:
            with record(self.log, "open", {}):
                shared, place, capacity = self.equipment.shared, self.equipment.place, self.equipment.capacity
                if shared is None:
                    opened = self.subject.open(place, capacity=capacity)
                else:
                    opened = shared.open(self.subject, place, capacity)
                opened.raw = self.steer(opened.raw)
                self._client = Recorder(opened, self.log)
        return self._client

    def steer(self, raw: Any) -> Any:
        """The client as it is used: where it is to pause or die within a call, one that can be told to."""
        if not self._steered:
            return raw
        traced = TracedClient(raw)
        traced.counts = "doom" in self._steered
        return traced

    def perform(self, steps: list[Step], ending: list[Step] | None = None, seconds: float = inf) -> None:
        """The steps were carried out, until the seconds were over, and then the ending.

        What the queue refuses is in the log, and the next step follows.
        """
        self._steered = {"doom", "pause"}.intersection(step[0] for step in steps)
        end = time.monotonic() + seconds
        for step in steps:
            if time.monotonic() > end:
                break
            self._take(step)
        for step in ending or []:
            self._take(step)

    def _take(self, step: Step) -> None:
        word, *arguments = step
        with suppress(Refused):
            getattr(self, f"do_{word}")(*arguments)

    # what a step may be

    def do_push(self, *item: Any) -> None:
        """Push."""
        client, pushed = self.client, self._item(*item)
        answer = client.push(pushed)
        if answer.id is not None:
            self.pushed.append((answer.id, pushed.work))

    def do_batch(self, items: list[list[Any]]) -> None:
        """Push together."""
        client = self.client
        client.push_many([self._item(*item) for item in items])

    def do_start(self, folder: str) -> None:
        """Start workers, whose handler has its log in the folder."""
        with record(self.log, "start", {}) as came, alone():
            came(self.subject.start(self.equipment.place, Handler(folder)))

    def do_claim(self) -> None:
        """Claim."""
        client, now = self.client, time.monotonic()
        if (held := client.claim(lease_for=self.equipment.lease)) is not None:
            self._hold(held)
            self._since[held] = now

    def do_await(self, seconds: float) -> None:
        """Claim, and wait so long for a task."""
        client = self.client
        if (held := client.claim(lease_for=self.equipment.lease, wait=timedelta(seconds=seconds))) is not None:
            self._hold(held)

    def do_ack(self, which: int) -> None:
        """Ack what is in hand: 0 is the oldest, -1 the newest."""
        if not self.held:
            self.do_claim()
            return
        held = self.held.pop(which)
        client = self.client
        if not self._comes_late(held):
            client.ack(held)

    def do_release(self, which: int, delay: float | None = None) -> None:
        """Give back what is in hand, `delay` is in leases from now."""
        if not self.held:
            self.do_claim()
            return
        held = self.held.pop(which)
        client, when = self.client, self._later(delay)
        if not self._comes_late(held):
            client.release(held, not_before=when)

    def do_extend(self, which: int, works: Collection[Any] | None = None) -> None:
        """Hold what is in hand for a lease from now, where it is one of these works."""
        if self.held and (works is None or self.held[which].work in works):
            client, held = self.client, self.held[which]
            self.held[which] = client.extend(held, lease_for=self.equipment.lease)

    def do_dead_letter(self, which: int) -> None:
        """Set aside what is in hand."""
        if self.held:
            client, held = self.client, self.held.pop(which)
            client.dead_letter(held)
            if held.id is not None:
                self.buried.append(held.id)

    def do_redrive(self, id: int | str | None = None) -> None:
        """The task of that id, or else the first that it has set aside, is to wait again, where that can be asked."""
        if not self.client.client.has("redrive"):
            return
        if id is None and self.buried:
            id = self.buried.pop(0)
        if id is not None:
            client = self.client
            client.redrive(id)

    def do_cancel(self, id: int | str | None = None, work: Any = None) -> None:
        """Cancel the task of that id and work; without an id that of the work, which it has pushed, or the first that
        it has, where another client may name it, too."""
        if id is None and work is not None:
            id = next((id for id, each in reversed(self.pushed) if each == work), None)
            if encode_name(id) is None:
                return
        if id is not None:
            client = self.client
            client.cancel(id, work)
        elif self.pushed:
            client = self.client
            client.cancel(*self.pushed.pop(0))

    def do_count(self) -> None:
        """Ask how many tasks there are."""
        client = self.client
        client.count()

    def do_settle_all(self) -> None:
        """Ack all that is in hand."""
        while self.held:
            with suppress(Refused):
                self.do_ack(0)

    def do_drop(self) -> None:
        """What is in hand is never settled."""
        self.held.clear()

    def do_pass(self, leases: float) -> None:
        """So many leases pass on the queue's clock."""
        length = self.equipment.lease * leases
        with record(self.log, "pass", {"by": encode_length(length)}):
            self.subject.pass_time(self.equipment.place, length)

    def do_meet(self, number: int) -> None:
        """Wait for the others."""
        if self.equipment.meeting is not None:
            self.equipment.meeting.come(self.equipment.slot, number)

    def do_nap(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)

    def do_rest(self, leases: float) -> None:
        """Do nothing while so many leases really pass."""
        time.sleep(self.equipment.lease.total_seconds() * leases)

    def do_reopen(self) -> None:
        """Settle what is in hand, close the client, and open another one."""
        self.do_settle_all()
        self.do_close()
        self.do_open()

    def do_open(self) -> None:
        """Open the client, where it is not open."""
        _ = self.client

    def do_close(self) -> None:
        """Close the client."""
        self.held.clear()
        client, self._client = self._client, None
        if client is not None and client.client.has("close"):
            client.close()

    def do_drain(self, limit: int) -> None:
        """Claim and ack until the queue is empty, or `limit` tasks came out."""
        prompt = self.subject.is_prompt
        patience = 0.0 if prompt else self.subject.traits.patience.total_seconds()
        believed = EMPTIES if prompt else 1  # who may be wrong was asked again and again
        empties = 0
        while empties < believed and limit > 0:
            held = self.client.claim(lease_for=self.equipment.lease, patience=patience)
            empties = empties + 1 if held is None else 0
            if held is not None:
                limit -= 1
                with suppress(Refused):
                    self.client.ack(held)

    def do_transact(self, works: list[Any]) -> None:
        """Push in a transaction of the application's, which is left open; a file among the logs says so."""
        self._open_transactions.append(self.subject.transaction(self.equipment.place))
        tx = self._open_transactions[-1].__enter__()
        for work in works:
            tx.push(work)
        (self.equipment.logs / "transacted").touch()

    def do_die(self) -> None:
        """Die by `kill -9`, now."""
        die()

    def do_doom(self, where: float, steps: bool = False) -> None:
        """Die in the next call, at `where`, from 0 to 1, of the lines it runs, or of its steps (`TracedClient`)."""
        self.client.client.raw.doom(where, steps)

    def do_pause(self, where: float, seconds: float) -> None:
        """Pause in the next call, before the Python line that stands at `where`, from 0 to 1, of those it runs."""
        self.client.client.raw.pause(where, seconds)

    def do_fork(self, child: str, steps: list[Step]) -> None:
        """Fork; the child carries out steps with the client that this process has open, and leaves."""
        client = self.client
        with record(self.log, "fork", {"child": child}) as came, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are threads, which is so here too
            self._child, self._child_name = os.fork(), child
            if not self._child:
                self._live_as(child, client, steps)
            came(self._child)

    def do_join(self) -> None:
        """The child has left; how is in the log."""
        with record(self.log, "join", {"child": self._child_name}) as came:
            came(os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1]))

    # how they do it

    def _hold(self, held: Held) -> None:
        """It is in hand, and no earlier claim of its task is: settling that may settle this one, as in beanstalkd."""
        ends = "lease" in self.subject.promises
        self.held = [each for each in self.held if not (ends and each.is_task_of(held))] + [held]

    def _comes_late(self, held: Held) -> bool:
        """Whether the lease is nearly over, or more, where nobody refuses what comes too late and time really passes:
        the machine stood still for so long."""
        since = self._since.pop(held, None)
        if since is None or "fenced" in self.subject.promises or "lease" not in self.subject.promises:
            return False
        lease = self.equipment.lease.total_seconds()
        return not self.subject.can_pass_time and time.monotonic() - since > NEARLY * lease

    def _live_as(self, child: str, client: Recorder, steps: list[Step]) -> NoReturn:
        """Be a child: carry out the steps, within a bound, and leave."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILDHOOD)
        code = 70
        try:
            log = Log(self.equipment.logs, child)
            self.log, self._client, self.held = log, Recorder(client.client, log), []
            self.perform(steps)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _item(self, work: Any, priority: int = 0, delay: float | None = None, key: str | None = None) -> Item:
        """What is pushed; `delay` is in leases from now."""
        return Item(work, key, priority, self._later(delay), headers_of(work))

    def _later(self, delay: float | None) -> datetime | None:
        if delay is None:
            return None
        return self.subject.now(self.equipment.place) + self.equipment.lease * delay
