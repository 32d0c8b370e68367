"""The nemesis: kills clients by `kill -9` at chosen lines of a verb, right after it returned, and at any moment."""

from __future__ import annotations

from itertools import zip_longest

from lowq_conformance.contract.profile import Deaths
from lowq_conformance.storm.execution import Victim
from lowq_conformance.storm.performer import Step
from lowq_conformance.storm.workload import DELAYS, Plan
from lowq_conformance.subject.subject import Subject

SOON, LATE = 0.005, 0.15
BATCH = 6
DIE: Step = ["die"]


def writers(subject: Subject, seed: object, deaths: Deaths) -> list[Victim]:
    """Who dies at a chosen instant of a call that writes, or right after one.

    None of them dies within a claim: a claim of which nobody knows whether it took a task excuses the loss of one.
    The kinds of death take turns, so that a run that is cut short has seen each of them.
    """
    plan = Plan.of(subject, f"writers {seed}", 1, prefix="v")
    kinds = [within(plan, verb, deaths) for verb in verbs(subject) if verb != "claim"]
    kinds += [list(steps) for steps in zip(*(after(plan) for _ in range(deaths.after)), strict=True)]
    for kind in kinds:
        plan.random.shuffle(kind)
    return [Victim(steps) for turn in zip_longest(*kinds) for steps in turn if steps is not None]


def takers(subject: Subject, seed: object, deaths: Deaths) -> list[Victim]:
    """Who dies within a claim, and who is killed wherever it then is."""
    plan = Plan.of(subject, f"takers {seed}", 1, prefix="t")
    found = [Victim(steps) for steps in within(plan, "claim", deaths)]
    for number in range(deaths.anywhere):
        steps = Plan.of(subject, f"takers {seed} {number}", 1, prefix=f"k{number}-").calls(1000)
        found.append(Victim([["open"], *steps], plan.random.uniform(SOON, LATE)))
    plan.random.shuffle(found)
    return found


def verbs(subject: Subject) -> list[str]:
    """The verbs in which a client may die."""
    more = [verb for verb in ("batch", "release", "key") if verb in subject.promises]
    return ["push", "claim", "ack", *more]


def within(plan: Plan, verb: str, deaths: Deaths) -> list[list[Step]]:
    """Deaths within the verb, which is carried out twice before so that its steps and lines are known: at a step and
    at a line in turn, each sort as far from one another as can be. A "key" is a push under one.

    What a client does only when it first comes to the queue is no part of what it does again.
    """
    found = []
    times: int = getattr(deaths, verb)
    starts = plan.random.random(), plan.random.random()
    for part in range(times):
        before: list[Step] = [["push", plan.work()] for _ in range(3 if verb in ("claim", "ack", "release") else 0)]
        before += [["claim"]] * (3 if verb in ("ack", "release") else 0)
        sort = part % 2
        where = (part // 2 + starts[sort]) / ((times + 1 - sort) // 2)
        doom: Step = ["doom", where, sort == 0]
        twice = [call(plan, verb), call(plan, verb)]
        found.append([["open"], *before, *twice, doom, call(plan, verb), DIE])
    return found


def changers(subject: Subject, seed: object, deaths: Deaths) -> list[Victim]:
    """Who dies within a call that makes a lease longer, sets a task aside, redrives it or cancels it.

    In a run of their own, of which each task is followed up by itself: the history's model knows none of these calls.
    Without leases nobody need ever get what a killed client had in hand.
    """
    if "lease" not in subject.promises or subject.only_pushes or subject.traits.one_at_a_time:
        return []
    plan = Plan.of(subject, f"changers {seed}", 1, prefix="g")
    asked = {"extend": "extend", "dead_letter": "dead_letter", "redrive": "dead_letter", "cancel": "cancel"}
    if not subject.redrives:
        del asked["redrive"]
    kinds = [changing(plan, verb, deaths.change) for verb, promise in asked.items() if promise in subject.promises]
    for kind in kinds:
        plan.random.shuffle(kind)
    return [Victim(steps) for turn in zip_longest(*kinds) for steps in turn if steps is not None]


def changing(plan: Plan, verb: str, times: int) -> list[list[Step]]:
    """Deaths within the verb, which is carried out twice before: each second one at a line, the others at a step, and
    each sort as far from one another as can be, so that no state is missed that lasts for the gap between two."""
    found = []
    sorts = [(True, times - times // 2), (False, times // 2)]
    for steps, number in sorts:
        start = plan.random.random()
        for part in range(number):
            before: list[Step] = [["push", plan.work()] for _ in range(3)]
            before += [["claim"]] * (0 if verb == "cancel" else 3)
            before += [["dead_letter", 0]] * (3 if verb == "redrive" else 0)
            one: Step = [verb, 0] if verb == "dead_letter" else ["extend", -1] if verb == "extend" else [verb]
            found.append([["open"], *before, one, one, ["doom", (part + start) / number, steps], one, DIE])
    return found


def heirs(subject: Subject, seed: object, deaths: Deaths) -> list[Victim]:
    """Who dies at the lines of a claim that finds something that has fallen due, where time can be moved.

    In a run of their own, since other claims that were cut off would excuse what they lose.
    """
    plan = Plan.of(subject, f"heirs {seed}", 1, prefix="h")
    if not plan.delays or plan.real:
        return []
    found = []
    for part in range(deaths.due):
        before: list[Step] = [["push", plan.work()], ["claim"], ["ack", 0]]
        for _ in range(2):
            before += [*falling_due(plan), ["claim"], ["ack", 0]]
        where = (part + plan.random.random()) / deaths.due
        found.append(Victim([["open"], *before, *falling_due(plan), ["doom", where, False], ["claim"], DIE]))
    return found


def falling_due(plan: Plan) -> list[Step]:
    """Two tasks with a time, which has come."""
    return [*(["push", plan.work(), 0, DELAYS[0]] for _ in range(2)), ["pass", DELAYS[1]]]


def after(plan: Plan) -> list[list[Step]]:
    """Deaths right after pushes, a claim and an ack that returned; what is in hand has a key, where there are any."""
    pushes: list[Step] = [["push", plan.work()] for _ in range(plan.random.randrange(1, 5))]
    (mine,) = plan.urgent_pushes(1)
    held: Step = [*mine[:4], f"key of {mine[1]}" if plan.keys else None]
    return [
        [["open"], *pushes, DIE],
        [["open"], held, ["claim"], DIE],
        [["open"], ["push", plan.work()], ["push", plan.work()], ["claim"], ["ack", 0], ["claim"], ["ack", 0], DIE],
    ]


def call(plan: Plan, verb: str) -> Step:
    """One call of the verb."""
    match verb:
        case "push":
            later = plan.delays and not plan.real and plan.random.random() < 0.5
            return ["push", plan.work(), 0, DELAYS[0]] if later else ["push", plan.work()]
        case "key":
            return ["push", plan.work(), 0, None, f"key {plan.work()}"]
        case "batch":
            return ["batch", [[plan.work(), 0, None] for _ in range(BATCH)]]
        case "ack" | "release":
            return [verb, 0]
    return [verb]


def reserves(subject: Subject, seed: object, number: int) -> list[list[Step]]:
    """Steps for whoever comes in the place of somebody killed."""
    return [
        [["open"], *Plan.of(subject, f"reserve {seed} {each}", 1, prefix=f"r{each}-").calls(3000)]
        for each in range(number)
    ]
