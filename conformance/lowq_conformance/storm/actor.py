"""An actor of a sweep: one client, that carries out steps as it is told, and stands still where it is told to.

What it records it keeps in memory and answers with, because nobody is killed here.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowq_conformance.contract.outcomes import Refused
from lowq_conformance.storm.performer import Equipment, Performer, Step, trouble_of
from lowq_conformance.storm.recorder import Log, Recorder
from lowq_conformance.support.asking import ask_again
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.file_limit import LimitedClient, find_largest, survive_limits
from lowq_conformance.support.own_code import OwnCode, own_code
from lowq_conformance.support.points import Arrive, Point, Reach, Walk, WalkedClient, listen

WAKING = 0.01
"""Seconds between two attempts to wake a process."""


class Ledger(Log):
    """A log in memory."""

    def __init__(self, process: str) -> None:
        self.process, self.number = process, -1
        self.lines: list[list[Any]] = []

    def _write(self, encode_id: list[Any], at: int) -> None:
        self.lines.append([*encode_id, at])

    def take(self) -> list[list[Any]]:
        """What was written since this was asked last."""
        lines, self.lines = self.lines, []
        return lines


class WalkingPerformer(Performer):
    """A performer whose calls can be watched."""

    own: OwnCode | None = None
    steered: WalkedClient | None = None

    def steer(self, raw: Any) -> Any:
        self.own = own_code(raw, self.subject.harness)
        self.steered = WalkedClient(raw)
        return self.steered

    def let_go(self) -> None:
        """The client is closed, where it can be."""
        if self._client is not None:
            self._client.client.let_go()

    def take_over(self, other: WalkingPerformer) -> None:
        """Go on, on this side of a fork or beside it, with the client that the other has opened."""
        self.own, self.steered = other.own, other.steered
        self._client = Recorder(other.client.client, self.log)

    def do_collect(self, expected: int) -> None:
        """Claim and ack what is left: until the queue says it is empty, or, where it may say so at any time, until so
        many came out or its patience is over."""
        prompt = self.subject.is_prompt
        patience = 0.0 if prompt else self.subject.traits.patience.total_seconds()
        while prompt or expected > 0:
            held = self.client.claim(lease_for=self.equipment.lease, patience=patience)
            if held is None:
                return
            expected -= 1
            try:
                self.client.ack(held)
            except Refused:
                return

    def do_work_off(self, many: int) -> None:
        """So many tasks were pushed, claimed and acked, of which nothing is recorded."""
        client, patience = self.client.client, self.subject.traits.patience.total_seconds()
        for number in range(many):
            client.push(f"worn {number}")
            again, held = ask_again(patience), client.claim(lease_for=self.equipment.lease)
            while held is None and next(again, False):
                held = client.claim(lease_for=self.equipment.lease)
            if held is not None:
                client.ack(held)

    def do_limited(self, room: int | None, step: Step) -> None:
        """The step was carried out while no file could grow by more than so many bytes past the largest of the place,
        or where that is below zero, be written past so many bytes."""
        client = self.client.client
        whole = client.raw
        survive_limits()
        if room is not None:
            client.raw = LimitedClient(whole, -room if room < 0 else find_largest(self.equipment.place) + room)
        try:
            self._take(step)
        finally:
            client.raw = whole

    def do_insist(self, step: Step) -> None:
        """The step was carried out; if it is refused, once more, by a client that is opened for it."""
        word, *arguments = step
        try:
            getattr(self, f"do_{word}")(*arguments)
        except Refused:
            with suppress(Refused):
                self.do_close()
            self.perform([["open"], step])


class Actor:
    """Does what it is told over a channel, until nobody tells it anything any more."""

    def __init__(
        self, talk: Channel, equipment: Equipment, how: str, name: str, *, shares: Actor | None = None
    ) -> None:
        """One that `shares` has the other one's client instead of its own."""
        self._shares = shares
        self.talk, self.ledger, self.how = talk, Ledger(name), how
        self.equipment = replace(equipment, log=self.ledger)
        self.performer = WalkingPerformer(self.equipment)
        self._run = 0

    def act(self, **more: Any) -> None:
        """It has said that it is ready, and more, and done all that it was told."""
        listen()
        self.talk.tell({"ready": os.getpid(), "thread": threading.get_native_id(), **more})
        while (order := self.talk.next()) is not None:
            try:
                self.begin(order)
                self.obey(order)
            except Exception as error:
                self.talk.tell(trouble_of(error))
                return

    def begin(self, order: dict[str, Any]) -> None:
        """The order is the first one of a run, in which nothing is in hand yet, perhaps at another place; or not."""
        if order["run"] == self._run:
            return
        self._run, self.ledger.number = order["run"], -1
        self.ledger.take()
        if Path(order["place"]) != self.equipment.place:
            if self._shares is None:
                self.performer.let_go()
            self.equipment = replace(self.equipment, place=Path(order["place"]))
            self.performer = WalkingPerformer(self.equipment)
        for kept in (self.performer.held, self.performer.pushed, self.performer.buried):
            kept.clear()
        if self._shares is None:
            self.performer.perform([["open"]])
        else:
            self.performer.take_over(self._shares.performer)

    def obey(self, order: dict[str, Any]) -> None:
        """The steps were carried out, the last one standing still where that is told; what was recorded was told."""
        stand = self.place_of(order.get("stand"))

        def arrive(point: Point) -> None:
            nonlocal stand
            if point == stand:
                stand = None
                self.talk.tell({"stands": True})
                if self.talk.next() is None:
                    os._exit(0)

        with self.waking(order.get("wakes")):
            *others, last = order["steps"]
            self.performer.perform(others)
            if order.get("watch"):
                walk = self.walk(last, lambda _: None, reaches=self.reach())
            else:
                walk = self.walk(last, arrive if stand else None)
            held = len(self.performer.held)
            points = self.points_of(walk) if order.get("watch") else []
            self.talk.tell(
                {"lines": self.ledger.take(), "held": held, "number": self.ledger.number, "points": points}
            )

    def reach(self) -> Reach:
        """What the other client is not part of; one of a queue for threads only has all that it keeps in common."""
        if self.how not in ("threads", "coroutines"):
            return "process"
        return "thread" if "processes" in self.equipment.subject.promises else "object"

    def points_of(self, walk: Walk | None) -> list[list[Any]]:
        """The points of the call, and in which stretch of it each one is."""
        found = {} if walk is None else walk.points()
        return [[*self.describe_point(point), stretch] for point, stretch in found.items()]

    @contextmanager
    def waking(self, told: Sequence[Any] | None) -> Iterator[None]:
        """The process that is told of, which stops itself, goes on when the block is over, or so many seconds are.

        It may stop only when it was woken already, and so is woken until it says that it is awake.
        """
        if told is None:
            yield
            return
        pid, seconds = told
        end, over, awake = time.monotonic() + seconds, threading.Event(), threading.Event()

        def wake() -> None:
            over.wait(max(0.0, end - time.monotonic()))
            while True:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                if awake.wait(WAKING):
                    return

        waker = threading.Thread(target=wake, daemon=True)
        waker.start()
        try:
            yield
        finally:
            over.set()
            if self.talk.next() is None:
                os._exit(0)
            awake.set()
            waker.join()

    def walk(
        self, step: Step, arrive: Arrive | None, *, awaits: bool = False, reaches: Reach | None = None
    ) -> Walk | None:
        """The step was carried out, watched where somebody wants to hear of its points; None where it was not."""
        own, steered = self.performer.own, self.performer.steered
        walk = None
        if own is not None and steered is not None and arrive is not None:
            walk = steered.walk = Walk(own, arrive, awaits=awaits, reaches=reaches)
        self.performer.perform([step])
        if steered is not None:
            steered.walk = None
        return walk

    def place_of(self, told: Sequence[Any] | None) -> Point | None:
        """The point that is told of."""
        own = self.performer.own
        if told is None or own is None:
            return None
        file, line, time, step = told
        return Point(own.file(file), line, time, step)

    def describe_point(self, point: Point) -> list[Any]:
        """How a point is told of."""
        assert self.performer.own is not None
        return [self.performer.own.name(point.file), point.line, point.time, point.step]
