"""Which clause a mismatch breaks, and the sentence that says by what: read off what happened to the task.

What happened is taken for the cause, which is sound for a program made minimal: what does not matter is gone from it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lowq_conformance.history.work_text import work_text

if TYPE_CHECKING:
    from lowq_conformance.checker.model_tasks import ModelLease, ModelTask
    from lowq_conformance.history.spec import Spec

Blame = tuple[str, str]
"""A clause and a sentence."""


def tell_whereabouts(task: ModelTask) -> str:
    """Where the task is, in words."""
    if task.state == "waiting":
        return "waiting" if "ran out" not in task.past else "waiting, its lease having run out"
    return task.state


def blame_double_add(new: ModelTask, standing: ModelTask) -> Blame:
    """A push said "added" while an equal task stood."""
    said = f"push of {new} said added, but an equal task stands: {standing} is {tell_whereabouts(standing)}"
    if new.batch is not None and new.batch == standing.batch:
        return "DEDUPE-11", said
    if "reopened" in standing.past:
        return "DEDUPE-10", said
    if new.key is not None:
        return "DEDUPE-4", said
    if standing.state == "leased":
        return "DEDUPE-6", said
    if standing.returned:
        return "DEDUPE-12", said
    return ("DEDUPE-1" if list_keys(new.work) == list_keys(standing.work) else "DEDUPE-2"), said


def list_keys(work: Any) -> str:
    """The work as it was spelled: with its object keys in their own order."""
    return json.dumps(work)


def blame_refusal(spec: Spec, new: ModelTask, equals: list[ModelTask], refused: list[tuple[Any, str]]) -> Blame:
    """A push said "a duplicate" while no equal task stood."""
    for each, clause in refused:
        if new.key is None and work_text(each) == work_text(new.work):
            return clause, f"push of {new} said that an equal task stands, but the push of that one had failed"
    if spec.dedupe == "off":
        return "DELIVER-1", f"push of {new} said that it was not added, but this queue keeps every push (dedupe: off)"
    if not equals:
        return (
            "DEDUPE-3" if new.key is None else "DEDUPE-4",
            f"push of {new} said that an equal task stands, but none was ever pushed",
        )
    last = equals[-1]
    said = f"push of {new} said that an equal task stands, but the last one is {tell_whereabouts(last)}"
    if last.state == "leased":
        return "DEDUPE-6", said
    return ("DEDUPE-5" if last.state == "acked" else "DEDUPE-7"), said


def blame_wrong_id(new: ModelTask, standing: ModelTask) -> Blame:
    """A refused push named another task than the one that stands."""
    return "DEDUPE-1", f"push of {new} was refused for task {new.id}, but {standing.id} is the one that stands"


def blame_strange_id(known: ModelTask) -> Blame:
    """A claim gave a known work under an id that no push answered."""
    if "refused a duplicate" in known.past:
        return "DEDUPE-1", f"{known} came out twice: a push of it that was refused had added it"
    return "DELIVER-2", f"{known} came out under an id that no push had given"


def blame_invention(work: Any, refused: list[tuple[Any, str]]) -> Blame:
    """A claim gave a work that was never kept."""
    for each, clause in refused:
        if work_text(each) == work_text(work):
            return clause, f"{work!r} came out, but the push of it had failed"
    return "DELIVER-2", f"{work!r} came out, but nobody had pushed it"


def blame_taking(task: ModelTask, client: str) -> Blame:
    """A claim gave a task that nobody may have: gone, dead, or another's."""
    said = f"{task} was handed out, but it is {tell_whereabouts(task)}"
    if task.state in ("acked", "cancelled", "dead", "replaced"):
        if task.state == "acked" and "refused a duplicate" in task.past:
            return "DEDUPE-1", f"{said}: a push of it that was refused had added it"
        clauses = {"acked": "DELIVER-4", "cancelled": "CANCEL-1", "dead": "DEAD-1", "replaced": "DEAD-1"}
        return clauses[task.state], said
    hold = task.hold
    assert hold is not None
    said = f"{said} to {'the same client' if hold.client == client else 'another client'}"
    if "refused a duplicate" in task.past:
        return "DEDUPE-1", f"{said}: a push of it that was refused had added it"
    if "redriven" in task.past:
        return "DEAD-3", said
    if "clients changed" in hold.past:
        return "LEASE-10", f"{said}, and clients came or went since"
    if "extended" in hold.past:
        return "LEASE-8", f"{said}, and the extended lease has not run out"
    if "a stale settle was tried" in hold.past:
        return "LEASE-4", f"{said}, and an old lease's settle was refused since"
    if hold.early == float("inf"):
        return "DELIVER-3", said
    return "LEASE-1", f"{said}, and the lease has not run out"


