"""Calls whose connection is cut on the way there or on the way back, at each piece that goes over it, in each verb.

A scene is one such call: what is needed for it is there, the fault happens, whoever made the call may make it again,
and all that comes out is counted. An answer that did not come leaves open whether the call acted, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, get_args

from lowq import Item
from lowq_conformance.cases.away import ATTEMPTS, Scene
from lowq_conformance.cases.waiting import Missed, find_missed
from lowq_conformance.contract.outcomes import Broken, NotObserved, NotPromised, Refused
from lowq_conformance.contract.profile import Profile
from lowq_conformance.storm.aftermath import BATCH, Tally
from lowq_conformance.subject.client import MINUTE, Held
from lowq_conformance.subject.program import ProgramCall
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support.asking import ask_again
from lowq_conformance.support.proxy import Fault, How, Proxy

CUT, LOST = "SERVER-1", "SERVER-6"
WORDS = (
    ("the interrupted call", "the call that was cut off"),
    ("that was interrupted", "that was cut off"),
    ("after the interruption", "after the cut"),
)
AGAIN = ("push", "push_many", "claim", "ack", "cancel", "extend")
"""The verbs that are called again by who does not know what became of them; behind extend it is an ack."""
LATE = 0.03
"""Seconds behind a call in which a piece of it may still be on its way."""
SLOWER = 6
"""Each verb is cut off once on both ways, even where that takes so many times as long as the profile allows."""
PIECES = 6
"""Of the pieces that go one way in a call, so many are looked at, from the first."""
REQUESTS: tuple[How, ...] = ("reset", "close", "half", "half-close", "delay")
REPLIES: tuple[How, ...] = ("lose", "half", "reset", "delay")
assert set(REQUESTS) | set(REPLIES) | {"stall"} == set(get_args(How))


def in_words(said: str) -> str:
    """The sentence of a tally about a call that was cut off, and not interrupted."""
    for interrupted, cut in WORDS:
        said = said.replace(interrupted, cut)
    return said


def clause_of(fault: Fault) -> str:
    """The clause on what that fault must not do."""
    return CUT if fault.toward == "server" else LOST


@dataclass(slots=True)
class CutCalls:
    """What was found about one queue: the faults by their clauses, and how many calls were cut off in either way."""

    subject: Subject
    folder: Path
    profile: Profile
    random: Random
    found: dict[str, Broken] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    lacks: str = ""
    _looked: bool = False

    def keeps(self, clause: str) -> None:
        """Raise Broken where the queue breaks the clause, NotObserved or NotPromised where it was not seen."""
        if not self._looked:
            self._looked = True
            try:
                self._look()
            except NotPromised as error:
                self.lacks = str(error)
        if clause in self.found:
            raise self.found[clause]
        if self.lacks:
            raise NotPromised(self.lacks)
        if not self.cut.get(clause):
            short = f"the run was cut short: see {min(self.found)}" if self.found else "no call was cut off"
            raise NotObserved(short)

    def _look(self) -> None:
        if self.subject.only_pushes:
            raise NotPromised("its own worker claims")

        def play(attempt: int) -> None:
            with Scene(self.subject, self.folder / f"cut {attempt}", self.profile) as scene:
                scene.play(self._play)

        if said := find_missed(ATTEMPTS, play):
            self.found[CUT] = Broken(said, clause=CUT)

    def _play(self, scene: Scene) -> None:
        stage = CutStage(scene)
        first, more = stage.plan(self.random)
        began = time.monotonic()
        for number, (verb, fault) in enumerate([*first, *more][: self.profile.cuts]):
            clause = clause_of(fault)
            if clause in self.found:
                continue
            most = self.profile.cutting * (SLOWER if number < len(first) else 1)
            if time.monotonic() - began > most and {CUT, LOST} <= set(self.cut):
                return
            said = stage.confirm(verb, fault, again=self.random.random() < 0.5)
            if said is not None:
                self.cut[clause] = self.cut.get(clause, 0) + 1
            for sentence in said or ():
                self.found[clause] = Broken(in_words(sentence), clause=clause, program=self.subject.journal.program())
                stage.renew()
                break


class CutStage:
    """A client whose calls are cut off, and another one that sees what came of them."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.subject = scene, scene.subject
        self.proxy: Proxy = scene.served.need_proxy()
        self.number = 0
        self._held: Held | None = None
        self._claimed: list[Held] = []
        self._id: Any = None
        self.renew()

    def renew(self) -> None:
        """Both are clients that were opened anew, of a queue that has nothing to hand out."""
        self.proxy.plan(None)
        self.q, self.other = self.scene.open(), self.scene.open(proxied=False)
        with suppress(Missed):
            self.scene.drain(self.other)

    def verbs(self) -> list[str]:
        """The verbs that are cut off."""
        promises, q = self.subject.promises, self.q
        verbs = ["push", *["push_many"] * ("batch" in promises)]
        if self.subject.traits.one_at_a_time:
            return verbs
        verbs += ["claim", "ack"]
        verbs += [verb for verb in ("extend", "release", "dead_letter", "cancel") if verb in promises and q.has(verb)]
        return verbs

    def plan(self, random: Random) -> tuple[list[tuple[str, Fault]], list[tuple[str, Fault]]]:
        """Which calls are cut off, and how: first each verb on its way and on its way back, then all else."""
        first: list[tuple[str, Fault]] = []
        more: list[tuple[str, Fault]] = []
        for verb in self.verbs():
            requests, replies = self._pieces(verb)
            if requests and replies:
                # what a call asks last is what it is about, and its answer what may be lost
                first += [(verb, Fault("client", replies, "lose"))] * 2
                first += [(verb, Fault("server", requests, random.choice(("close", "half", "reset"))))]
            more += [(verb, Fault("server", n + 1, how)) for n in range(min(requests, PIECES)) for how in REQUESTS]
            more += [(verb, Fault("client", n + 1, how)) for n in range(min(replies, PIECES)) for how in REPLIES]
        random.shuffle(first)
        random.shuffle(more)
        return first, more

    def _pieces(self, verb: str) -> tuple[int, int]:
        """How many pieces go there and come back in the call."""
        self.number += 1
        if not self._prepare(verb, self.number):
            self._clear()
            return 0, 0
        self.proxy.plan(None)
        with suppress(Refused):
            self._call(verb, self.number)
        pieces = self.proxy.count("server"), self.proxy.count("client")
        self._clear()
        return pieces

    def _clear(self) -> None:
        self._drain()
        if self.subject.can_pass_time and "lease" in self.subject.promises:
            self._end_leases()
            self._drain()

    def confirm(self, verb: str, fault: Fault, *, again: bool) -> list[str] | None:
        """As `play`; where a call does not come back in time, all of it is done once more before that is believed."""
        for _ in range(ATTEMPTS):
            try:
                return self.play(verb, fault, again=again)
            except Missed as missed:
                said = str(missed)
                self.proxy.plan(None)
                self.proxy.cut()
                with suppress(Missed):
                    self.renew()
        return [said]

    def play(self, verb: str, fault: Fault, *, again: bool) -> list[str] | None:
        """What is wrong after the call was cut off so, and with `again` made again; None: it was not cut off.

        Raises Missed.
        """
        self.number += 1
        n, journal = self.number, self.subject.journal
        journal.calls[:] = [
            ProgramCall("q = open(place, address=proxy)", ""),
            ProgramCall(f"{self.other.label} = open(place)", ""),
        ]
        try:
            if not self._prepare(verb, n):
                self._clear()
                return None
        except Refused:
            self.renew()  # another clause is about clients that work no more
            return None
        journal.note(f"in what follows, {fault}")
        self.proxy.plan(fault)
        traits = self.subject.traits
        tally = Tally(verb, n, merges=traits.dedupe != "off", returns=traits.max_deliveries != 1)
        refused = self._try(tally, "cut", verb)
        happened = self.proxy.waits_for_it(LATE)
        self.proxy.plan(None)
        if not happened:
            self._clear()
            return None
        if refused and again and verb in AGAIN:
            journal.note("its caller, who does not know what became of it, makes the call again")
            self._try(tally, "again", verb)
        self._push_after(tally)
        return list(self._count(tally))

    def _try(self, tally: Tally, which: str, verb: str) -> bool:
        """The call was made, and counted; whether it was refused."""
        name = f"{self.q.label}.{verb}"
        try:
            if which == "again" and verb == "extend" and (held := self._held) is not None:
                answer = self.scene.ends(f"{self.q.label}.ack", lambda: self.q.ack(held))
            else:
                answer = self.scene.ends(name, lambda: self._call(verb, tally.n))
        except Refused:
            tally.tried += 1
            return True
        tally.note(which, {"returned": True, "answer": answer})
        return False

    def _push_after(self, tally: Tally) -> None:
        tally.after = "refused"
        with suppress(Refused):
            self.scene.ends(f"{self.q.label}.push", lambda: self.q.push(f"{tally.n} after"))
            tally.after = "returned"

    def _count(self, tally: Tally) -> Iterator[str]:
        """What is wrong with what comes out."""
        works = [*self._settle_claimed(), *self._drain(tally.enough)]
        all_back = tally.misses(works) and "lease" in self.subject.promises
        if all_back:
            self._end_leases()
            works += self._drain(tally.enough)
        yield from (said for _, said in tally.faults(works, all_back=all_back))

    def _settle_claimed(self) -> Iterator[Any]:
        """What the claim that was cut off handed out all the same, and is done now."""
        for claimed in self._claimed:
            with suppress(Refused):
                self.scene.ends(f"{self.q.label}.ack", partial(self.q.ack, claimed))
                yield claimed.work

    def _end_leases(self) -> None:
        traits = self.subject.traits
        self.subject.pass_time(self.scene.place, self._lease + traits.grace + traits.resolution)

    @property
    def _lease(self) -> Any:
        """As short as may be where the suite really waits for it to end."""
        return self.subject.short_lease

    def _drain(self, enough: Iterable[str] = ()) -> list[Any]:
        """What came out for the other client, all of which was acked."""
        works, left = list[Any](), set(enough)
        again = ask_again(self.subject.traits.patience.total_seconds())
        while True:
            held = self.scene.ends(f"{self.other.label}.claim", lambda: self.other.claim(lease_for=MINUTE))
            if held is not None:
                works.append(held.work)
                left.discard(held.work)
                with suppress(Refused):
                    self.other.ack(held)
            elif not (left and self.subject.may_be_empty_for_now(self.scene.place) and next(again, False)):
                return works

    def _prepare(self, verb: str, n: int) -> bool:
        """What the verb needs is there; False: it cannot be had."""
        q = self.q
        self._held, self._id, self._claimed = None, None, []
        first = q.push(f"{n} first")
        if verb in ("ack", "extend", "release", "dead_letter"):
            q.push(f"{n} second")
            self._held = q.claim(lease_for=self._lease)
            return self._held is not None and self._held.work == f"{n} first"
        if verb in ("claim", "cancel"):
            q.push(f"{n} second")
        self._id = first.id
        return verb != "cancel" or self._id is not None

    def _call(self, verb: str, n: int) -> Any:
        q, held = self.q, self._held
        if verb == "push":
            return q.push(f"{n} cut").added
        if verb == "push_many":
            answers = q.push_many([Item(f"{n} cut {i}") for i in range(BATCH)])
            return None if answers is None else [each.added for each in answers]
        if verb == "claim":
            claimed = q.claim(lease_for=self._lease)
            if claimed is not None:
                self._claimed.append(claimed)
            return None if claimed is None else claimed.work
        if verb == "cancel":
            return q.cancel(self._id)
        if held is None:
            return None
        if verb == "extend":
            self._held = q.extend(held, lease_for=self._lease)
            return None
        return getattr(q, verb)(held)
