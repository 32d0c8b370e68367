"""The first client of a schedule: it stands still in its call while the others, which it directs, make theirs.

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
from lowq_conformance.support.sockets import make_pair

NAMES = ("first", "second", "third")
"""What the clients are called."""
HOLD = 0.05
"""Seconds after which a call that has not returned, and does not run, waits for the one that stands still."""
AGAIN = 0.004
"""The same where the call was seen to wait before the point before."""
SLOWEST = 5.0
"""Seconds after which the one that stands still goes on, whatever the machine is busy with."""


WAKING = 60.0
"""Seconds within which the other clients must be there."""


class Stuck(Exception):
    """The client of that name did not answer."""


def sleeps(stat: Path) -> bool:
    """Whether the thread, whose file of the kernel this is, waits for something; where that is not known, it does."""
    try:
        return stat.read_bytes().rpartition(b")")[2].split()[0] != b"R"
    except OSError:
        return True


class Partner:
    """The second or third client, as the first one sees it."""

    def __init__(self, talk: Channel, name: str, *, told: bool) -> None:
        self.talk, self.name = talk, name
        self._told = told
        """Whether it can be seen whether it sleeps: not where its calls are made on a loop's thread."""
        self._where: Path | None = None
        self._answers: deque[dict[str, Any]] = deque()
        self.begin()

    def begin(self) -> None:
        """Nothing has happened yet in this run."""
        self.lines: list[Any] = []
        self.points: list[Any] = []
        self.holds, self.number = 0, -1
        """How many tasks it has in hand, and which of its calls the last one was."""

    def hear(self, seconds: float) -> dict[str, Any] | None:
        """The next thing that it tells, or None where it tells nothing for so long. Raises Stuck where it is gone."""
        end = time.monotonic() + seconds
        while not self._answers:
            ready = find_readable([self.talk], end - time.monotonic())
            if not ready:
                return None
            events = self.talk.hear()
            if events is None:
                raise Stuck(self.name)
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
    """Carries out schedules: its own part, and by its partners those of the others."""

    def __init__(self, talk: Channel, equipment: Equipment, how: str, partners: Sequence[Partner]) -> None:
        super().__init__(talk, equipment, how, NAMES[0])
        self._partners = partners
        self._order: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._lines: list[Any] = []
        self._other: Standing | None = None
        self._unheard: list[Partner] = []
        """Who has not yet told of the end of its call."""

    def obey(self, order: dict[str, Any]) -> None:
        """The schedule was made, and what came of it was told."""
        if "scan" in order:
            self.scan(order)
            return
        self._order, self._lines, self._other, self._unheard = order, [], None, []
        for partner in self._partners:
            partner.begin()
        self._told = {"run": order["run"], "stood": False, "waited": [], "points": [], "blocks": False, "stuck": ""}
        self._told["crossing"] = [-1 for _ in order["calls"]]
        try:
            self._play(order)
        except Stuck as stuck:
            self._told["stuck"] = str(stuck)
        self._lines += self.ledger.take()
        own = self.performer.own
        lines = {NAMES[0]: self._lines} | {partner.name: partner.lines for partner in self._partners}
        self._told |= {"lines": lines, "second_points": self._partners[0].points}
        self.talk.tell({**self._told, "home": "" if own is None else own.home_name})

    def scan(self, order: dict[str, Any]) -> None:
        """So many tasks went through, or as many as in so many seconds, of the clock or of the processor, and it was
        told before which of them a call came to lines to which none had come before, and to which."""
        seen: dict[str, set[tuple[str, int]]] = {}
        rare: dict[str, Any] = {}
        end, busy = time.monotonic() + order["seconds"], time.process_time() + order["busy"]
        for number in range(order["scan"]):
            steps: list[Step] = [["push", f"worn {number}"], ["claim"], ["ack", 0]]
            for step in steps:
                walk = self.walk(step, lambda _: None)
                lines = {(point.file, point.line) for point in ({} if walk is None else walk.points())}
                new = lines - seen.setdefault(step[0], set())
                seen[step[0]] |= lines
                if new and number >= order["settled"] and self.performer.own is not None:
                    named = [[self.performer.own.name(file), line] for file, line in new]
                    rare.setdefault(step[0], [number, named])
            self.ledger.take()
            if time.monotonic() > end or time.process_time() > busy:
                break
        self.talk.tell({"run": order["run"], "rare": rare})

    def leave(self) -> None:
        """Nobody is heard or told here any more."""
        self.talk.close()
        for partner in self._partners:
            partner.talk.close()

    def _play(self, order: dict[str, Any]) -> None:
        self._do(order["before"])
        order["calls"] = [self._name(step, told=number > 0) for number, step in enumerate(order["calls"])]
        self._cross(order)
        self._do(order["after"])
        for partner in self._partners:
            if partner.holds:
                self._have_done(partner, [["settle_all"]])
        self.performer.perform([["settle_all"]])
        if order["passes"]:
            self.performer.perform([["pass", order["passes"]]])  # so that what was settled in words only comes back
        self._collect()
        if order["again"]:
            self._do(order["again"])
            self._collect()

    def _do(self, parts: Sequence[tuple[int, list[Step]]]) -> None:
        """The clients of these numbers have done their steps, one after the other."""
        for number, steps in parts:
            if number == 0:
                self.performer.perform(steps)
            elif steps:
                self._have_done(self._partners[number - 1], steps)

    def _collect(self) -> None:
        """All came out that was left."""
        self._lines += self.ledger.take()
        lines = [(NAMES[0], self._lines), *((partner.name, partner.lines) for partner in self._partners)]
        left = sum(count_left(call) for name, each in lines for call in calls_of(name, each))
        self.performer.perform([["collect", left]])

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
        """All calls were made; the others' while the first stood still, if it came to where it was to."""
        first, *others = order["calls"]
        awaits = self.how in ("threads", "coroutines") and self.equipment.subject.asynchronous
        if order["watch"]:
            walk = self.walk(first, lambda _: None, awaits=awaits, reaches=self.reach())
            self._told["points"] = self.points_of(walk)
        else:
            self.walk(first, self._arrive(order, awaits=awaits), awaits=awaits)
        self._told["crossing"][0] = self.ledger.number
        if not self._told["stood"]:
            for partner, call in zip(self._partners, others, strict=False):
                self._have_done(partner, [call], watch=order["watch"] and partner is self._partners[0])
        if self._other is not None:
            self._other.send_on()
            self._told["blocks"] = self._other.blocks
        for partner in self._unheard:
            self._take(partner, self._hear_end(partner, order["bound"]))
        for number, _ in enumerate(others):
            self._told["crossing"][number + 1] = self._partners[number].number

    def _arrive(self, order: dict[str, Any], *, awaits: bool) -> Any:
        """What to do at the point where this client is to stand still."""
        stand = self.place_of(order["stand"])

        def arrive(point: Point) -> Gate | None:
            if point != stand or self._told["stood"]:
                return None
            self._told["stood"] = True
            if not awaits:
                self._let_others(order)
                return None
            gate = Gate()
            threading.Thread(target=self._let_others, args=(order, gate), daemon=True).start()
            return gate

        return arrive if stand else None

    def _let_others(self, order: dict[str, Any], gate: Gate | None = None) -> None:
        """The other calls, one after the other, are over, or wait for this client, which goes on; or the second one
        stands still, too."""
        standing: Partner | None = None
        stands = order["second_stand"], None
        try:
            for partner, call, stand in zip(self._partners, order["calls"][1:], stands, strict=False):
                if order["still"]:
                    told = self._stop(partner, call, order["still"])
                else:
                    self._tell(partner, [call], stand=stand)
                    told = partner.hear_soon(waited=order["waited"])
                if told is None:
                    self._unheard.append(partner)
                    self._told["waited"].append(partner.name)
                    self.talk.tell({"run": order["run"], "waits": partner.name})
                elif "stands" in told:
                    self._unheard.append(partner)
                    standing = partner
                else:
                    self._take(partner, told)
            if standing is not None:
                self._other = Standing(standing)
        finally:
            if gate is not None:
                gate.set_result(None)

    def _stop(self, partner: Partner, call: Step, seconds: float) -> dict[str, Any] | None:
        """This process was stopped until the other's call was over, or its time was; what that call told."""
        self._tell(partner, [call], wakes=[os.getpid(), seconds])
        os.kill(os.getpid(), signal.SIGSTOP)
        partner.talk.tell({"awake": True})
        return partner.hear(0)

    def _hear_end(self, partner: Partner, bound: float) -> dict[str, Any] | None:
        """What the other client tells when its call is over; where it comes to its point only now, it goes on."""
        told = partner.hear(bound)
        if told is not None and "stands" in told:
            partner.talk.tell({"go": True})
            told = partner.hear(bound)
        return told

    def _have_done(self, partner: Partner, steps: list[Any], *, watch: bool = False) -> None:
        """The other client has done these steps, and told of the points of the last one to `watch`. Raises Stuck."""
        self._tell(partner, steps, watch=watch)
        self._take(partner, partner.hear(self._order["bound"]))

    def _tell(
        self, partner: Partner, steps: list[Any], stand: Any = None, wakes: Any = None, *, watch: bool = False
    ) -> None:
        where = {"run": self._order["run"], "place": self._order["place"]}
        partner.talk.tell({**where, "steps": steps, "stand": stand, "wakes": wakes, "watch": watch})

    def _take(self, partner: Partner, told: dict[str, Any] | None) -> None:
        """What the other client told is in the record."""
        if told is None:
            raise Stuck(partner.name)
        if "lines" not in told:
            self.talk.tell(told)  # that something is wrong with the harness or the suite
            os._exit(0)
        partner.lines += told["lines"]
        partner.points += told["points"]
        partner.holds, partner.number = told["held"], told["number"]


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


