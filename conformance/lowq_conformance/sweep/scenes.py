"""The pairs of calls that a sweep looks at, what is prepared for them, and which clauses they are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lowq_conformance.contract.promises import Traits
from lowq_conformance.storm.execution import OUTLIVES
from lowq_conformance.storm.performer import Step
from lowq_conformance.sweep.schedule import CHANGES, How, Scene

PLAIN = (
    "claim|claim repush|repush push|push ack|claim claim|ack push|claim claim|push release|claim claim|release"
    " repush|ack ack|repush repush|claim claim|repush push|ack ack|push ack|ack push|release release|push ack|release"
    " release|ack release|release repush|release release|repush batch|claim claim|batch batch|push push|batch"
    " close|push push|close close|claim claim|close"
)
"""The telling ones first, for whoever looks at a few only."""
LATE = "claim|claim ack|claim release|claim claim|ack claim|release"
"""With a lease that has run out."""
CHANGING = (
    "cancel|claim claim|cancel redrive|repush redrive|redrive release|cancel cancel|redrive redrive|cancel"
    " redrive|claim cancel|cancel repush|redrive"
)
"""With a task that waits, or that is dead."""
CHANGING_LATE = "extend|claim dead_letter|claim claim|extend claim|dead_letter"
FORKED = "claim|claim push|push push|claim claim|push"
"""On the two sides of a fork, where that is all there is to see."""
SETTLES = ("ack", "release")
WHOLE: Mapping[How, str] = {"fork": "RACE-7", "coroutines": "RACE-9"}
"""Sorts of clients with one clause, about everything."""


def scenes_of(
    promises: frozenset[str], traits: Traits, how: How, *, moves: bool, redrives: bool = True
) -> list[Scene]:
    """The scenes for a queue with these promises, whose clock `moves` when it is told to, and which `redrives`."""
    wanted = [*_scenes(FORKED if how == "fork" else PLAIN)]
    if how != "fork" and moves and "lease" in promises:
        late = _scenes(LATE, late=True)
        if "fenced" not in promises:  # what a settle does that comes too late is open
            late = [scene for scene in late if {scene.first, scene.second}.isdisjoint(SETTLES)]
        wanted[4:4] = late
        if "fenced" in promises:
            wanted += _scenes(CHANGING_LATE, late=True)
    if how != "fork":
        wanted += _scenes(CHANGING)
    if how == "coroutines":  # they have one client, and who closes it harms the others
        wanted = [scene for scene in wanted if "close" not in (scene.first, scene.second)]
    lacking = {verb for verb in ("release", "batch", "close", *CHANGES) if verb not in promises}
    if redrives and "dead_letter" in promises:
        lacking.discard("redrive")
    if traits.dedupe == "off":
        lacking.add("repush")
    if "lease" in promises and "shared_lease" not in promises:
        lacking.add("close")  # it may disturb leases
    return [scene for scene in wanted if lacking.isdisjoint((scene.first, scene.second))]


def _scenes(pairs: str, *, late: bool = False) -> list[Scene]:
    return [Scene(first, second, late) for first, _, second in (pair.partition("|") for pair in pairs.split())]


@dataclass(slots=True)
class Script:
    """What the two clients do in a scene: what is prepared, by the first, the second and the first again; the two
    calls; what follows, by the second and then by the first; and, when all has come out, what else is to come out."""

    before: tuple[list[Step], list[Step], list[Step]] = field(default_factory=lambda: ([], [], []))
    calls: tuple[Step, Step] = field(default_factory=lambda: ([], []))
    after: tuple[list[Step], list[Step]] = field(default_factory=lambda: ([], []))
    again: tuple[list[Step], list[Step]] = field(default_factory=lambda: ([], []))


def script_of(scene: Scene) -> Script:
    """The script of a scene.

    Whoever settles has a task in hand; two more wait, one pushed by each client, so that nobody may find nothing. A
    lease that has run out is that of who settles, or where nobody does, of the second client, who forgets it.
    """
    if scene.changes:
        return script_of_change(scene)
    verbs = (scene.first, scene.second)
    holders = [number for number, verb in enumerate(verbs) if verb in SETTLES]
    forgets = scene.late and not holders
    if forgets:
        holders = [1]
    before: tuple[list[Step], list[Step], list[Step]] = [], [], []
    for number in holders:
        before[number].extend([["push", HELD[number]], ["claim"]])
    if scene.late:
        before[holders[0]].append(["pass", OUTLIVES])
    if forgets:
        before[holders[0]].append(["drop"])
    before[1].append(["push", "two"])
    before[2].append(["push", "one"])
    after: tuple[list[Step], list[Step]] = [], []
    if set(verbs) <= set(PUSHES):
        after = [["push", "last"]], [["push", "then"]]
    return Script(before, (call(scene.first, scene.second, 0), call(scene.second, scene.first, 1)), after)


def script_of_change(scene: Scene) -> Script:
    """The script of a scene of one task, which whoever redrives finds dead, and whoever settles or extends in hand.

    Both have opened the queue before anything is in hand, since that may end with the coming of a client.
    """
    verbs = (scene.first, scene.second)
    holder = next((number for number, verb in enumerate(verbs) if verb in HOLDING), None)
    steps: list[Step] = [["push", "mine"]]
    if holder is not None or "redrive" in verbs:
        steps.append(["claim"])
    if "redrive" in verbs:
        steps.append(["dead_letter", 0])
    if scene.late:
        steps.append(["pass", OUTLIVES])
    before: tuple[list[Step], list[Step], list[Step]] = ([], [["open"]], steps)
    again: tuple[list[Step], list[Step]] = ([], [["redrive"]] if "redrive" in verbs else [])
    if holder == 1:
        before = ([], steps, [])
    if "dead_letter" in verbs:
        again = ([], [["redrive"]]) if holder == 0 else ([["redrive"]], [])
    return Script(before, (call(scene.first, scene.second, 0), call(scene.second, scene.first, 1)), again=again)


HOLDING = ("release", "extend", "dead_letter")
PUSHES = ("push", "repush", "batch")
HELD = ("mine", "yours")
NEW = ("new", "other")


def call(verb: str, other: str, number: int) -> Step:
    """The call of client 0 or 1, while the other one makes its own."""
    match verb:
        case "push":
            return ["push", NEW[number]]
        case "repush":
            if other in SETTLES:
                return ["push", HELD[1 - number]]
            if other in CHANGES:
                return ["push", "mine"]
            return ["push", "one" if other == "claim" else "same"]
        case "batch":
            return ["batch", [[f"{NEW[number]} {each}", 0, None] for each in "ab"]]
        case "ack" | "release" | "extend" | "dead_letter":
            return [verb, 0]
    return [verb]


OF_CHANGES: Mapping[str, set[str]] = {
    "extend": {"LEASE-6", "LEASE-8"},
    "cancel": {"CANCEL-1", "CANCEL-2", "CANCEL-3"},
    "dead_letter": {"DEAD-1", "LEASE-13"},
    "redrive": {"DEAD-3"},
}
"""The clauses that the schedules of a verb put to the test."""


def clauses_about(scene: Scene, how: How) -> set[str]:
    """The clauses that the schedules of a scene put to the test."""
    if how in WHOLE:
        return {WHOLE[how]}
    verbs = [scene.first, scene.second]
    if "close" in verbs:
        return {"RACE-6"}
    about = {"RACE-3", "RACE-4", "RACE-5"}
    if scene.changes:
        return about.union(*(OF_CHANGES[verb] for verb in verbs if verb in CHANGES))
    if verbs == ["claim", "claim"]:
        about |= {"RACE-1", "DELIVER-3", *(["LEASE-12"] if scene.late else [])}
    if "claim" in verbs:
        about |= {"DELIVER-6"}
    if not {"push", "batch"}.isdisjoint(verbs):
        about |= {"RACE-2"}
    if set(verbs) <= set(PUSHES):
        about |= {"ORDER-2"}
    if verbs == ["repush", "repush"]:
        about |= {"DEDUPE-9"}
    return about
