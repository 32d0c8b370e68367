"""Describes a schedule in one sentence: who stood still where, and what all clients were answered."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.sweep.schedule import How, Point, Schedule

KINDS = {"repush": "push", "rekey": "push", "batch": "push_many"}
"""The method that a verb calls, where that is not its name."""
WHOSE: dict[How, str] = {"fork": "the other side of a fork", "coroutines": "the same client"}
"""Who makes the second call, where that is no other client."""
ORDINALS = {2: "2nd", 3: "3rd"}


def account_of(
    schedule: Schedule,
    crossing: Sequence[RecordedCall | None],
    home: str,
    said: str,
    *,
    waited: bool = False,
    third_waited: bool = False,
) -> str:
    """The schedule in a sentence, and what is wrong with it.

    `crossing` are the calls, as far as they were made, of which the second one may have `waited` for the first, and
    the third for one that stood still; `home` is the name of the file of the client's class.
    """
    if schedule.at is None:
        return said
    scene = schedule.scene
    first, second, *more = crossing
    late = " (a lease had run out before)" if scene.late else ""
    late += f" (when {scene.worn} tasks had gone through)" if scene.worn else ""
    late += " (when there was room for one task more)" if scene.full else ""
    whose = WHOSE.get(schedule.how or "processes", "another client")
    stood = f"`{_name_call(scene.first)}` stood still before `{where(schedule.at, home)}`{late}; {whose}'s"
    mine, told_before = _came(first), [] if third_waited else more
    third = "".join(f", a third client's `{_name_call(scene.third)}` {_came(call)}" for call in told_before)
    last, ending = "the second" if more else "the other", ""
    if third_waited:
        third = f", a third client's `{_name_call(scene.third)}` waited"
        ending = f", and then the third {_came(more[0])}{_too(more[0], first, second)}"
    went_on = f"the first went on and {mine}{_too(first, *told_before)}"
    other = f"{last} {_came(second)}{_too(second, first, *told_before)}"
    if schedule.second_at is not None:
        told = f"stood still before `{where(schedule.second_at, home)}`{third}; {went_on}, and then {other}"
    elif waited:
        told = f"waited for it{third}; {went_on}, and {other}"
    else:
        told = f"{_came(second)}{third}; the first went on and {mine}{_too(first, second, *told_before)}"
    return f"{stood} `{_name_call(scene.second)}` {told}{ending}: {said}"


def _too(call: RecordedCall | None, *before: RecordedCall | None) -> str:
    """That a claim came to what others came to."""
    return ", too" if call is not None and call.kind == "claim" and _came(call) in map(_came, before) else ""


def where(point: Point, home: str) -> str:
    """A point, for people."""
    said = f"{point.file or home}:{point.line}"
    if point.time > 1:
        said += f" ({ORDINALS.get(point.time, f'{point.time}th')} time)"
    return said + (f" (further step {point.step})" if point.step else "")


def _name_call(verb: str) -> str:
    return f"{KINDS.get(verb, verb)}()"


def _came(call: RecordedCall | None) -> str:
    """What a call came to."""
    if call is None or call.ret is None:
        return "did not return"
    if call.error is not None:
        return f"was refused: {call.error}" if call.error != "answered False" else "was refused"
    match call.kind:
        case "claim":
            return "found nothing" if call.result is None else f"returned {json.dumps(call.result['work'])}"
        case "push":
            added = call.result["added"]
            return "returned" if added is None else "was added" if added else "was a duplicate"
        case "cancel" | "redrive" if call.result is not None:
            return f"answered {call.result}"
    return "returned"
