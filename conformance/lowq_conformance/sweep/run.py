"""One schedule that was made: what was recorded, and who waited for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lowq_conformance.storm.execution import Execution
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.sweep.schedule import CHANGES, Point, Schedule


@dataclass(slots=True)
class Run:
    """One schedule that was made: what was recorded, and whether the first stood still where it was to."""

    schedule: Schedule
    seen: Execution
    number: int
    stood: bool = False
    waited: bool = False
    third_waited: bool = False
    over: bool = True
    points: dict[Point, int] = field(default_factory=dict)
    second_points: dict[Point, int] = field(default_factory=dict)
    blocks: bool = False
    crossing: list[RecordedCall | None] = field(default_factory=list)
    home: str = ""


def lacks_a_call(run: Run) -> bool:
    """Whether a change was not made: the queue does not tell the id that it takes."""
    verbs = run.schedule.scene.verbs
    calls = zip(verbs, run.crossing, strict=True)
    return any(verb in CHANGES and (call is None or call.kind != verb) for verb, call in calls)


def shape_of(run: Run) -> Any:
    """What was called and answered, in which order, whatever the time was: equal shapes have equal verdicts."""
    names: dict[Any, int] = {}
    calls = run.seen.recording.calls
    events = sorted(
        [(call.call, number, 0) for number, call in enumerate(calls)]
        + [(call.ret, number, 1) for number, call in enumerate(calls) if call.ret is not None]
    )
    said = []
    for call in calls:
        answers = call.result if isinstance(call.result, list) else [call.result]
        told: list[Any] = []
        for answer in answers:
            if isinstance(answer, dict):
                id = answer.get("id")
                name = id and names.setdefault(id, len(names))
                told.append((str(answer.get("work")), answer.get("added"), str(answer.get("headers")), name))
            else:
                told.append(str(answer))
        args = (
            {**call.args, "id": names.setdefault(str(id), len(names))} if (id := call.args.get("id")) else call.args
        )
        said.append((call.process, call.kind, str(args), str(told), call.error))
    return str(said), tuple((number, end) for _, number, end in events)