def blame_early_claim(task: ModelTask) -> Blame:
    """A claim gave a task before its time."""
    clause = "RELEASE-2" if "released for later" in task.past else "DUE-1"
    return clause, f"{task} was handed out before its time"


def blame_order(taken: ModelTask, first: ModelTask) -> Blame:
    """A claim gave `taken` although `first` was due and comes before it."""
    said = f"{taken} was handed out while {first} was due and comes before it"
    pair = (taken, first)
    past = taken.past | first.past
    if taken.priority != first.priority:
        said = f"{said} (priority {first.priority} against {taken.priority})"
    if "refused a duplicate" in past:
        return "DEDUPE-8", f"{said}; a duplicate was refused meanwhile"
    if taken.priority != first.priority:
        if any(task.not_before is not None for task in pair):
            return "DUE-4", said
        if taken.returned or first.returned:
            return "RELEASE-3" if "released" in past else "ORDER-3", said
        return ("ORDER-3" if all(0 <= task.priority < 100 for task in pair) else "ORDER-5"), said
    if "reopened" in past:
        return "ORDER-8", said
    if taken.returned or first.returned:
        mine = taken.past if taken.returned and not first.returned else first.past
        return "DEAD-3" if "redriven" in mine else "ORDER-6" if "released" in mine else "ORDER-7", said
    if first.batch is not None and first.batch == taken.batch:
        return "ORDER-10", said
    if first.priority != 0:
        return "ORDER-4", f"{said} (both have priority {first.priority})"
    return ("ORDER-1" if first.client == taken.client else "ORDER-2"), said


def blame_attempts(task: ModelTask, found: int) -> Blame:
    """A claim told another number of attempts than there were."""
    clause = "DEAD-3" if "redriven" in task.past else "RELEASE-3" if "released" in task.past else "LEASE-3"
    return clause, f"{task} was handed out with attempts {found}, but this is number {task.attempts}"


def blame_carried(task: ModelTask) -> str:
    """A listing told something else of the task than what it must carry."""
    if task.state == "dead":
        return "DEAD-2"
    if "refused a duplicate" in task.past:
        return "DEDUPE-8"
    return "RELEASE-3" if "released" in task.past else "DELIVER-10"


def blame_false_empty(missing: ModelTask, blocked: bool) -> Blame:
    """A claim found nothing although `missing` was due; `blocked` by one that is not due."""
    said = f"claim found nothing, but {missing} is due: it is {tell_whereabouts(missing)}"
    if missing.state == "leased" or "ran out" in missing.past:
        long = missing.hold is not None and "extended" in missing.hold.past
        return ("LEASE-8" if long else "LEASE-2"), f"{said}, and the lease has run out"
    if "redriven" in missing.past:
        return "DEAD-3", said
    if "released for later" in missing.past:
        return "RELEASE-2", said
    if "released" in missing.past:
        return "RELEASE-1", said
    if "reopened" in missing.past:
        return "KEEP-1", said
    if missing.not_before is not None:
        return "DUE-2", f"{said}, and its time has come"
    if "refused a duplicate" in missing.past:
        return "DEDUPE-8", f"{said}; a duplicate was refused meanwhile"
    if blocked:
        return "DUE-5", f"{said}; one that is not due stands before it"
    return "DELIVER-1", said


def blame_stale_settle(hold: ModelLease, verb: str) -> Blame:
    """A settle was taken from a lease that was settled or replaced."""
    if hold.settled:
        return "LEASE-9", f"{verb} of {hold.task} was taken, but this lease was settled already"
    clause = {"ack": "LEASE-4", "release": "LEASE-5", "extend": "LEASE-6", "dead_letter": "LEASE-13"}[verb]
    return clause, f"{verb} of {hold.task} was taken from a lease that is no longer its holder's"


def blame_lost_settle(hold: ModelLease, verb: str) -> Blame:
    """A settle was refused from a lease that runs."""
    runs = "it is in hand" if hold.early == float("inf") else "its lease runs"
    said = f"{verb} of {hold.task} was refused, but {runs}"
    if "a stale settle was tried" in hold.past:
        return "LEASE-7", f"{said}; an old lease's settle was refused since"
    if "clients changed" in hold.past:
        return "LEASE-10", f"{said}; clients came or went since"
    return {"ack": "LEASE-7", "release": "RELEASE-1", "extend": "LEASE-8", "dead_letter": "DEAD-2"}[verb], said
