"""A process in which one client's calls are interrupted, or in which another client sees what came of it.

It is told over a socket what to do, one thing after the other, and answers each with the calls it made. Who tells it
ends it where it does not answer. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from lowq import Item
from lowq_conformance.contract.outcomes import ACCIDENTS, NotPromised, Refused
from lowq_conformance.storm.aftermath import BATCH
from lowq_conformance.storm.performer import trouble_of
from lowq_conformance.subject.client import MINUTE, Client, Held
from lowq_conformance.subject.program import Journal
from lowq_conformance.subject.subject import Subject
from lowq_conformance.support.asking import ask_again
from lowq_conformance.support.channel import Channel
from lowq_conformance.support.interrupts import Beside, Cut, Interrupted, Interruptible, Own, Point, own_files

WAIT = timedelta(seconds=2)
"""How long a claim waits that an alarm cuts off."""

Told = dict[str, Any]


def obey(talk: Channel, subject: Subject, place: Path) -> None:
    """Do what is told until nobody tells anything any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this one decides when it ends
    try:
        hand = Hand(subject, place)
        talk.tell({"ready": True})
        while (told := talk.next()) is not None:
            talk.tell(hand.do(told))
    except Exception as error:
        talk.tell(trouble_of(error))


class Hand:
    """One client, and what it has in hand."""

    def __init__(self, subject: Subject, place: Path) -> None:
        self.subject = subject
        self.subject.journal = Journal()
        self.place = place
        self.label = ""
        self.held: Held | None = None
        self.id: Any = None
        self._q: Client | None = None
        self._steered: Interruptible | None = None
        self._beside: Beside | None = None
        self._own: Own = lambda _: False

    @property
    def q(self) -> Client:
        """The client, opened."""
        assert self._q is not None
        return self._q

    def do(self, told: Told) -> Told:
        """What came of the thing that was told."""
        journal = self.subject.journal
        journal.calls.clear()
        answer: Told = {}
        verb: Callable[..., Any] = getattr(self, f"do_{told.pop('do')}")
        elsewhere = told.pop("thread", False)

        def run() -> None:
            try:
                answer.update(verb(**told) or {})
            except Refused as refusal:
                answer.update(_tell(refusal))
            except NotPromised:
                answer["refused"], answer["error"], answer["accident"] = "not promised", "", False

        if elsewhere:
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
        else:
            run()
        answer["calls"] = [[call.text, call.answer] for call in journal.calls]
        return answer

    def do_open(self, label: str, place: str) -> Told:
        """A client of the queue at `place` is open, in place of the one before; what verbs it has, and whether that
        one is closed."""
        self.label, self.place = label, Path(place)
        closed = self._q is not None and self._q.let_go()
        raw = self.subject.open(self.place)
        self.subject.journal.calls[-1].text = f"{label} = open(place)"
        raw.label = label
        self._q = raw
        self._own = own_files(raw.raw)
        self._steered = raw.raw = Interruptible(raw.raw)
        return {"verbs": self._verbs(), "closed": closed}

    def _verbs(self) -> list[str]:
        q = self.q
        if self.subject.only_pushes:
            return []
        verbs = ["push"]
        verbs += ["push_many"] * ("batch" in q.promises and q.has("push_many"))
        if not self.subject.traits.one_at_a_time:  # where who has one task in hand keeps all others waiting
            verbs += ["claim", "ack"]
            verbs += ["claim_wait"] * ("wait" in q.promises)
            verbs += [name for name in ("extend", "release", "dead_letter", "redrive") if q.has(name)]
        verbs += [name for name in ("cancel", "tasks", "count", "close") if q.has(name)]
        return [verb for verb in verbs if verb != "redrive" or q.has("dead_letter")]

    def do_prepare(self, verb: str, n: int) -> Told:
        """What the verb needs is there; False: it cannot be had."""
        q = self.q
        self.held, self.id = None, None
        self.subject.begin_labels()
        if verb == "claim_wait":
            return {"there": True}
        first = q.push(f"{n} first")
        if verb in ("ack", "extend", "release", "dead_letter", "redrive"):
            q.push(f"{n} second")
            self.held = q.claim(lease_for=MINUTE)
            if self.held is None or self.held.work != f"{n} first":
                return {"there": False}
            self.id = self.held.id
        if verb == "claim":
            q.push(f"{n} second")
        if verb == "cancel":
            q.push(f"{n} second")
            self.id = first.id
        if verb == "redrive" and self.held is not None:
            q.dead_letter(self.held)
        return {"there": verb not in ("redrive", "cancel") or self.id is not None}

    def do_cut(self, verb: str, n: int, at: list[Any] | None = None, alarm: float | None = None) -> Told:
        """The call was made: told of its points, interrupted at one, or by a signal after that many seconds.

        Where the point says so, others of the client's calls are under way meanwhile.
        """
        assert self._steered is not None
        point = None if at is None else Point(*at)
        cut = self._steered.cut = Cut(self._own, point)
        self._beside = None
        if point is not None and point.ahead is not None:
            waits, raw = verb == "claim_wait", self._steered
            push = lambda name: raw.push(f"{n} {name}", **self._key(f"{n} {name}"))  # noqa: E731  on the loop
            self._beside = cut.beside = Beside(push, point.ahead, waits=waits)
        if alarm is not None:
            self._steered.cut = None
            signal.signal(signal.SIGALRM, _ring)
            signal.setitimer(signal.ITIMER_REAL, alarm)
        answer: Told = {}
        try:
            answer["answer"] = self._call(verb, n)
            answer["returned"] = True
        except Interrupted:
            answer["cut"] = True
        except Refused as refusal:
            answer["error"] = str(refusal)
        finally:
            if alarm is not None:
                signal.setitimer(signal.ITIMER_REAL, 0)
            self._steered.cut = None
        if cut.done or (alarm is not None and "cut" in answer):
            where = f"at {cut.points[-1]}" if cut.points and verb != "claim_wait" else "by a signal, as it waited"
            if self._beside is not None:
                where = f"as {n} late was pushed" if verb == "claim_wait" else f"{where}, while others were under way"
            call = self.subject.journal.calls[-1]
            said = "" if call.answer is None else f", answered {call.answer or 'nothing'}"
            call.answer = f"interrupted {where}{said}"
            answer["cut"] = True
        answer["points"] = [list(point) for point in cut.points]
        return answer

    def do_beside(self, n: int) -> Told:
        """What became of the calls that were under way at that time, by name."""
        became: Told = {}
        for name, task in self._beside.tasks.items() if self._beside is not None else ():
            call = self.subject.journal.begin(f"{self.label}.push('{n} {name}')")
            when = {"early": "begun before the other call", "late": "begun as that was cancelled"}[name]
            try:
                self.subject.loop(self.place).result(task)
            except CancelledError:
                became[name], said = "cancelled", "cancelled, too"
            except Exception as error:
                became[name], said = "refused", f"raised {type(error).__name__}: {error}"
            else:
                became[name], said = "returned", "returned"
            self.subject.journal.end(call, f"{when}, {said}")
        return {"became": became}

    def _key(self, work: Any) -> dict[str, Any]:
        key = self.q.key(work, None)
        return {} if key is None else {"key": key}

    def _call(self, verb: str, n: int) -> Any:
        q, held = self.q, self.held
        if verb == "push":
            return q.push(f"{n} cut").added
        if verb == "push_many":
            answers = q.push_many([Item(f"{n} cut {i}") for i in range(BATCH)])
            return None if answers is None else [each.added for each in answers]
        if verb in ("claim", "claim_wait"):
            self.held = q.claim(lease_for=MINUTE, wait=WAIT if verb == "claim_wait" else None)
            return None if self.held is None else self.held.work
        if verb in ("cancel", "redrive"):
            return getattr(q, verb)(self.id)
        if held is not None and verb == "extend":
            self.held = q.extend(held, lease_for=2 * MINUTE)
        elif held is not None:
            getattr(q, verb)(held)
        else:
            getattr(q, verb)()
        return None

    def do_again(self, verb: str, n: int) -> Told:
        """The call was made again, as who does not know what became of it may do."""
        if verb in ("push", "push_many", "ack", "cancel"):
            return {"answer": self._call(verb, n), "returned": True}
        if verb == "claim":
            held = self.q.claim(lease_for=MINUTE)
            if held is not None:
                self.q.ack(held)
                return {"works": [held.work], "returned": True}
        if verb == "extend" and self.held is not None:
            self.q.ack(self.held)
            return {"returned": True}
        return {}

    def do_push(self, work: Any) -> Told:
        """The work was pushed."""
        return {"answer": self.q.push(work).added, "returned": True}

    def do_drain(self, patience: float, enough: list[str]) -> Told:
        """All that is to be had was claimed and acked, or all until a claim was refused; a queue that may falsely say
        that it is empty was asked until these works had come, or its patience was over."""
        works, again = list[Any](), ask_again(patience)
        while True:
            try:
                held = self.q.claim(lease_for=MINUTE)
            except Refused as refusal:
                return {"works": works, **_tell(refusal)}
            if held is not None:
                works.append(held.work)
                with suppress(Refused):
                    self.q.ack(held)
            elif all(work in works for work in enough) or not next(again, False):
                return {"works": works, "returned": True}


def _ring(*_: object) -> None:
    raise Interrupted("by a signal")


def _tell(refusal: Refused) -> Told:
    """What was refused, in words, and whether by accident."""
    cause = refusal.cause
    if cause is None:
        return {"refused": "False", "error": "", "accident": False}
    return {"refused": str(cause), "error": type(cause).__name__, "accident": _is_accident(cause)}


def _is_accident(error: Exception) -> bool:
    """Whether no queue raises it on purpose, or it says nothing."""
    return isinstance(error, (*ACCIDENTS, TypeError)) or type(error) is Exception or not str(error).strip()
