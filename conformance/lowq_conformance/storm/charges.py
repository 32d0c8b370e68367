"""Decides which clauses the evidence of a run breaks, and which operations show it."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lowq_conformance.history.counterexample import Counterexample
from lowq_conformance.history.operation import Op
from lowq_conformance.history.units import NANOSECONDS
from lowq_conformance.storm.execution import AGAIN, Execution, find_bound
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.storm.to_history import RunHistory, has_surfaced, is_trouble

PUSHES = ("push", "push_many")
AROUND = 8
"""How many calls are shown around one that went wrong."""


@dataclass(frozen=True, slots=True)
class Charge:
    """A clause is broken; the sentence that says by what, and the calls that show it, or the judge's `fault`."""

    clause: str
    said: str
    shown: str
    fault: Counterexample | None = None


def charge_calls(run: Execution, *, deadly: bool, refuses: bool = False) -> Iterator[Charge]:
    """What is wrong whatever the history: somebody waits for ever, died, or was told an error.

    `deadly`: processes were killed on purpose, so that what is wrong is what they left behind; `refuses`: whoever
    says clearly that it does not work does nothing wrong.
    """
    for call in run.waiting:
        bound = find_bound(run.subject)
        said = f"{call} did not return within {bound:g} s, and nothing else happened to {call.process}"
        yield Charge("CRASH-6" if deadly and after_a_death(run, call) else "RACE-5", said, find_concurrent(run, call))
    for client, code in run.fell.items():
        how = f"died by {signal.Signals(-code).name}" if code < 0 else f"left by exit({code})"
        last = [call for call in run.recording.calls if call.process == client][-1:]
        said = f"the process of {client} {how}"
        yield Charge("CRASH-6" if deadly else "RACE-4", said, "\n".join(find_concurrent(run, call) for call in last))
    told = set[str]()
    for call in run.recording.calls:
        clause = "CRASH-6" if deadly and after_a_death(run, call) else "RACE-4"
        named = not is_trouble(call.error or "")
        if named and call.kind in PUSHES and run.subject.traits.room is not None:
            continue  # there may have been no room for it
        if clause not in told and has_surfaced(call) and not (refuses and named):
            told.add(clause)  # one is shown of each clause
            yield Charge(clause, f"{call} raised {call.error}", find_concurrent(run, call))
    yield from find_torn_batches(run)
    yield from find_altered(run, deadly=deadly)


def charge_forks(run: Execution) -> Iterator[Charge]:
    """What is wrong on either side of a fork: refusals are not, where they have a name."""
    for call in run.recording.calls:
        if call.kind == "join" and call.result != 0:
            child = [each for each in run.recording.calls if each.process == "child"]
            hung = call.result == -signal.SIGALRM
            said = "the child waited for ever" if hung else f"the child ended with {call.result}"
            yield Charge("RACE-7", said, find_concurrent(run, child[-1] if child else call))


def after_a_death(run: Execution, call: RecordedCall) -> bool:
    """Whether somebody had been killed before the call returned, or now, where it never did."""
    return any(call.ret is None or dead < call.ret for dead in run.recording.deaths.values())


def find_torn_batches(run: Execution) -> Iterator[Charge]:
    """A batch that was cut off and of which some came out, before its works were pushed again."""
    calls = [call for call in run.recording.calls if call.process != AGAIN]
    claims = (call for call in calls if call.kind == "claim" and call.result)
    came = {str(call.result["work"]): call for call in claims}
    for call in calls:
        if call.kind != "push_many" or call.ret is not None:
            continue
        works = [str(item["work"]) for item in items_of(call)]
        out = [work for work in works if work in came]
        if out and len(out) < len(works) and not run.waiting:
            said = f"a batch of {len(works)} was cut off by a kill, and {len(out)} of them came out: {', '.join(out)}"
            shown = "\n".join(line(run, each) for each in [call, *(came[work] for work in out)])
            yield Charge("CRASH-3", said, shown)


