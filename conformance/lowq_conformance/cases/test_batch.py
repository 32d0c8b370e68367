"""BATCH: many works are pushed together."""

from __future__ import annotations

from typing import Any

import pytest

from lowq import Item
from lowq_conformance.cases.expect import expect, expect_refusal, gives_all, nothing, wrong
from lowq_conformance.subject.client import Client


@pytest.mark.clause("BATCH-1")
def test_a_batch_is_kept_whole(q: Client) -> None:
    answers = q.push_many([Item("a"), Item("b"), Item("c")])
    if answers is not None and any(answer.added is False for answer in answers):
        raise wrong(q, "[True, True, True]")

    gives_all(q, "a", "b", "c")


@pytest.mark.clause("BATCH-1")
@pytest.mark.needs("json")
@pytest.mark.parametrize("bad", [float("nan"), b"bytes", {1: "one"}], ids=["nan", "bytes", "key"])
@pytest.mark.parametrize("place_of_it", ["first", "middle", "last"])
def test_a_batch_with_an_invalid_work_is_not_kept(q: Client, bad: Any, place_of_it: str) -> None:
    items = [Item("a"), Item("b")]
    items.insert(["first", "middle", "last"].index(place_of_it), Item(bad))

    expect_refusal(q.push_many, items)
    nothing(q)


@pytest.mark.clause("BATCH-1")
@pytest.mark.needs("json")
@pytest.mark.needs("priority")
def test_a_batch_with_an_invalid_priority_is_not_kept(q: Client) -> None:
    high: Any = "high"

    expect_refusal(q.push_many, [Item("a"), Item("b", priority=high), Item("c")])
    nothing(q)


@pytest.mark.clause("BATCH-2")
def test_an_empty_batch_is_fine(q: Client) -> None:
    answers = q.push_many([])
    expect(q, not answers, "[]")

    nothing(q)
    q.push("a")
    gives_all(q, "a")
