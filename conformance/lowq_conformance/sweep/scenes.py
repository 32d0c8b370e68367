"""The calls that a sweep looks at, two or three at a time, what is prepared for them, and the clauses about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from lowq_conformance.contract.promises import Traits
from lowq_conformance.storm.execution import OUTLIVES
from lowq_conformance.storm.performer import Step
from lowq_conformance.sweep.schedule import CHANGES, How, Scene

PLAIN = (
    "claim|claim repush|repush push|push ack|claim claim|ack push|claim claim|push release|claim claim|release"
    " repush|ack ack|repush repush|claim claim|repush push|ack ack|push ack|ack push|release release|push ack|release"
    " release|ack release|release repush|release release|repush batch|claim claim|batch batch|push push|batch"
    " rekey|rekey claim|rekey ack|rekey rekey|ack"
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
THREE = (
    "claim|claim|claim claim|release|claim claim|ack|repush ack|repush|claim release|claim|claim repush|ack|claim"
    " claim|claim|release claim|repush|claim repush|claim|ack claim|claim|push ack|push|claim push|push|claim"
    " repush|repush|repush claim|claim|ack release|repush|claim push|claim|claim"
)
"""Of three clients: two that stand still while the third one's call runs, or one while those of both others do."""
THREE_LATE = (
    "claim|claim|claim ack|claim|claim release|claim|claim ack|claim|repush claim|ack|claim claim|release|claim"
)
FILLING = "push|push push|batch batch|push"
"""Where there is room for one task more: nobody may have the last place who shares it."""
ROOM = 3
"""For so many tasks, then, there is room."""
WEARING = ("push", "claim", "ack")
"""The calls of those that may do something now and then only."""
FORKED = "claim|claim push|push push|claim claim|push"
"""On the two sides of a fork, where that is all there is to see."""
SETTLES = ("ack", "release")
EQUAL = ("repush", "rekey")
"""The pushes that are equal to another one."""
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
    return _possible(wanted, promises, traits, redrives=redrives)


def filling_scenes_of(promises: frozenset[str], traits: Traits, how: How) -> list[Scene]:
    """The scenes in which a queue with these promises has room for one task more."""
    scenes = [] if how in WHOLE else [replace(scene, full=True) for scene in _scenes(FILLING)]
    return _possible(scenes, promises, traits)


def threes_of(promises: frozenset[str], traits: Traits, how: How, *, moves: bool) -> list[Scene]:
    """The scenes of three clients, for a queue with these promises whose clock `moves` when it is told to."""
    if how not in ("processes", "threads"):
        return []
    wanted = _scenes(THREE)
    if moves and {"lease", "fenced"} <= promises:
        wanted += _scenes(THREE_LATE, late=True)
    return _possible(wanted, promises, traits)


def worn_scenes_of(verb: str) -> list[Scene]:
    """The scenes in which a client makes such a call while another one makes its own; two alike first."""
    scenes = [scene for scene in _scenes(PLAIN) if verb in scene.verbs and set(scene.verbs) <= {*WEARING}]
    return sorted(scenes, key=lambda scene: scene.first != scene.second)


def calls_before(scene: Scene, verb: str) -> int:
    """How many calls of that kind a worn scene makes, beside the tasks that went through, before the one that it is
    about."""
    settling = sum(each in SETTLES for each in scene.verbs)
    return {"push": 2 + settling, "claim": settling, "ack": 0}[verb]


def _possible(
    wanted: Sequence[Scene], promises: frozenset[str], traits: Traits, *, redrives: bool = False
) -> list[Scene]:
    """Those scenes of which the queue can make all calls."""
    lacking = {verb for verb in ("release", "batch", "close", *CHANGES) if verb not in promises}
    if redrives and "dead_letter" in promises:
        lacking.discard("redrive")
    if traits.dedupe == "off":
        lacking.add("repush")
    if traits.dedupe == "off" or "key" not in promises:
        lacking.add("rekey")
    if "lease" in promises and "shared_lease" not in promises:
        lacking.add("close")  # it may disturb leases
    return [scene for scene in wanted if lacking.isdisjoint(scene.verbs)]


def _scenes(calls: str, *, late: bool = False) -> list[Scene]:
    verbs = [each.split("|") for each in calls.split()]
    return [Scene(first, second, late, "".join(third)) for first, second, *third in verbs]


Part = tuple[int, list[Step]]
"""Whose steps these are, as a number from 0, and the steps."""


@dataclass(slots=True)
class Script:
    """What the clients do in a scene: what is prepared, the call of each, what follows, and, when all has come out,
    what else is to come out. But for the calls, one part is over before the next one begins."""

    before: list[Part] = field(default_factory=list)
    calls: list[Step] = field(default_factory=list)
    after: list[Part] = field(default_factory=list)
    again: list[Part] = field(default_factory=list)


