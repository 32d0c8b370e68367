"""Judges calls of which some cancel, extend, set aside or redrive a task, which no history of a storm tells.

They are a dozen, of which few overlap: those of one schedule of the sweep, or of a storm those about one task. So the
readable model (`checker/model.py`) is asked of each order in which they may have acted: where it has all answers in
one of them, nothing is wrong. A storm's other tasks are judged without that one: to leave a task out never makes a
good history bad.

What is left open is open here: a call that was refused has done nothing, and whether it had to be refused is asked
only of who acks or gives back what is surely his. In which order tasks come is another scene's to tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, product
from math import inf
from typing import Any

from lowq_conformance.checker.model import Model
from lowq_conformance.checker.model_tasks import Mismatch, ModelLease, ModelTask, Span
from lowq_conformance.contract.clauses import CLAUSES
from lowq_conformance.history.work_text import work_text
from lowq_conformance.storm.charges import Charge, answers_of, items_of, line
from lowq_conformance.storm.execution import END, Execution
from lowq_conformance.storm.recorder import RecordedCall, Recording
from lowq_conformance.storm.to_history import Clock, Name, has_surfaced, spec_of

TOLD = ("push", "claim", "ack", "release", "extend", "dead_letter", "redrive", "cancel")
"""The calls that the model knows."""
WHOLE = "RACE-3"
"""The clause that is broken where none that the scene is about is."""


ORDERS = 5000
"""So many orders of a few calls are looked at; what has more is left open."""


class Open(Exception):
    """What follows is nobody's promise."""


def charge_unexplained(run: Execution, about: set[str]) -> Iterator[Charge]:
    """What is wrong with a run in which each call returned, in the words of a clause that its scene is `about`."""
    calls = [call for call in run.recording.calls if call.kind in TOLD]
    if any(call.ret is None or has_surfaced(call) for call in run.recording.calls):
        return  # what such a call has done is not known
    faults: list[Mismatch] = []
    for number, order in enumerate(islice(orders_of(calls), ORDERS + 1)):
        if number == ORDERS:
            return
        try:
            explain(run, order)
        except Open:
            return
        except Mismatch as fault:
            faults.append(fault)
        else:
            return
    promised = [each for each in faults if each.clause in about and is_promised(each.clause, run)]
    first = (promised or faults)[0]
    shown = "\n".join(line(run, call) for call in calls)
    yield Charge(first.clause if promised else WHOLE, first.said, shown)


def find_changed_works(run: Execution) -> dict[str, bool]:
    """The works that somebody cancelled or whose lease somebody made longer, and whether that is sure: another task
    with the same id may have been cancelled instead."""
    named = defaultdict[str, set[str]](set)
    claimed: dict[Name, str] = {}
    changed: dict[str, bool] = {}
    for call in run.recording.calls:
        for item, answer in zip(items_of(call), answers_of(call), strict=False):
            if answer and answer["id"] is not None:
                named[answer["id"]].add(work_text(item["work"]))
        if call.kind == "claim" and call.result:
            claimed[call.process, call.number] = work_text(call.result["work"])
        elif call.kind == "extend":
            changed.setdefault(claimed[call.process, call.args["claim"]], True)
    for call in run.recording.calls:
        if call.kind == "cancel":
            works = named[str(call.args["id"])] | {work_text(call.args["work"])}
            changed.update((work, changed.get(work, True) and len(works) == 1) for work in works)
    return changed


def charge_changed_works(run: Execution, changed: Mapping[str, bool]) -> Iterator[Charge]:
    """What is wrong with the calls about each of these works, where these are sure: one is shown."""
    about = defaultdict[str, list[RecordedCall]](list)
    claimed: dict[Name, str] = {}
    for call in run.recording.calls:
        if call.kind in ("push", "cancel"):
            about[work_text(call.args["work"])].append(call)
        elif call.kind == "claim" and call.result:
            work = claimed[call.process, call.number] = work_text(call.result["work"])
            about[work].append(call)
        elif call.kind in ("ack", "release", "extend"):
            about[claimed[call.process, call.args["claim"]]].append(call)
    calls = run.recording.calls
    others = [call for call in calls if call.kind == "pass" or (call.process == END and says_empty(call))]
    for work, sure in changed.items():
        alone = Recording(sorted([*about[work], *others], key=lambda call: call.call), run.recording.deaths)
        found = list(charge_unexplained(replace(run, recording=alone), set())) if sure else []
        if found:
            yield from found
            return


def says_empty(call: RecordedCall) -> bool:
    """Whether it is a claim that found nothing."""
    return call.kind == "claim" and call.ret is not None and call.error is None and call.result is None


def is_promised(clause: str, run: Execution) -> bool:
    """Whether the queue promises what the clause is about."""
    return CLAUSES[clause].missing(run.subject.promises, run.subject.traits) is None


def orders_of(calls: Sequence[RecordedCall]) -> Iterator[list[RecordedCall]]:
    """The orders in which the calls may have acted, that in which they returned first."""
    if not calls:
        yield []
        return
    ends = min(end_of(call) for call in calls)
    for first in sorted((call for call in calls if call.call <= ends), key=end_of):
        for rest in orders_of([call for call in calls if call is not first]):
            yield [first, *rest]


