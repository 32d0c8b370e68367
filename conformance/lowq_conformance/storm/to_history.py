"""Turns the recorded calls of a run into the history that is judged, on one clock that advances with the queue's.

That clock is the machine's monotonic one plus what the queue's clock was moved by. While it is being moved nobody
knows which of the two instants a call reads: a call that begins then is taken to have begun before, and one that
returns then to have returned after. That only makes intervals longer, which can explain more and never less.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import accumulate, compress
from math import inf
from typing import Any

from lowq_conformance.checker.identities import tell_apart
from lowq_conformance.contract.outcomes import ACCIDENTS
from lowq_conformance.history.operation import Op
from lowq_conformance.history.spec import Spec
from lowq_conformance.history.work_text import work_text
from lowq_conformance.storm.execution import AGAIN, Execution
from lowq_conformance.storm.recorder import RecordedCall, encode_instant, encode_length

UNSURE = timedelta(milliseconds=5)
"""How far the machine's wall clock may drift from its monotonic one in a run."""

IN_THE_WAY = ("database is locked", "database table is locked", "deadlock", "could not serialize", "lock timeout")
"""What an error says that tells of others being in the way."""
NO_REFUSALS = ("OperationalError", "BlockingIOError", "TimeoutError", "JSONDecodeError", "UnicodeDecodeError")
"""Errors that tell of trouble, and never that a settle came too late."""
COMINGS = ("open", "close", "fork", "join")
"""The calls with which clients come and go."""
MAY_BE_REFUSED = ("ack", "release", "extend", "dead_letter", "redrive", "cancel")
"""The calls that a queue may refuse since the task is another's by now, or gone."""
ACCIDENT_NAMES = tuple(error.__name__ for error in ACCIDENTS)


Name = tuple[str, int]
"""Whose call it is, and which."""


class Clock:
    """The clock of a history, in nanoseconds since the run began."""

    def __init__(self, run: Execution) -> None:
        passes = sorted((c.call, c.ret or c.call, c.args["by"]) for c in run.recording.calls if c.kind == "pass")
        if not run.subject.can_pass_time:
            passes = []  # it really passed
        self._start = run.start
        self._begins = [begin for begin, _, _ in passes]
        self._ends = [end for _, end, _ in passes]
        self._sums = [0, *accumulate(by for _, _, by in passes)]

    def time_of_call(self, at: int) -> float:
        """When a call began, at the earliest."""
        return float(at - self._start + self._sums[bisect_left(self._ends, at)])

    def time_of_return(self, at: float) -> float:
        """When a call returned, at the latest."""
        return inf if at == inf else float(at - self._start + self._sums[bisect_left(self._begins, at)])


@dataclass(slots=True)
class RunHistory:
    """A history, what the queue promises of it, and the recorded call behind each operation, by its number; `open`
    are operations that are not judged, because any answer to them is right."""

    ops: list[Op] = field(default_factory=list)
    open: list[Op] = field(default_factory=list)
    spec: Spec = field(default_factory=Spec)
    calls: dict[int, RecordedCall] = field(default_factory=dict)


def build_history(run: Execution, without: Collection[str] = ()) -> RunHistory:
    """The history of a run, without the tasks of these works."""
    return HistoryBuilder(run, without).told


def spec_of(run: Execution) -> Spec:
    """What the queue promises, in nanoseconds."""
    traits, calls = run.subject.traits, run.recording.calls
    eps = encode_length(traits.resolution)
    if run.subject.can_pass_time:
        # A clock that only moves when it is moved falls behind ours by the real length of the run.
        eps += max((call.ret or call.call for call in calls), default=run.start) - run.start
    else:
        eps += encode_length(UNSURE)
        if run.subject.looks_now_and_then:  # on a busy machine as much later as claims take there
            claims = (call for call in calls if call.kind == "claim" and not call.args.get("patience"))
            eps += max(((claim.ret or claim.call) - claim.call for claim in claims), default=0)
    grace = encode_length(traits.grace) if "lease" in run.subject.promises else None
    return run.subject.spec(grace=grace, eps=eps)