def script_of(scene: Scene) -> Script:
    """The script of a scene.

    Whoever settles has a task in hand; as many wait as there are clients, so that nobody may find nothing. A lease
    that has run out is that of who settles, or where nobody does, of the second client, who forgets it.
    """
    if scene.changes:
        return script_of_change(scene)
    if scene.full:
        return Script([(1, [["push", "two"]]), (0, [["push", "one"]])], calls_of(scene))
    verbs = scene.verbs
    holders = [number for number, verb in enumerate(verbs) if verb in SETTLES]
    forgets = scene.late and not holders
    if forgets:
        holders = [1]
    prepared: list[list[Step]] = [[] for _ in verbs]
    keyed = "rekey" in verbs
    for number in holders:
        prepared[number].extend([push(HELD[number], keyed=keyed), ["claim"]])
    if scene.late:
        prepared[holders[0]].append(["pass", OUTLIVES])
    if forgets:
        prepared[holders[0]].append(["drop"])
    prepared[1].append(["push", "two"])
    first, second, *third = prepared
    before = [(0, first), (1, second), (0, [push("one", keyed=keyed)])]
    if third:  # who has opened the queue before anything is in hand
        before = [(2, [["open"], *third[0]]), *before, (0, [["push", "three"]])]
    calls, after = calls_of(scene), list[Part]()
    if set(verbs) <= set(PUSHES):
        after = [(1, [["push", "last"]]), (0, [["push", "then"]])]
    elif "ack" in verbs:  # by now its work may be pushed again, once
        after = [(1, [call]) for verb, call in zip(verbs, calls, strict=True) if verb in EQUAL]
    if scene.worn:
        before = worn_part(scene, holders)
    return Script(before, calls, after)


def push(work: str, *, keyed: bool) -> Step:
    """A push of the work, under a key where there is one to be pushed again."""
    return ["push", work, 0, None, f"key of {work}"] if keyed else ["push", work]


def worn_part(scene: Scene, holders: Sequence[int]) -> list[Part]:
    """What is prepared where so many tasks have gone through: the claims come last, since a push may tidy up what was
    claimed."""
    pushes: list[Part] = [(1, [["push", "two"]]), (0, [["push", "one"]])]
    pushes += [(number, [["push", HELD[number]]]) for number in holders]
    return [(0, [["work_off", scene.worn]]), *pushes, *((number, [["claim"]]) for number in holders)]


def calls_of(scene: Scene) -> list[Step]:
    """The call of each client, which may be about what another one does."""
    calls: list[Step] = []
    for number, verb in enumerate(scene.verbs):
        others = [other for other, _ in enumerate(scene.verbs) if other != number]
        about = next((other for other in others if scene.verbs[other] in SETTLES), others[0])
        calls.append(call(verb, number, scene.verbs[about], about))
    return calls


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
    before: list[Part] = [(1, [["open"]]), (0, steps)]
    again: list[Part] = [(0, [["redrive"]])] if "redrive" in verbs else []
    if holder == 1:
        before = [(1, steps)]
    if "dead_letter" in verbs:
        again = [(0 if holder == 0 else 1, [["redrive"]])]
    return Script(before, calls_of(scene), again=again)


HOLDING = ("release", "extend", "dead_letter")
PUSHES = ("push", *EQUAL, "batch")
HELD = ("mine", "yours", "theirs")
NEW = ("new", "other", "another")


def call(verb: str, number: int, other: str, about: int) -> Step:
    """The call of the client of that number, beside the `other` call of the one that it is `about`."""
    match verb:
        case "push":
            return ["push", NEW[number]]
        case "repush":
            return ["push", equal_to(other, about)]
        case "rekey":
            return ["push", NEW[number], 0, None, f"key of {equal_to(other, about)}"]
        case "batch":
            return ["batch", [[f"{NEW[number]} {each}", 0, None] for each in "ab"]]
        case "ack" | "release" | "extend" | "dead_letter":
            return [verb, 0]
    return [verb]


def equal_to(other: str, about: int) -> str:
    """The work to which a push is equal, beside the `other` call of the client that it is `about`."""
    if other in SETTLES:
        return HELD[about]
    if other in CHANGES:
        return "mine"
    return "one" if other == "claim" else "same"


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
    verbs = scene.verbs
    if scene.full:
        return {"DELIVER-12"}
    if "close" in verbs:
        return {"RACE-6"}
    about = {"RACE-3", "RACE-4", "RACE-5"}
    if scene.changes:
        return about.union(*(OF_CHANGES[verb] for verb in verbs if verb in CHANGES))
    if set(verbs) == {"claim"}:
        about |= {"RACE-1", "DELIVER-3", *(["LEASE-12"] if scene.late else [])}
    if "claim" in verbs:
        about |= {"DELIVER-6"}
    if not {"push", "batch"}.isdisjoint(verbs):
        about |= {"RACE-2"}
    if set(verbs) <= set(PUSHES):
        about |= {"ORDER-2"}
    if set(verbs) <= {*EQUAL}:
        about |= {"DEDUPE-9"}
    return about
