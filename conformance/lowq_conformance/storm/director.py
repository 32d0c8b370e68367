"""The first client of a schedule: it stands still in its call while the second one, which it directs, makes its own.

Whoever judges hears of each schedule when it is over, and nobody waits for that: on a busy machine what takes long is
to wait for one's turn.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowq_conformance.storm.actor import Actor
from lowq_conformance.storm.performer import Equipment, Step
from lowq_conformance.storm.recorder import RecordedCall, calls_of, encode_name, pushes_added
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.points import Gate, Point
from lowq_conformance.support.readiness import find_readable

NAMES = ("first", "second")
"""What the two clients are called."""
HOLD = 0.05
"""Seconds after which a call that has not returned, and does not run, waits for the one that stands still."""
AGAIN = 0.004
"""The same where the call was seen to wait before the point before."""
SLOWEST = 5.0
"""Seconds after which the one that stands still goes on, whatever the machine is busy with."""


WAKING = 60.0
"""Seconds within which the second client must be there."""


class Stuck(Exception):
    """The second client did not answer."""


def sleeps(stat: Path) -> bool:
    """Whether the thread, whose file of the kernel this is, waits for something; where that is not known, it does."""
    try:
        return stat.read_bytes().rpartition(b")")[2].split()[0] != b"R"
    except OSError:
        return True


class Partner:
    """The second client, as the first one sees it."""

    def __init__(self, talk: Channel, *, told: bool) -> None:
        self.talk = talk
        self._told = told
        """Whether it can be seen whether it sleeps: not where its calls are made on a loop's thread."""
        self._where: Path | None = None
        self._answers: deque[dict[str, Any]] = deque()

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """The next thing that it tells, or None where it tells nothing for so long. Raises Stuck where it is gone."""
        end = time.monotonic() + seconds
        while not self._answers:
            ready = find_readable([self.talk], end - time.monotonic())
            if not ready:
                return None
            events = self.talk.hear()
            if events is None:
                raise Stuck("it is gone")
            self._answers.extend(events)
        told = self._answers.popleft()
        if "ready" in told:
            self._where = Path(f"/proc/{told['ready']}/task/{told['thread']}/stat")
        return told

    def hear_soon(self, *, waited: bool) -> dict[str, Any] | None:
        """The next thing that it tells, or None where it waits for the first one: it sleeps for long, or for a moment
        where it `waited` before."""
        end = time.monotonic() + SLOWEST
        seconds = AGAIN if waited else HOLD
        told = self.hear(seconds)
        while told is None and not self._sleeps() and time.monotonic() < end:
            told = self.hear(seconds)
        return told

    def _sleeps(self) -> bool:
        """Whether it waits for something, rather than for a processor; where that is not known, it does."""
        return self._where is None or not self._told or sleeps(self._where)


class Standing:
    """The second client, which stands still too: until the first one's call is over, or waits for it."""

    def __init__(self, partner: Partner) -> None:
        """The thread that makes it is that of the first call."""
        self.blocks = False
        """Whether the first one waited for it."""
        self._partner, self._gone, self._mutex = partner, threading.Event(), threading.Lock()
        self._state = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
        threading.Thread(target=self._watch, daemon=True).start()

    def send_on(self) -> None:
        """It goes on, if it has not before."""
        with self._mutex:
            if not self._gone.is_set():
                self._gone.set()
                self._partner.talk.tell({"go": True})

    def _watch(self) -> None:
        end = time.monotonic() + SLOWEST
        while not self._gone.wait(HOLD):
            if sleeps(self._state) or time.monotonic() > end:
                self.blocks = True
                self.send_on()


