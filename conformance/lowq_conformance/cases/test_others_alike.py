"""DELIVER-11, more: tasks that look like the one that something is done with, by their work or their id, stay."""

from __future__ import annotations

from contextlib import suppress

import pytest

from lowq_conformance.cases.expect import claim, expect, gives_all, nothing, push_new, require, something
from lowq_conformance.cases.test_others import SETTLES
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.subject.client import Client

SAME = 4
MANY = 12
"""So many that ids that are numbers begin alike."""


def push_same(q: Client) -> list[object]:
    """Tasks of one work under several keys; their ids, where they are told."""
    return [push_new(q, "a", key=f"key {number}").id for number in range(SAME)]


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("key")
@pytest.mark.parametrize(
    "verb",
    ["ack", *(pytest.param(verb, marks=pytest.mark.needs(verb)) for verb in ("release", "extend", "dead_letter"))],
)
def test_settling_a_task_leaves_those_of_the_same_work_under_other_keys(q: Client, other: Client, verb: str) -> None:
    if q.subject.traits.one_at_a_time:
        raise NotPromised("it hands out one task at a time")
    ids = push_same(q)
    one, beside = something(q), something(other)
    came = SETTLES[verb](q, one, ids[0])
    other.ack(beside)

    gives_all(q, *["a"] * (SAME - 2 + len(came)))


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("key", "cancel")
def test_cancelling_a_task_leaves_those_of_the_same_work_under_other_keys(q: Client) -> None:
    ids = push_same(q)
    q.cancel(require(ids[1], "the id of what was pushed"))

    gives_all(q, *["a"] * (SAME - 1))


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("cancel")
def test_cancelling_a_task_leaves_those_whose_ids_begin_alike(q: Client) -> None:
    works = [f"work {number}" for number in range(min(MANY, q.subject.traits.room or MANY))]
    ids = {work: require(q.push(work).id, "the id of what was pushed") for work in works}
    for work in works[:2]:
        expect(q, q.cancel(ids[work]) is not False, "True")

    gives_all(q, *works[2:])


@pytest.mark.clause("DELIVER-11")
@pytest.mark.needs("dead_letter")
def test_redriving_a_task_leaves_those_whose_ids_begin_alike(q: Client) -> None:
    if not q.has("redrive"):
        raise NotPromised("the client has no method redrive")
    dead = {}
    for number in range(min(MANY, q.subject.traits.room or MANY)):
        q.push(f"work {number}")
        held = something(q)
        dead[held.work] = require(held.id, "the id of a claimed task")
        q.dead_letter(held)
    for work in list(dead)[:2]:
        with suppress(Refused):
            q.redrive(dead[work])
        if (back := claim(q)) is not None:
            expect(q, back.work in dead, "one of the dead tasks")
            q.ack(back)
        nothing(q)
