"""Several clients of one queue whose connections are cut now and then, and whether the sequential model explains it.

One calls at a time, so that all the doubt there is comes from calls whose answer did not come: they acted or not,
then or later. Leases are long, and nobody's ends.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, get_args

from lowq_conformance.cases.away import Scene
from lowq_conformance.cases.judged_calls import HOUR
from lowq_conformance.checker.judge import check
from lowq_conformance.contract.outcomes import Broken, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.history.operation import Op
from lowq_conformance.history.work_text import work_text
from lowq_conformance.storm.recorder import encode_length
from lowq_conformance.storm.to_history import UNSURE
from lowq_conformance.subject.client import Client, Held
from lowq_conformance.support.proxy import Fault, How, Toward

CLIENTS = 3
OFTEN = 0.35
"""How many of the calls meet a fault."""
IN_HAND = 4
CLAIMS = 3
"""Claims of another client behind a cut: the first may be refused, for its connection was cut, too."""
FAULTS: tuple[How, ...] = tuple(how for how in get_args(How) if how not in ("stall", "delay"))
HELD_TWICE = ("claimed twice", "settled twice", "stale settle")
"""Faults of a history that say that two held one task."""


@dataclass(slots=True)
class CutClients:
    """The clients at one place, what each has in hand, and the history of their calls."""

    scene: Scene
    random: Random
    profile: Profile
    ops: list[Op] = field(default_factory=list)
    happened: int = 0
    _hands: list[tuple[int, Held, int]] = field(default_factory=list)
    _start: int = field(default_factory=time.monotonic_ns)
    _pushed: int = 0

    def play(self) -> None:
        """The calls were made and judged. Raises Broken."""
        proxy = self.scene.served.need_proxy()
        clients = [self.scene.open() for _ in range(CLIENTS)]
        self._cut_who_has_one(clients[0], clients[1])
        end = time.monotonic() + self.profile.cutting
        for _ in range(self.profile.hops):
            if time.monotonic() > end and self.happened > CLIENTS:
                break
            fault = None
            if self.random.random() < OFTEN:
                toward: Toward = self.random.choice(("server", "client"))
                fault = Fault(toward, self.random.randint(1, 2), self.random.choice(FAULTS))
            proxy.plan(fault)
            if fault is not None:
                self.scene.subject.journal.note(f"in what follows, {fault}")
            self._step(self.random.randrange(CLIENTS), clients)
            self.happened += proxy.happened
        proxy.plan(None)
        self._drain(self.scene.open(proxied=False))
        self._judge()

    def _cut_who_has_one(self, first: Client, second: Client) -> None:
        """The first client has a task in hand, every connection was cut, and the second one claimed."""
        for _ in range(2):
            self._push(first)
        self._claim(first, 0)
        self.scene.subject.journal.note("every connection through the proxy is cut")
        self.scene.served.need_proxy().cut(abruptly=self.random.random() < 0.5)
        self.happened += 1
        for _ in range(CLAIMS):
            self._claim(second, 1)

    def _step(self, who: int, clients: list[Client]) -> None:
        """One call by that client, which is drawn."""
        q = clients[who]
        mine = [hand for hand in self._hands if hand[0] == who]
        draw = self.random.random()
        if draw < 0.35:
            self._push(q)
        elif draw < 0.7 and len(mine) < IN_HAND:
            self._claim(q, who)
        elif mine:
            self._settle(q, self.random.choice(mine))

    def _push(self, q: Client) -> None:
        work = f"work {self._pushed}"
        self._pushed += 1
        op = self._begin("push", q, work)
        with suppress(Refused):
            answer = self.scene.ends(f"{q.label}.push", lambda: q.push(work))
            added = True if answer.added is None and self._dedupe == "off" else answer.added
            self._end(op, None if added is None else "added" if added else "dup")

    def _claim(self, q: Client, who: int) -> None:
        lease = self.scene.subject.lease(HOUR)
        op = self._begin("claim", q, "")
        op.lease = float(encode_length(lease))
        with suppress(Refused):
            held = self.scene.ends(f"{q.label}.claim", lambda: q.claim(lease_for=lease))
            if held is None:
                if "prompt" in q.promises:
                    self._end(op, "empty")
                else:
                    self.ops.pop()
                return
            op.work = work_text(held.work)
            self._end(op, "task")
            self._hands.append((who, held, op.number))

    def _settle(self, q: Client, hand: tuple[int, Held, int]) -> None:
        """An ack, or a release; who was refused does not know whether it was done, and may try it again."""
        _, held, claim = hand
        verb = "release" if "release" in q.promises and self.random.random() < 0.4 else "ack"
        op = self._begin(verb, q, held.work)
        op.claim = claim
        with suppress(Refused):
            self.scene.ends(f"{q.label}.{verb}", lambda: getattr(q, verb)(held))
            self._end(op, "ok")
            self._hands.remove(hand)

    def _drain(self, q: Client) -> None:
        """What nobody has in hand came out and was acked."""
        for _ in range(self._pushed + 1):
            before = len(self._hands)
            self._claim(q, CLIENTS)
            if len(self._hands) == before:
                return
            self._settle(q, self._hands[-1])

    def _begin(self, kind: Any, q: Client, work: Any) -> Op:
        op = Op(len(self.ops), q.label, kind, float(time.monotonic_ns() - self._start))
        op.work = op.equal = "" if kind == "claim" else work_text(work)
        self.ops.append(op)
        return op

    def _end(self, op: Op, result: Any) -> None:
        op.ret, op.result = float(time.monotonic_ns() - self._start), result
        if result is None:
            op.ret = float("inf")

    @property
    def _dedupe(self) -> str:
        return self.scene.subject.traits.dedupe

    def _judge(self) -> None:
        subject = self.scene.subject
        took = time.monotonic_ns() - self._start
        eps = float(took if subject.can_pass_time else encode_length(UNSURE)) + encode_length(subject.resolution)
        judgement = check(self.ops, subject.spec(grace=None, eps=eps), self.profile.looks)
        for fault in sorted(judgement.faults, key=lambda fault: fault.kind not in HELD_TWICE):
            clause = "SERVER-8" if fault.kind in HELD_TWICE else "SERVER-1"
            raise Broken(fault.said, clause=clause, fault=fault)