class Director(Actor):
    """Carries out schedules: its own part, and by its partner the other one."""

    def __init__(self, talk: Channel, equipment: Equipment, how: str, partner: Partner) -> None:
        super().__init__(talk, equipment, how, NAMES[0])
        self._partner = partner
        self._order: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._lines: dict[str, list[Any]] = {}
        self._other: Standing | None = None

    def obey(self, order: dict[str, Any]) -> None:
        """The schedule was made, and what came of it was told."""
        self._order, self._lines, self._other = order, {name: [] for name in NAMES}, None
        self._told = {"run": order["run"], "crossing": [-1, -1], "stood": False, "waited": False}
        self._told |= {"points": [], "second_points": [], "blocks": False}
        try:
            self._play(order)
            self._told["over"] = True
        except Stuck:
            self._told["over"] = False
        self._lines["first"] += self.ledger.take()
        own = self.performer.own
        self.talk.tell({**self._told, "lines": self._lines, "home": "" if own is None else own.home_name})

    def leave(self) -> None:
        """Nobody is heard or told here any more."""
        self.talk.close()
        self._partner.talk.close()

    def _play(self, order: dict[str, Any]) -> None:
        self.performer.perform(order["before"][0])
        if order["before"][1]:
            self._have_done(order["before"][1])
        self.performer.perform(order["before"][2])
        order["first"], order["second"] = (
            self._name(order["first"], told=False),
            self._name(order["second"], told=True),
        )
        self._cross(order)
        if order["after"][1] or self._told.get("held"):
            self._have_done([*order["after"][1], ["settle_all"]])
        self.performer.perform([*order["after"][0], ["settle_all"]])
        if order["passes"]:
            self.performer.perform([["pass", order["passes"]]])  # so that what was settled in words only comes back
        self._collect()
        if any(order["again"]):
            if order["again"][0]:
                self._have_done(order["again"][0])
            self.performer.perform(order["again"][1])
            self._collect()

    def _collect(self) -> None:
        """All came out that was left."""
        self._lines["first"] += self.ledger.take()
        calls = [call for name in NAMES for call in calls_of(name, self._lines[name])]
        self.performer.perform([["collect", sum(map(count_left, calls))]])

    def _name(self, step: Step, *, told: bool) -> Step:
        """The step with the id of the task that it is about, which this client knows, as it can be `told` to another.

        Nothing is done where there is none.
        """
        performer = self.performer
        match step[0]:
            case "cancel":
                known = [list(named) for named in performer.pushed[-1:]]
            case "redrive":
                known = [[id] for id in performer.buried[-1:]]
            case _:
                return step
        for id, *work in known:
            if (name := encode_name(id) if told else id) is not None:
                return [step[0], name, *work]
        return ["open"]

    def _cross(self, order: dict[str, Any]) -> None:
        """Both calls were made; the second one while the first stood still, if it came to where it was to."""
        awaits = self.how in ("threads", "coroutines") and self.equipment.subject.asynchronous
        if order["watch"]:
            walk = self.walk(order["first"], lambda _: None, awaits=awaits, reaches=self.reach())
            self._told["points"] = self.points_of(walk)
        else:
            self.walk(order["first"], self._arrive(order, awaits=awaits), awaits=awaits)
        self._told["crossing"][0] = self.ledger.number
        if not self._told["stood"]:
            self._have_done([order["second"]], watch=order["watch"])
        elif self._told["waited"] or self._other is not None:
            if self._other is not None:
                self._other.send_on()
                self._told["blocks"] = self._other.blocks
            self._take(self._hear_end(order["bound"]))
        self._told["crossing"][1] = self._told.pop("number")

    def _arrive(self, order: dict[str, Any], *, awaits: bool) -> Any:
        """What to do at the point where this client is to stand still."""
        stand = self.place_of(order["stand"])

        def arrive(point: Point) -> Gate | None:
            if point != stand or self._told["stood"]:
                return None
            self._told["stood"] = True
            if not awaits:
                self._let_other(order)
                return None
            gate = Gate()
            threading.Thread(target=self._let_other, args=(order, gate), daemon=True).start()
            return gate

        return arrive if stand else None

    def _let_other(self, order: dict[str, Any], gate: Gate | None = None) -> None:
        """The second call is over, or waits for this client, which goes on."""
        try:
            if order["still"]:
                told = self._stop(order)
            else:
                self._tell([order["second"]], stand=order["second_stand"])
                told = self._partner.hear_soon(waited=order["waited"])
            if told is None:
                self._told["waited"] = True
                self.talk.tell({"run": order["run"], "waits": True})
            elif "stands" in told:
                self._other = Standing(self._partner)
            else:
                self._take(told)
        finally:
            if gate is not None:
                gate.set_result(None)

    def _stop(self, order: dict[str, Any]) -> dict[str, Any] | None:
        """This process was stopped until the second call was over, or its time was; what that call told."""
        self._tell([order["second"]], wakes=[os.getpid(), order["still"]])
        os.kill(os.getpid(), signal.SIGSTOP)
        self._partner.talk.tell({"awake": True})
        return self._partner.hear(0)

    def _hear_end(self, bound: float) -> dict[str, Any] | None:
        """What the second client tells when its call is over; where it comes to its point only now, it goes on."""
        told = self._partner.hear(bound)
        if told is not None and "stands" in told:
            self._partner.talk.tell({"go": True})
            told = self._partner.hear(bound)
        return told

    def _have_done(self, steps: list[Any], *, watch: bool = False) -> None:
        """The second client has done these steps, and told of the points of the last one to `watch`. Raises Stuck."""
        self._tell(steps, watch=watch)
        self._take(self._partner.hear(self._order["bound"]))

    def _tell(self, steps: list[Any], stand: Any = None, wakes: Any = None, *, watch: bool = False) -> None:
        where = {"run": self._order["run"], "place": self._order["place"]}
        self._partner.talk.tell({**where, "steps": steps, "stand": stand, "wakes": wakes, "watch": watch})

    def _take(self, told: dict[str, Any] | None) -> None:
        """What the second client told is in the record."""
        if told is None:
            raise Stuck("it does not answer")
        if "lines" not in told:
            self.talk.tell(told)  # that something is wrong with the harness or the suite
            os._exit(0)
        self._lines["second"] += told["lines"]
        self._told["second_points"] += told["points"]
        self._told["held"], self._told["number"] = told["held"], told["number"]