def find_altered(run: Execution, *, deadly: bool) -> Iterator[Charge]:
    """A task that came out with other headers than those with which its work was pushed, each time it was."""
    calls = run.recording.calls
    pushed = {str(item["work"]): item.get("headers", {}) for call in calls for item in items_of(call)}
    for call in calls:
        if call.kind != "claim" or not call.result or call.result.get("headers") is None:
            continue
        work, found = str(call.result["work"]), call.result["headers"]
        if pushed.get(work, found) == found:
            continue
        pushes = [each for each in calls if any(str(item["work"]) == work for item in items_of(each))]
        said = f"{work!r} was pushed with the headers {pushed[work]}, and came out with {found}"
        shown = "\n".join(line(run, each) for each in [*pushes[:AROUND], call])
        cut_off = any(each.ret is None for each in pushes)
        for clause in ("CRASH-2" if cut_off else "CRASH-1", "CRASH-7") if deadly else ("RACE-3",):
            yield Charge(clause, said, shown)
        return


def items_of(call: RecordedCall) -> list[dict[str, Any]]:
    """What the call pushes."""
    return [call.args] if call.kind == "push" else call.args["items"] if call.kind == "push_many" else []


def answers_of(call: RecordedCall) -> list[Any]:
    """What it was told of each work that it pushes, as far as it was."""
    return list(call.result or ()) if call.kind == "push_many" else [call.result]


MISSING = ("lost", "false empty", "order", "priority")
"""Faults that say that a task which should have come did not: later, or never."""


def clauses_of(fault: Counterexample, told: RunHistory, *, deadly: bool) -> Iterable[str]:
    """The clauses that a bad history breaks, apart from the one on whole histories."""
    ops = fault.proof
    lost = [op for op in ops if op.kind == "push" and op.result == "added" and never_came(op, told)]
    if deadly:
        match fault.kind:
            case "done":
                return ["CRASH-5"]
            case "invented":
                return ["CRASH-2"]
        if fault.kind in MISSING and lost:
            return ["CRASH-4" if claims_of(lost[0], told) else "CRASH-1"]
        return []
    if fault.kind in MISSING and lost:
        return ["RACE-2"]
    match fault.kind:
        case "claimed twice":
            return [*(["LEASE-12"] if was_taken_over(ops, told) else []), "RACE-1", "DELIVER-3"]
        case "dedupe":
            return ["DEDUPE-9"]
        case "order":
            return ["ORDER-2"]
        case "lost" | "false empty":
            return ["DELIVER-6"]
    return []


def never_came(push: Op, told: RunHistory) -> bool:
    """Whether the task never came out, or never again after its holder was killed, be it in a release."""
    claims = claims_of(push, told)
    settled = {op.claim for op in told.ops if op.kind == "ack" or (op.kind == "release" and op.result is not None)}
    return not claims or (claims[-1].number not in settled and told.calls[claims[-1].number].dead is not None)


def claims_of(push: Op, told: RunHistory) -> list[Op]:
    """The known claims of a task."""
    return [
        op
        for op in told.ops
        if op.kind == "claim" and op.result == "task" and op.work == push.work and op.id in (None, push.id)
    ]


def was_taken_over(ops: Iterable[Op], told: RunHistory) -> bool:
    """Whether the task that was handed out twice had been left by a holder whose lease ran out."""
    two = sorted((op for op in ops if op.kind == "claim"), key=lambda op: op.call)[-2:]
    released = {op.claim for op in told.ops if op.kind == "release" and op.result == "ok"}
    earlier = [op for push in ops if push.kind == "push" for op in claims_of(push, told) if op.ret < two[0].call]
    return any(op.number not in released for op in earlier)


def find_concurrent(run: Execution, call: RecordedCall) -> str:
    """The calls of everybody at that time."""
    calls = run.recording.calls
    at = calls.index(call)
    open_then = [each for each in calls[:at] if each.ret is None or each.ret > call.call]
    chosen = [*open_then[-AROUND:], *[each for each in calls[max(0, at - 3) : at + 2] if each not in open_then]]
    return "\n".join(line(run, each) for each in sorted(chosen, key=lambda each: each.call))


def line(run: Execution, call: RecordedCall) -> str:
    """One call: when, who, what, and what came of it."""
    at = NANOSECONDS.length(call.call - run.start)
    if call.ret is None:
        came = "cut off by a kill" if call.dead is not None and call not in run.waiting else "never returned"
    else:
        came = f"{call.answer} after {NANOSECONDS.length(call.ret - call.call)}"
    return f"{at:>10}  {call}: {came}"
