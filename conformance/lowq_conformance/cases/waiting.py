"""Clients that wait for a task, in a thread or a process, and what is said where they are not woken in time.

How late a client may be is what the queue states (`wake`) and, on top, what this machine shows meanwhile: how late a
thread wakes that does nothing but sleep, and how much longer work takes than the processor needs for it. Nobody is
accused of being late once: all is done again in a fresh place, and again, and only who is late each time is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from os import kill
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from types import TracebackType
from typing import Any, Self

from lowq_conformance.cases.expect import claim
from lowq_conformance.contract.outcomes import Broken, NotObserved
from lowq_conformance.history.work_text import work_text
from lowq_conformance.storm.agent_process import Orders
from lowq_conformance.storm.agents import Agent, Agents
from lowq_conformance.storm.recorder import RecordedCall, load
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import format_value
from lowq_conformance.subject.subject import Subject

WAIT = timedelta(seconds=15)
"""How long a claim waits that something is to wake."""
ASLEEP = 0.04
"""Seconds after which a claim that has begun is taken to wait, which only decides how much a test sees."""
LOOK = 0.002
NAP = 0.005
"""Seconds that the thread sleeps which only looks how late it wakes."""
LEAST = 0.3
"""Seconds that a client may be late in any case, and how much more where the thread that only sleeps was late."""
TIMES = 20
PART, PARTS = bytes(1 << 20), 12
"""What is worked on in C, for some ten milliseconds: who only sleeps is served first on a machine where all others
wait, and so is who works for a moment only."""
EVERY = 0.25
"""Seconds between two bursts of work."""
ATTEMPTS = 3
KEEPS = 600.0
"""Seconds after which a process that keeps what it has would end, if it were not killed."""
BEGINS = 30.0
"""Seconds within which a process has begun to wait."""


class Missed(Exception):
    """A client was not woken as it should have been; it is done again before that is believed."""


class Lateness:
    """How late this machine wakes who sleeps, and how slow it is, since it was made and until it is closed."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._took = self._needed = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sleep, name="lowq-lateness", daemon=True)
        self._thread.start()

    @property
    def slowness(self) -> float:
        """How many times longer work took, all in all, than it would with a processor of its own."""
        return max(1.0, self._took / self._needed) if self._needed else 1.0

    @property
    def allowance(self) -> float:
        """Seconds that a client may be late."""
        return LEAST * self.slowness + TIMES * self.worst

    def close(self) -> None:
        """Nobody measures any more."""
        self._over.set()
        self._thread.join()

    def note(self, took: float, needed: float) -> None:
        """A burst of work took so many seconds, for so many of which it had a processor."""
        self._took, self._needed = self._took + took, self._needed + needed

    def _sleep(self) -> None:
        due = time.monotonic() + EVERY
        while not self._over.is_set():
            began = time.monotonic()
            time.sleep(NAP)
            self.worst = max(self.worst, time.monotonic() - began - NAP)
            if time.monotonic() > due:
                self.note(*work())
                due = time.monotonic() + EVERY


def work() -> tuple[float, float]:
    """Seconds that a burst of work took, and for how many of them it had a processor."""
    began, had = time.monotonic(), time.thread_time()
    digest = sha256()
    for _ in range(PARTS):
        digest.update(PART)
    return time.monotonic() - began, time.thread_time() - had


class InThread:
    """A claim that waits in a thread of its own; `before` is called in that thread right before the call."""

    def __init__(
        self,
        client: Client,
        wait: timedelta,
        before: Callable[[], None] | None = None,
        lease: timedelta = MINUTE,
    ) -> None:
        self.client, self._wait, self._before, self._lease = client, wait, before, lease
        self.held: Held | None = None
        self.error: Exception | None = None
        self.began = self.ended = 0.0
        self._begun, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._claim, name="lowq-waiter", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """Who waits."""
        return f"{self.client.label}.claim in another thread"

    def is_over(self) -> bool:
        """Whether the claim has returned or raised."""
        return self._over.is_set()

    def work(self) -> Any:
        """The work that it got."""
        return None if self.held is None else (self.held.work,)

    def asleep(self, seconds: float = ASLEEP) -> None:
        """The claim has begun, and has had the time to find nothing."""
        self._begun.wait(BEGINS)
        self._over.wait(seconds)

    def settle(self) -> None:
        """What it got is done."""
        self._thread.join()
        if self.held is not None:
            self.client.ack(self.held)

    def join(self, seconds: float) -> None:
        """The thread has ended, or the seconds are over."""
        self._thread.join(seconds)

    def let_go(self) -> None:
        """The thread ends, where the queue lets it."""
        self._thread.join(0.05)

    def _claim(self) -> None:
        self.began = time.monotonic()
        self._begun.set()
        try:
            if self._before is not None:
                self._before()
            self.held = self.client.claim(lease_for=self._lease, wait=self._wait)
        except Exception as error:
            self.error = error
        finally:
            self.ended = time.monotonic()
            self._over.set()


