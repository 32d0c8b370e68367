"""What became of tasks whose clients died in a call that changes them, and of works that are pushed again at the end.

A call of extend, dead_letter, redrive or cancel is whole or absent: whoever was killed in it leaves the task as it
was before or as it is afterwards. When all leases have run out and all that is dead was redriven, also what the queue
set aside by itself, each task has come out once, but for the cancelled ones. Only what came out and was acked at the
end is counted, and a task of which that end says nothing sure is left out.

Whatever call was cut off, it leaves nothing behind that keeps an equal work away: when all has come out, what it was
about is pushed again, and comes out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lowq_conformance.history.work_text import work_text
from lowq_conformance.storm.charges import Charge, items_of, line
from lowq_conformance.storm.execution import AGAIN, DRAIN, END, Execution
from lowq_conformance.storm.performer import Step
from lowq_conformance.storm.recorder import RecordedCall, pushes_added

CHANGES = ("extend", "dead_letter", "redrive", "cancel")

RECENT = 3
"""A claim that was cut off may have been about the works that its client pushed last, so many of them."""

Fate = list[RecordedCall]
"""All calls about one task."""


def follow_up(calls: Sequence[RecordedCall]) -> list[Step]:
    """All that was to be dead is redriven and comes out; then all works are pushed again, and come out."""
    again: list[Step] = [["redrive", id] for id in dict.fromkeys(list_ids(calls, "dead_letter")) if id is not None]
    works: list[Step] = [["push", call.args["work"]] for call in calls if call.kind == "push"]
    return [*again, ["drain", DRAIN], *works, ["drain", DRAIN]]


def follow_up_aside(calls: Sequence[RecordedCall]) -> list[Step]:
    """As `follow_up`, and what was claimed and did not come is redriven, since the queue may have set it aside."""
    claimed = dict.fromkeys(call.result["name"] for call in calls if call.kind == "claim" and call.result)
    return [["drain", DRAIN], *(["redrive", id] for id in claimed if id is not None), *follow_up(calls)]


def push_again(calls: Sequence[RecordedCall]) -> list[Step]:
    """What the calls that were cut off were about, and what killed clients had in hand, is pushed again, of one key
    one work, and comes out."""
    keys = {item["work"]: item["key"] for call in calls for item in items_of(call) if "key" in item}
    works = (work for call in left_open(calls) for work in works_about(call, calls))
    again = {(keys.get(work), None if work in keys else work): work for work in works}
    steps: list[Step] = [["push", work, 0, None, keys.get(work)] for work in again.values()]
    return [*steps, ["drain", DRAIN]] if steps else []


def left_open(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """The calls that were cut off, and of each killed client the last claim of what it had in hand."""
    settled = {(call.process, call.args["claim"]) for call in calls if call.kind in ("ack", "release")}
    in_hand = {
        call.process: call
        for call in calls
        if call.kind == "claim" and call.result and call.dead and (call.process, call.number) not in settled
    }
    return [call for call in calls if call.ret is None or in_hand.get(call.process) is call]


def works_about(call: RecordedCall, calls: Iterable[RecordedCall]) -> list[Any]:
    """The works that the call is about; of a claim that was cut off, those that it may have been about."""
    own = [each for each in calls if each.process == call.process]
    match call.kind:
        case "push" | "push_many":
            return works_pushed(call)
        case "ack" | "release":
            return [own[call.args["claim"]].result["work"]]
        case "claim" if call.result:
            return [call.result["work"]]
        case "claim":
            return [work for each in own for work in works_pushed(each)][-RECENT:]
    return []


def works_pushed(call: RecordedCall) -> list[Any]:
    """The works that the call pushes."""
    return [item["work"] for item in items_of(call)]


def find_blocked(run: Execution) -> Iterator[Charge]:
    """The works that did not come out when they were pushed again: something that is gone keeps them away.

    A task that a killed client has in hand keeps them away rightly, for ever where there are no leases.
    """
    calls = run.recording.calls
    traits = run.subject.traits
    if traits.dedupe == "off" or traits.remembers or traits.one_at_a_time or not came_to_the_end(calls):
        return
    if "lease" not in run.subject.promises and any(
        call.kind == "claim" and call.process not in (END, AGAIN) for call in calls
    ):
        return
    charged, left = set[str](), left_open(calls)
    acked = {(c.process, c.args["claim"]) for c in calls if c.kind == "ack" and c.ret is not None and c.error is None}
    for again in calls:
        if again.process != AGAIN or again.kind != "push" or again.ret is None or again.error is not None:
            continue
        work = again.args["work"]
        if again.result["added"] is True or any(hands_out(call, work) and call.call > again.call for call in calls):
            continue
        about = (call for call in reversed(left) if work in works_about(call, calls))
        if (cut := next(about, None)) is None:
            continue
        if any(c.process == END and hands_out(c, work) and (END, c.number) not in acked for c in calls):
            continue  # it may still stand
        stands = "the queue said that it still stands" if says_duplicate(again) else "it did not come out"
        whose = f"whose {cut.kind} was cut off"
        if cut.kind == "claim":
            whose = "which a killed client had in hand" if cut.result else "which may be what a killed client claimed"
        said = f"{work!r}, {whose}, is gone; when it was pushed again, {stands}"
        shown = [call for call in calls if call in (cut, again) or hands_out(call, work)]
        for clause in (*CUT_OFF.get(cut.kind, ()), "CRASH-6", "CRASH-7"):
            if clause not in charged:  # one is shown of each clause
                charged.add(clause)
                yield Charge(clause, said, "\n".join(line(run, call) for call in shown))


def find_unaccounted(run: Execution) -> Iterator[Charge]:
    """Fewer dead tasks are counted than were set aside by the queue: all came out that could, and these were never
    acked.

    Where tasks are dead letters by promise; a queue that sets aside by itself need not keep what it sets aside else.
    """
    calls, subject = [call for call in run.recording.calls if call.process != AGAIN], run.subject
    needed = {"lease", "dead_letter", "inspect"} <= subject.promises and subject.traits.max_deliveries is not None
    if not needed or subject.traits.one_at_a_time or not came_to_the_end(calls):
        return
    counted = [call for call in calls if call.process == END and call.kind == "count" and call.result]
    if not counted or "dead" not in counted[-1].result:
        return
    left = Counter[str]()
    of: dict[tuple[str, int], str] = {}
    for call in calls:
        answers = [call.result] if call.kind == "push" else call.result if call.kind == "push_many" else None
        for work, answer in zip(works_pushed(call), answers or (), strict=False):
            left[work_text(work)] += bool(answer) and answer["added"] is True
        if call.kind == "claim" and call.result:
            of[call.process, call.number] = work_text(call.result["work"])
    for call in calls:
        if call.kind == "ack":
            left[of[call.process, call.args["claim"]]] -= 1
        elif call.kind == "cancel":
            left[work_text(call.args["work"])] -= 1
    missing = [work for work, number in left.items() if number > 0]
    found = sum(counted[-1].result.values())
    if sum(left[work] for work in missing) > found:
        said = f"{len(missing)} tasks were never acked and came no more, and {found} are counted, dead or not"
        shown = [call for call in calls if call.kind == "claim" and call.result and hands_out_text(call, missing[0])]
        yield Charge(
            "CRASH-7" if run.kills else "RACE-2",
            f"{said}: {missing[0]} is lost",
            "\n".join(line(run, call) for call in [*shown, counted[-1]]),
        )


def hands_out_text(call: RecordedCall, text: str) -> bool:
    """Whether the call handed that work out."""
    return work_text(call.result["work"]) == text


def find_miscounted(run: Execution) -> Iterator[Charge]:
    """What is counted though nothing is there: all has come out, and nobody has anything in hand.

    What is dead is not counted, nor without leases what a killed client had in hand.
    """
    calls = run.recording.calls
    if run.subject.traits.one_at_a_time or not came_to_the_end(calls):
        return
    states = ["scheduled", "ready", *(["leased"] if "lease" in run.subject.promises else [])]
    for call in calls:
        if call.process != END or call.kind != "count" or call.ret is None or call.error is not None:
            continue
        wrong = [f"{call.result[state]} {state}" for state in states if (call.result or {}).get(state)]
        if wrong:
            said = f"after the kills all came out and was acked, and {' and '.join(wrong)} are counted"
            yield Charge("CRASH-6", said, line(run, call))


CUT_OFF = {"push": ("CRASH-2",), "push_many": ("CRASH-3",)}
"""The clauses about calls that were cut off."""


def hands_out(call: RecordedCall, work: Any) -> bool:
    """Whether the call handed the work out."""
    return call.kind == "claim" and call.result is not None and bool(call.result["work"] == work)


def came_to_the_end(calls: Sequence[RecordedCall]) -> bool:
    """Whether all came out that could, and then one more came and went."""
    if not any(call.process == END and call.kind == "push" and call.args["work"] == "last" for call in calls):
        return False
    return not any(
        call.process in (END, AGAIN) and call.kind == "claim" and (call.ret is None or call.error) for call in calls
    )


def list_ids(calls: Iterable[RecordedCall], kind: str) -> list[Any]:
    """The ids of the tasks that calls of this kind were about."""
    return [call.args["id"] for call in calls if call.kind == kind]


def find_changed(run: Execution) -> Iterator[Charge]:
    """The tasks that are lost, or came out more often than they were pushed, or left something behind."""
    calls = run.recording.calls
    if not came_to_the_end(calls):
        return
    charged = set[str]()
    for fate in fates_of(calls).values():
        for clause, said in faults_of(run, fate):
            if clause not in charged:  # one is shown of each clause
                charged.add(clause)
                yield Charge(clause, said, "\n".join(line(run, call) for call in fate))


def fates_of(calls: Sequence[RecordedCall]) -> dict[str, Fate]:
    """The calls about each task that a victim's push has added, by its work, which nobody else pushes."""
    fates: dict[str, Fate] = {}
    works: dict[tuple[str, int], str] = {}
    ids: dict[Any, str] = {}
    for call in calls:
        work = None
        match call.kind:
            case "push" if call.process != END and pushes_added(call):
                fates.setdefault(call.args["work"], [])
                work = call.args["work"]
            case "push" | "cancel":
                work = call.args["work"]
            case "claim" if call.result is not None:
                work = works[call.process, call.number] = call.result["work"]
                ids[call.result["name"]] = work
            case "ack" | "extend" | "dead_letter":
                work = works[call.process, call.args["claim"]]
                if call.kind == "dead_letter" and call.args["id"] is not None:
                    ids[call.args["id"]] = work
            case "redrive":
                work = ids.get(call.args["id"])
        if isinstance(work, str) and work in fates:
            fates[work].append(call)
    return fates


