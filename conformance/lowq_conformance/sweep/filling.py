"""Judges a schedule of pushes into a queue that has room for one task more.

That a push is refused is open: there may be no room by then, also for what another push gave up. What was not refused
is there, and of that there may be no more than there is room for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lowq_conformance.storm.charges import Charge, line
from lowq_conformance.storm.recorder import RecordedCall, Recording, pushes_added
from lowq_conformance.storm.storms import judge_run
from lowq_conformance.sweep.run import Run
from lowq_conformance.sweep.scenes import ROOM

CLAUSE = "DELIVER-12"


def charge_filling(run: Run, looks: int) -> Iterator[Charge]:
    """What is wrong with the schedule, in which nothing was claimed until all pushes were over."""
    if not run.over:
        return  # that a push waits, and for how long, is another clause's to tell
    calls = run.seen.recording.calls
    claimed = next((number for number, call in enumerate(calls) if call.kind == "claim"), len(calls))
    kept = sum(map(pushes_added, calls[:claimed]))
    if kept > ROOM:
        said = f"{kept} tasks are in a queue with room for {ROOM}"
        yield Charge(CLAUSE, said, "\n".join(line(run.seen, call) for call in calls[:claimed]))
    seen = replace(run.seen, recording=Recording([in_doubt(call) for call in calls]))
    for charge in judge_run(seen, looks).found:
        if charge.clause == "RACE-2":  # something was dropped; what else is wrong is another clause's to tell
            yield replace(charge, clause=CLAUSE)


def in_doubt(call: RecordedCall) -> RecordedCall:
    """The call; a push that was refused is none of something equal, however the queue says that it was refused."""
    answers = call.result if call.kind == "push_many" else [call.result] if call.kind == "push" else []
    refused = any(answer and answer["added"] is False for answer in answers or ())
    return replace(call, error="no room", result=None) if refused else call