class InProcess:
    """A claim that waits in a process of its own, and is settled there, unless the process `keeps` what it gets."""

    def __init__(
        self, agents: Agents, agent: Agent, logs: Path, name: str, wait: timedelta, *, keeps: bool = False
    ) -> None:
        self.agent, self._agents, self._logs = agent, agents, logs
        self.name = f"claim in process {agent.pid}"
        after = [["nap", KEEPS]] if keeps else [["settle_all"], ["close"]]
        agent.do([{"client": name, "slot": 0, "steps": [["open"], ["await", wait.total_seconds()], *after]}])

    @property
    def call(self) -> RecordedCall | None:
        """The claim, as it was recorded."""
        return next((call for call in load(self._logs).calls if call.kind == "claim"), None)

    @property
    def error(self) -> str | None:
        """What it raised."""
        return None if self.call is None else self.call.error

    def is_over(self) -> bool:
        """Whether the claim has returned or raised."""
        return self.call is not None and self.call.ret is not None

    def work(self) -> Any:
        """The work that it got."""
        result = None if self.call is None else self.call.result
        return None if result is None else (result["work"],)

    def asleep(self, seconds: float = ASLEEP) -> None:
        """The claim has begun, and has had the time to find nothing. Raises NotObserved where it does not begin."""
        end = time.monotonic() + BEGINS
        while self.call is None:
            if time.monotonic() > end:
                raise NotObserved("the process that was to wait did not come to it")
            time.sleep(LOOK)
        time.sleep(seconds)

    def settle(self) -> None:
        """What it got is done: the process has ended its steps."""
        self.agent.talk.limit(BEGINS)
        with suppress(TimeoutError):
            while self.agent.busy and self.agent.heard():
                pass

    def stand_still(self) -> None:
        """The process stands still, wherever it is."""
        kill(self.agent.pid, SIGSTOP)

    def go_on(self) -> None:
        """The process goes on."""
        kill(self.agent.pid, SIGCONT)

    def let_go(self) -> None:
        """The process is killed."""
        self._agents.kill(self.agent)


Waiter = InThread | InProcess