def faults_of(run: Execution, fate: Fate) -> Iterator[tuple[str, str]]:
    """The clauses that are broken by what became of the task, and what is wrong."""
    work, traits = fate[0].args["work"], run.subject.traits
    again = next((call for call in fate if call.kind == "push" and call.process == END), None)
    before = [call for call in fate if again is None or call.call < again.call]
    claims = [call for call in before if call.process == END and call.kind == "claim"]
    acks = {call.args["claim"]: call for call in before if call.process == END and call.kind == "ack"}
    if not all(claim.number in acks and is_sure(run, claim, acks[claim.number]) for claim in claims):
        return
    changes = [call for call in before if call.kind in CHANGES and call.process != END]
    cut = next((call for call in reversed(changes) if call.ret is None), None)
    where = f"{work!r}, whose {cut.kind} was cut off by a kill," if cut is not None else f"{work!r}"
    if len(claims) > 1:
        for clause in ("CRASH-5", "CRASH-7"):
            yield clause, f"{where} was acked {len(claims)} times, each time after it had been claimed anew"
    elif not claims and not may_be_gone(before, run.subject.traits.max_deliveries):
        clause = "CRASH-1" if cut is None or cut.kind == "redrive" else "CRASH-4"
        dead = any(call.kind == "dead_letter" for call in before)
        tried = "every lease had run out" + (" and it was asked to be redriven" if dead else "")
        for each in (clause, "CRASH-7"):
            yield each, f"{where} is lost: it did not come out when {tried}"
    elif not (traits.dedupe == "off" or traits.remembers) and says_duplicate(again):
        yield "CRASH-6", f"{where} is gone, and when it was pushed again the queue said that it still stands"


def is_sure(run: Execution, claim: RecordedCall, ack: RecordedCall) -> bool:
    """Whether the ack was taken, and certainly while the lease ran."""
    if ack.ret is None or ack.error is not None:
        return False
    return run.subject.can_pass_time or ack.ret - claim.call < run.lease.total_seconds() * 1e9 / 2


def may_be_gone(fate: Fate, limit: int | None) -> bool:
    """Whether the task was perhaps cancelled, or is dead, perhaps since it was claimed so often, and nobody could
    redrive it at the end."""
    if any(call.kind == "cancel" for call in fate):
        return True
    claims = sum(call.kind == "claim" and call.process != END for call in fate)
    dead = any(call.kind == "dead_letter" for call in fate) or (limit is not None and claims >= limit)
    return dead and not any(call.kind == "redrive" and call.process == END for call in fate)


def says_duplicate(again: RecordedCall | None) -> bool:
    """Whether the work, pushed again, was refused as a duplicate."""
    return again is not None and again.error is None and bool(again.result) and again.result["added"] is False