def end_of(call: RecordedCall) -> float:
    """When the call returned."""
    return inf if call.ret is None else call.ret


def explain(run: Execution, order: Sequence[RecordedCall]) -> None:
    """The model has all answers in this order. Raises the Mismatch of the first attempt where it has not, and Open.

    A cancel or redrive that does not say what it did may have done it or not.
    """
    silent = [(c.process, c.number) for c in order if c.kind in ("cancel", "redrive") and says_nothing(c)]
    found: Mismatch | None = None
    for done in product((True, False), repeat=len(silent)):
        try:
            Telling(run, dict(zip(silent, done, strict=True))).tell(order)
        except Mismatch as fault:
            found = found or fault
        else:
            return
    if found is not None:
        raise found


def says_nothing(call: RecordedCall) -> bool:
    """Whether it was not refused, and does not say what it did."""
    return call.error is None and call.result is None


class Telling:
    """Tells the model the calls of a run, one after the other.

    It is told no ids: works name the tasks, and an id may be given again, by then naming two of them.
    """

    def __init__(self, run: Execution, done: dict[Name, bool]) -> None:
        """`done`: of calls that do not say so, whether they did it."""
        self._run, self._done = run, done
        self._promises, self._traits = run.subject.promises, run.subject.traits
        spec = replace(spec_of(run), fifo=False, priority=False)
        self._model = Model(spec, self._traits.redriven, self._traits.remembers)
        self._clock = Clock(run)
        self._holds: dict[Name, ModelLease] = {}
        self._dead: dict[Any, ModelTask] = {}

    def tell(self, order: Sequence[RecordedCall]) -> None:
        """The model was told all calls. Raises Mismatch and Open."""
        for call in order:
            at = Span(self._clock.time_of_call(call.call), self._clock.time_of_return(end_of(call)))
            match call.kind:
                case "push":
                    self._push(call, at)
                case "claim":
                    self._claim(call, at)
                case "cancel" | "redrive":
                    self._by_id(call, at)
                case _:
                    self._settle(call, at)

    def _push(self, call: RecordedCall, at: Span) -> None:
        work, added = call.args["work"], call.result["added"]
        text = work_text(work)
        if added is False and any(task.equal == text and task.state == "dead" for task in self._model.tasks):
            return  # whether what is dead refuses an equal work is another clause's to ask
        self._model.push(at, work, text, added=added, client=call.process)

    def _claim(self, call: RecordedCall, at: Span) -> None:
        if call.result is not None:
            lease = call.args["lease"] if "lease" in self._promises else None
            hold = self._model.claim(at, call.result["work"], lease_for=lease, client=call.process)
            self._holds[call.process, call.number] = hold
        elif self._says_empty(call, at):
            self._model.claim_nothing(at)

    def _says_empty(self, call: RecordedCall, at: Span) -> bool:
        """Whether the empty answer says something."""
        if "prompt" not in self._promises and not call.args.get("patience"):
            return False
        tasks = self._model.tasks
        return not (
            self._traits.one_at_a_time and any(t.state == "leased" and not self._model.free(t, at) for t in tasks)
        )

    def _settle(self, call: RecordedCall, at: Span) -> None:
        hold, taken = self._holds[call.process, call.args["claim"]], call.error is None
        surely = self._model.expect_settle(hold, at)
        if taken and surely is not True and "fenced" not in self._promises:
            raise Open
        if call.kind == "dead_letter":
            self._dead[call.args["id"]] = hold.task
        if not taken and (surely is not True or call.kind in ("extend", "dead_letter")):
            return
        match call.kind:
            case "ack":
                self._model.ack(at, hold, taken=taken)
            case "release":
                self._model.release(at, hold, taken=taken)
            case "extend":
                self._model.extend(at, hold, float(self._lease_of(call)), taken=taken)
            case "dead_letter":
                self._model.dead_letter(at, hold, reason="", taken=taken)

    def _lease_of(self, call: RecordedCall) -> int:
        """The length for which the claim was, and so each extension is."""
        calls = self._run.recording.calls
        name = call.process, call.args["claim"]
        length: int = next(each.args["lease"] for each in calls if (each.process, each.number) == name)
        return length

    def _by_id(self, call: RecordedCall, at: Span) -> None:
        done = self._done.get((call.process, call.number), call.result is True)
        task = self._find_dead(call) if call.kind == "redrive" else self._find_named(call)
        if call.error is not None or not done or task is None:
            return
        if call.kind == "redrive":
            self._model.redrive(at, task, done=True)
        else:
            self._model.cancel(at, task, done=True)

    def _find_dead(self, call: RecordedCall) -> ModelTask | None:
        return self._dead.get(call.args["id"], next(iter(self._dead.values()), None))

    def _find_named(self, call: RecordedCall) -> ModelTask | None:
        text = work_text(call.args["work"])
        return next((task for task in self._model.tasks if work_text(task.work) == text), None)