class Stage:
    """One attempt: a place, those who wait at it, and how late the machine is meanwhile."""

    def __init__(self, subject: Subject, place: Path, agents: Agents) -> None:
        self.subject, self.place, self._agents = subject, place / "place", agents
        self._logs = place / "logs"
        for folder in (self.place, self._logs):
            folder.mkdir(parents=True)
        self._waiters: list[Waiter] = []
        self.late = Lateness()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.late.close()
        for waiter in self._waiters:
            waiter.let_go()

    def open(self) -> Client:
        """A client of the queue."""
        return self.subject.open(self.place)

    def waiter(
        self, how: str, wait: timedelta = WAIT, client: Client | None = None, lease: timedelta = MINUTE
    ) -> Waiter:
        """Somebody who waits for a task, in a thread or a process, and has had the time to find none."""
        waiter = self.begin(how, wait, client, lease)
        waiter.asleep()
        return waiter

    def begin(
        self, how: str, wait: timedelta = WAIT, client: Client | None = None, lease: timedelta = MINUTE
    ) -> Waiter:
        """Somebody who begins to wait for a task, in a thread or a process."""
        if how == "processes":
            return self.process(wait, lease)
        waiter = InThread(self.open() if client is None else client, wait, lease=lease)
        self._waiters.append(waiter)
        return waiter

    def process(self, wait: timedelta = WAIT, lease: timedelta = MINUTE, *, keeps: bool = False) -> InProcess:
        """A process that begins to wait for a task, and settles what it gets unless it `keeps` that."""
        subject, name = self.subject, f"waiter {len(self._waiters)}"
        logs = self._logs / name
        logs.mkdir()
        agent = self._agents.starting(
            Orders(subject.target, subject.promises, subject.traits, self.place, logs, lease)
        )
        waiter = InProcess(self._agents, agent, logs, name, wait, keeps=keeps)
        subject.journal.note(f"process {agent.pid}: open(place).claim(wait={format_value(wait)})")
        self._waiters.append(waiter)
        return waiter

    def crowd(self, how: str, many: int, wait: timedelta = WAIT) -> list[Waiter]:
        """So many who wait for a task, all of whom have had the time to find none."""
        waiters = [self.begin(how, wait) for _ in range(many)]
        for waiter in waiters:
            waiter.asleep(0)
        time.sleep(ASLEEP)
        return waiters

    def returns(self, waiter: Waiter, more: timedelta = timedelta(0)) -> bool:
        """Whether the claim comes back within the time that the queue states, `more` on top, and the allowance."""
        began = time.monotonic()
        wake = (self.subject.traits.wake + more).total_seconds()
        while not waiter.is_over():
            if time.monotonic() - began > wake + self.late.allowance:
                return waiter.is_over()
            time.sleep(LOOK)
        return True

    def require_woken(
        self, waiter: Waiter, looks: Client, *works: Any, more: timedelta = timedelta(0), settle: bool = True
    ) -> Any:
        """The claim gets one of the works, which was settled; `looks` says whether one waited all the time.

        A thread settles nothing without `settle`: what settles a task may wake others, too. Raises Missed.
        """
        if not self.returns(waiter, more):
            bound = (self.subject.traits.wake + more).total_seconds()
            self.subject.journal.note(
                f"{bound + self.late.allowance:.2f} s later {waiter.name} still waits, where a thread that only "
                f"slept woke {1000 * self.late.worst:.0f} ms late at most"
            )
            found = claim(looks)
            if found is None and waiter.is_over():
                raise Missed(f"{waiter.name} returned later than {bound:g} s after there was a task")
            there = "no other claim gets the task" if found is None else f"{format_value(found.work)} is there"
            raise Missed(f"{waiter.name} waits on, and {there}")
        got = waiter.work()
        if got is None:
            said = "None" if waiter.error is None else f"{waiter.error}"
            raise Missed(f"{waiter.name} came back with {said}, where a task is due")
        if work_text(got[0]) not in [work_text(work) for work in works]:
            raise Broken(f"{waiter.name} got {format_value(got[0])}, which is none of what waited")
        if settle:
            waiter.settle()
        return got[0]


class Passing:
    """When as much time has really passed, the queue's clock is moved by it, where it can be."""

    def __init__(self, stage: Stage, wait: timedelta) -> None:
        self._timer: threading.Timer | None = None
        if stage.subject.can_pass_time:
            resolution = stage.subject.resolution
            move = (stage.place, wait + resolution)
            self._timer = threading.Timer(wait.total_seconds(), stage.subject.pass_time, move)
            self._timer.start()

    def close(self) -> None:
        """It has been moved, or will not be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


def confirm_scene(subject: Subject, place: Path, agents: Agents, scene: Callable[[Stage], None]) -> None:
    """The scene goes as it should, in one of several attempts. Raises Broken where it does in none."""

    def play(attempt: int) -> None:
        subject.journal.calls.clear()
        with Stage(subject, place / f"attempt {attempt}", agents) as stage:
            scene(stage)

    if said := find_missed(ATTEMPTS, play):
        raise Broken(said)


def find_missed(attempts: int, play: Callable[[int], None]) -> str | None:
    """What was missed in the last of the attempts, where it was so in each; None where one went as it should."""
    for attempt in range(attempts):
        try:
            play(attempt)
            return None
        except Missed as missed:
            said = str(missed)
    return f"{said}; so it was in each of {attempts} attempts"