def count_left(call: RecordedCall) -> int:
    """How many tasks more are to come out after the call, as far as it says; less than none where it took some."""
    took = call.error is None and call.ret is not None
    match call.kind:
        case "ack" | "dead_letter":
            return -int(took)
        case "cancel":
            return -int(took and call.result is True)
        case "redrive":
            return int(took and call.result is not False)
    return pushes_added(call)


def play(how: str, talk: Channel, others: Sequence[socket.socket], equipment: Equipment) -> None:
    """The actors of this process have done all that they were told.

    The process has both clients, as threads or as the sides of a fork, or one of two: with slot 0 the first.
    """
    if how == "alone":
        Actor(talk, equipment, how, "q").act()
        return
    if how == "processes" and equipment.slot == 1:
        Actor(Channel(others[0]), equipment, how, NAMES[1]).act()
        return
    if how == "processes":
        partner = Channel(others[0])
    else:
        mine, its = socket.socketpair()
        partner = Channel(mine)
    seen = Partner(partner, told=not equipment.subject.asynchronous)
    first = Director(talk, equipment, how, seen)
    if how in ("threads", "coroutines"):
        second = Actor(Channel(its), equipment, how, NAMES[1], shares=first if how == "coroutines" else None)
        threading.Thread(target=second.act, daemon=True).start()
    elif how == "fork":
        fork(first, Channel(its))
    ready = seen.hear(WAKING)
    first.act(**({"child": ready["ready"]} if ready and how == "fork" else {}))


def fork(first: Director, talk: Channel) -> None:
    """Another side goes on with the client of the first, and this one returns; that side leaves when it has ended."""
    _ = first.performer.client
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are threads, which is so here too
        if os.fork():
            talk.close()
            return
    try:
        first.leave()
        second = Actor(talk, first.equipment, "fork", NAMES[1])
        second.performer.take_over(first.performer)
        second.act()
    finally:
        os._exit(0)