class HistoryBuilder:
    """Turns calls into operations."""

    def __init__(self, run: Execution, without: Collection[str] = ()) -> None:
        self.run, self.without = run, without
        self.promises = run.subject.promises
        self.clock = Clock(run)
        self.calls = [call for call in run.recording.calls if call.process != AGAIN]
        self.ids = self._ids_agree()
        self.began = encode_instant(run.now) or 0
        self.comings = [call for call in self.calls if call.kind in COMINGS]
        self.last = {call.process: call.ret or call.call for call in self.calls}
        """When each process was last heard of."""
        self.writes = sorted((c.call, c.ret) for c in self.calls if c.ret is not None and has_written(c))
        self.claims: dict[tuple[str, int], int] = {}
        self.open_until: dict[str, float] = {}
        self.told = RunHistory(spec=spec_of(run))
        for call in self.calls:
            self._tell(call)
        if run.subject.traits.one_at_a_time:
            self.told.ops = self._with_nothing_in_hand()
        if run.subject.traits.remembers:
            self.told.ops, self.told.open = leave_open(self.told.ops)
        self.told.ops = tell_apart(self.told.ops)

    def _tell(self, call: RecordedCall) -> None:
        if call.kind == "push":
            self._push(call, call.args, call.result)
        elif call.kind == "push_many":
            for index, item in enumerate(call.args["items"]):
                self._push(call, item, call.result[index] if call.result else None, f"/{index + 1}")
        elif call.kind == "claim":
            self._claim(call)
        elif call.kind in ("ack", "release"):
            self._settle(call)

    def _push(
        self, call: RecordedCall, item: dict[str, Any], answer: dict[str, Any] | None, suffix: str = ""
    ) -> None:
        work = work_text(item["work"])
        if work in self.without:
            return
        op = self._op(call, "push", suffix)
        op.work = op.equal = work
        if "key" in item:
            op.equal = f"key {item['key']}"
        op.priority = item["priority"] if "priority" in self.promises else 0
        if "not_before" in self.promises:
            op.not_before = self._due(item["not_before"])
        if call.ret is None or call.error is not None:
            return
        added = None if answer is None else answer["added"]
        if added is None and self.told.spec.dedupe == "off":
            added = True
        op.result = None if added is None else "added" if added else "dup"
        if added and self.ids and answer is not None:
            op.id = answer["id"]

    def _claim(self, call: RecordedCall) -> None:
        empty = call.ret is not None and call.error is None and call.result is None
        if empty and "prompt" not in self.promises and not call.args.get("patience"):
            return  # it may say so at any time
        if call.result and work_text(call.result["work"]) in self.without:
            return
        op = self._op(call, "claim")
        self._lease(op, call)
        if empty:
            op.result = "empty"
        elif call.ret is not None and call.error is None:
            op.result, op.work = "task", work_text(call.result["work"])
            op.id = call.result["id"] if self.ids else None
            self.claims[call.process, call.number] = op.number

    def _settle(self, call: RecordedCall) -> None:
        if (call.process, call.args["claim"]) not in self.claims:
            return
        op = self._op(call, call.kind)
        op.claim = self.claims[call.process, call.args["claim"]]
        op.work = self.told.ops[op.claim].work
        op.not_before = self._due(call.args.get("not_before"))
        if call.ret is not None and (call.error is None or not has_surfaced(call)):
            op.result = "ok" if call.error is None else "stale"

    def _with_nothing_in_hand(self) -> list[Op]:
        """The history without the empty answers while a task may have been in hand, of which one at a time is."""
        spec, ops, until = self.told.spec, self.told.ops, dict[int, float]()
        for op in ops:
            if op.kind == "claim" and op.result != "empty":
                until[op.number] = op.ret + op.longest + (inf if spec.grace is None else spec.grace + 2 * spec.eps)
            elif op.result == "ok":
                until[op.claim] = min(until[op.claim], op.ret)
        held = sorted((ops[claim].call, end) for claim, end in until.items())
        calls = [call for call, _ in held]
        ends = list(accumulate((end for _, end in held), max))

        def in_hand(empty: Op) -> bool:
            before = bisect_right(calls, empty.ret)
            return before > 0 and ends[before - 1] >= empty.call

        return [op for op in ops if op.result != "empty" or not in_hand(op)]

    def _op(self, call: RecordedCall, kind: Any, suffix: str = "") -> Op:
        """An operation of the call, whose answer is not known yet."""
        at = self.clock.time_of_call(call.call)
        if kind in ("ack", "release"):
            at = self.clock.time_of_return(call.call)  # a settle reads no clock: only its order counts
        process = call.process + suffix
        while self.open_until.get(process, -inf) > at:  # both seem to have been open while the clock was moved
            process += "'"
        ret = self.clock.time_of_return(self._ret(call))
        self.open_until[process] = ret
        op = Op(len(self.told.ops), process, kind, at, ret)
        op.killed = None if call.dead is None else self.clock.time_of_return(call.dead)
        self.told.ops.append(op)
        self.told.calls[op.number] = call
        return op

    def _ret(self, call: RecordedCall) -> float:
        """When the call returned, or after when it cannot have acted any more.

        What a killed process wrote last may surface when its file is recovered, until the next write is in it.
        """
        if call.ret is not None:
            return call.ret
        if call.dead is None or "server" in self.promises:
            return inf
        later = self.writes[bisect_left(self.writes, (call.dead, 0)) :]
        return min((ret for _, ret in later), default=inf)

    def _lease(self, op: Op, call: RecordedCall) -> None:
        """For how long the claim holds its task: at least, and at most.

        What is not promised may be so or not. Without leases a claim may end with its client; where it is not shared,
        whenever a client comes or goes; and each may also last as long as it would. To share it says only that nobody
        else's coming and going ends it.
        """
        asked = float(call.args["lease"]) if "lease" in self.promises else inf
        if {"lease", "shared_lease"} <= self.promises:
            op.lease = asked
            return
        disturbed = min(self._ends(call), default=None)
        op.lease = asked if disturbed is None else min(asked, max(0.0, self.clock.time_of_call(disturbed) - op.call))
        if op.lease < asked:
            op.at_most = asked

    def _ends(self, call: RecordedCall) -> Iterable[int]:
        """The instants from which on the claim may have been ended by clients that came or went."""
        if call.dead is not None:
            yield max(call.call, self.last[call.process])  # it was seen dead later than it died
        for other in self.comings:
            own = other.process == call.process and other.kind == "close"
            if (own or "shared_lease" not in self.promises) and (other.ret is None or other.ret >= call.call):
                yield max(call.call, other.call)
        if "shared_lease" not in self.promises:
            for process, dead in self.run.recording.deaths.items():
                if dead >= call.call:
                    yield max(call.call, self.last.get(process, call.call))

    def _due(self, not_before: int | None) -> float | None:
        return None if not_before is None else float(not_before - self.began)

    def _ids_agree(self) -> bool:
        """Whether pushes and claims tell ids, and the same ones."""
        pushed = {answer["id"] for call in self.calls for answer in answers(call)}
        claimed = {call.result["id"] for call in self.calls if call.kind == "claim" and call.result}
        return None not in pushed | claimed and not pushed.isdisjoint(claimed)