def play(how: str, talk: Channel, others: Sequence[socket.socket], equipment: Equipment, clients: int) -> None:
    """The actors of this process have done all that they were told.

    The process has all `clients`, as threads or as the two sides of a fork, or one of them: with slot 0 the first.
    """
    if how == "alone":
        Actor(talk, equipment, how, "q").act()
        return
    if how == "processes" and equipment.slot:
        Actor(Channel(others[0]), equipment, how, NAMES[equipment.slot]).act()
        return
    ends = [] if how == "processes" else [make_pair() for _ in range(clients - 1)]
    told = not equipment.subject.asynchronous
    channels = [Channel(other) for other in (others if how == "processes" else [mine for mine, _ in ends])]
    partners = [Partner(channel, name, told=told) for channel, name in zip(channels, NAMES[1:], strict=False)]
    first = Director(talk, equipment, how, partners)
    for partner, (_, its) in zip(partners, ends, strict=False):
        if how == "fork":
            fork(first, Channel(its))
            continue
        actor = Actor(Channel(its), equipment, how, partner.name, shares=first if how == "coroutines" else None)
        threading.Thread(target=actor.act, daemon=True).start()
    second, *_ = [partner.hear(WAKING) for partner in partners]
    first.act(**({"child": second["ready"]} if second and how == "fork" else {}))


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
