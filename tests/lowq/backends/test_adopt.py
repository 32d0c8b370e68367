"""A backend takes tasks of another queue with what lies behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from backends import BACKENDS, kept_at

from lowq import Counts, FakeClock, InvalidWork, Pushed, QueueClosed, State, Task, open_backend
from lowq.backend import Adopting, Damaged, Headers

MINUTE = timedelta(minutes=1)
THEN = datetime(2020, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
LATER = datetime(2033, 1, 1, tzinfo=UTC)

Open = Callable[..., Adopting]


@pytest.fixture(params=BACKENDS)
def open_queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    clock = FakeClock()
    where = kept_at(request, tmp_path, clock)
    opened: list[Adopting] = []

    def open_one(**options: Any) -> Adopting:
        opened.append(cast(Adopting, open_backend(where, clock=clock, **options)))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


def task(work: Any, **more: Any) -> Task:
    plain = Task("theirs-7", work, None, 0, None, 0, State.READY, None, THEN)
    return replace(plain, **more)


def kept(queue: Adopting) -> list[Task]:
    """What is in the queue; the ids, which are its own, left out."""
    return [replace(each, id="theirs-7") for each in queue.tasks()]


def test_what_lies_behind_a_task_comes_with_it(open_queue: Open) -> None:
    queue = open_queue()
    tried = task("a\0ü", key="k", priority=-3, attempts=4, reason="ValueError: ü", headers=Headers({"trace": "1"}))
    over = task("b", state=State.SCHEDULED, not_before=THEN)
    waits = task("c", state=State.SCHEDULED, not_before=LATER, attempts=2, reason="later")
    dead = task("d", state=State.DEAD, attempts=5, reason="gave up", not_before=LATER, priority=2**31 - 1)

    answers = queue.adopt([tried, over, waits, dead])

    assert [each.added for each in answers] == [True] * 4
    assert [queue.task(each.id) and cast(Task, queue.task(each.id)).work for each in answers] == ["a\0ü", *"bcd"]
    assert kept(queue) == [replace(over, state=State.READY), tried, waits, dead]
    assert queue.count() == Counts(ready=2, scheduled=1, dead=1)


def test_a_task_that_was_redriven_before_its_time_is_ready_here_too(open_queue: Open) -> None:
    queue = open_queue()
    early = task("a", not_before=LATER)

    queue.adopt([early])

    assert kept(queue) == [early]
    assert [each.work for each in queue.claim_many(9, lease_for=MINUTE)] == ["a"]


def test_adopted_tasks_stand_behind_what_was_pushed_and_in_their_order(open_queue: Open) -> None:
    queue = open_queue()
    queue.push("before")

    queue.adopt([task("x"), task("y", priority=1), task("z")])
    queue.push("after")

    works = [each.work for each in queue.claim_many(9, lease_for=MINUTE)]
    assert works == ["y", "before", "x", "z", "after"]


def test_an_equal_task_stands_in_the_way_as_of_a_push(open_queue: Open) -> None:
    queue = open_queue()
    standing = queue.push(1, headers={"mine": "1"})

    answers = queue.adopt([task(1, attempts=3), task(2), task(2, attempts=1), task(9, key="k"), task(8, key="k")])

    assert answers[0] == Pushed(standing.id, False)
    assert [each.added for each in answers] == [False, True, False, True, False]
    assert (answers[2].id, answers[4].id) == (answers[1].id, answers[3].id)
    assert [(each.work, each.attempts) for each in kept(queue)] == [(1, 0), (2, 0), (9, 0)]
    assert queue.push(2) == Pushed(answers[1].id, False)


def test_dead_tasks_stand_in_nobodys_way_and_nobody_in_theirs(open_queue: Open) -> None:
    queue = open_queue()
    queue.push(1)

    answers = queue.adopt([task(1, state=State.DEAD), task(2, state=State.DEAD), task(2, state=State.DEAD)])

    assert [each.added for each in answers] == [True] * 3
    assert queue.push(2).added
    assert queue.redrive(answers[0].id) is False
    assert queue.count() == Counts(ready=2, dead=3)


def test_where_nothing_dedupes_equal_tasks_are_all_kept(open_queue: Open) -> None:
    queue = open_queue(name="off", dedupe="off")

    answers = queue.adopt([task(1), task(1)])

    assert [each.added for each in answers] == [True, True]
    assert len({each.id for each in answers}) == 2


def test_a_leased_equal_stands_in_the_way_until_it_is_done_or_claimed(open_queue: Open) -> None:
    done, claimed = open_queue(name="done"), open_queue(name="claimed", dedupe="until_claimed")
    for queue in (done, claimed):
        queue.push(1)
        assert queue.claim(lease_for=MINUTE) is not None

    assert [each.added for each in done.adopt([task(1)])] == [False]
    assert [each.added for each in claimed.adopt([task(1)])] == [True]


def test_what_was_adopted_is_a_task_like_others(open_queue: Open) -> None:
    queue = open_queue()
    (dead,) = queue.adopt([task(1, state=State.DEAD, attempts=5, reason="x")])

    assert queue.redrive(dead.id) is True
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    assert (lease.id, lease.task.attempts) == (dead.id, 1)
    queue.ack(lease)
    assert queue.count() == Counts()


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (task(1, state=State.LEASED), ValueError, "task 1: state: expected ready, scheduled or dead, got 'leased'"),
        (task(Damaged("{")), InvalidWork, "task 1: work: Damaged is not JSON"),
        (task(1, attempts=-1), ValueError, "task 1: attempts: expected 0 to 999999999"),
        (task(1, attempts=True), TypeError, "task 1: attempts: expected an int, got bool"),
        (task(1, priority=2**31), ValueError, "task 1: priority: expected"),
        (task(1, reason="\ud800"), ValueError, "task 1: reason: expected text that UTF-8 can hold"),
        (task(1, pushed_at=datetime(2020, 1, 1)), ValueError, "task 1: pushed_at: "),  # noqa: DTZ001  that is wrong
        ("task", TypeError, "task 1: expected a lowq.Task, got str"),
    ],
)
def test_one_that_cannot_be_kept_is_named_and_none_is(open_queue: Open, wrong: Any, error: Any, says: str) -> None:
    queue = open_queue()

    with pytest.raises(error, match=says):
        queue.adopt([task(0), wrong])

    assert queue.count() == Counts()


def test_nothing_is_adopted_from_nothing_or_by_a_closed_client(open_queue: Open) -> None:
    queue = open_queue()

    assert queue.adopt([]) == []
    queue.close()
    with pytest.raises(QueueClosed):
        queue.adopt([task(1)])