def leave_open(ops: list[Op]) -> tuple[list[Op], list[Op]]:
    """The history of a queue that may refuse what an ended task is equal to, and apart from it the refusals that say
    nothing: an equal work had been pushed by then."""
    first = dict[str, float]()
    for op in ops:
        if op.kind == "push" and op.result != "dup":
            first[op.equal] = min(op.call, first.get(op.equal, inf))
    said = [op.result != "dup" or first.get(op.equal, inf) > op.ret for op in ops]
    return list(compress(ops, said)), [op for op, judged in zip(ops, said, strict=True) if not judged]


def answers(call: RecordedCall) -> Iterable[dict[str, Any]]:
    """What the call said of each push that it added."""
    told = [call.result] if call.kind == "push" else call.result if call.kind == "push_many" else None
    return [answer for answer in told or [] if answer and answer["added"] is not False]


def has_written(call: RecordedCall) -> bool:
    """Whether the call changed the queue, as far as is known."""
    if call.error is not None:
        return False
    return call.kind in ("ack", "release") or any(answers(call)) or (call.kind == "claim" and call.result is not None)


def has_surfaced(call: RecordedCall) -> bool:
    """Whether the call raised what it should not: that others were in the way, or an accident.

    A settle may be refused, by an error of any name, and so may what names a task by its id; nothing else may.
    """
    if call.error is None or call.error == "answered False":
        return False
    return call.kind not in MAY_BE_REFUSED or is_trouble(call.error)


def is_trouble(error: str) -> bool:
    """Whether no queue says this to refuse something."""
    name, said = error.partition(":")[0], error.lower()
    return name in NO_REFUSALS or name in ACCIDENT_NAMES or any(words in said for words in IN_THE_WAY)
