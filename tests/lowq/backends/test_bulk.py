"""Many tasks are claimed, and many acked, in one transaction: each answered as the single verb would."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, kept_at

from lowq import Acked, Backend, Counts, FakeClock, Item, Lease, LeaseLost, QueueClosed, State, open_backend

BOUND = 60
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LATER = datetime(2031, 1, 1, tzinfo=UTC)

Open = Callable[..., Backend]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def open_queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Open]:
    where = kept_at(request, tmp_path, clock)
    opened: list[Backend] = []

    def open_one(**options: Any) -> Backend:
        opened.append(open_backend(where, clock=clock, **options))
        return opened[-1]

    yield open_one
    for backend in opened:
        backend.close()


@pytest.fixture
def queue(open_queue: Open) -> Backend:
    return open_queue()


def works(leases: list[Lease] | tuple[Lease, ...]) -> list[Any]:
    return [lease.work for lease in leases]


# claiming many


def test_many_are_claimed_in_claim_order(queue: Backend) -> None:
    queue.push_many([Item(1), Item("urgent", priority=5), Item(2), Item("not due", not_before=LATER), Item(3)])

    first = queue.claim_many(3, lease_for=MINUTE)

    assert "bulk" in queue.promises
    assert works(first) == ["urgent", 1, 2]
    assert works(queue.claim_many(3, lease_for=MINUTE)) == [3]
    assert queue.claim_many(3, lease_for=MINUTE) == []
    assert queue.count() == Counts(scheduled=1, leased=4)


def test_each_lease_of_many_is_a_lease_of_its_own(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item(work, key=f"k{work}", headers={"n": str(work)}) for work in range(5)])

    leases = queue.claim_many(5, lease_for=MINUTE)

    assert [lease.task for lease in leases] == queue.tasks(state=State.LEASED)
    assert [(lease.task.attempts, lease.expires) for lease in leases] == [(1, clock.now() + MINUTE)] * 5
    assert len({lease.token for lease in leases}) == 5
    queue.ack(leases[1])
    queue.release(leases[2])
    queue.dead_letter(leases[3], reason="no")
    assert queue.extend(leases[4], lease_for=2 * MINUTE).expires == clock.now() + 2 * MINUTE
    with pytest.raises(LeaseLost):
        queue.ack(leases[2])
    assert queue.count() == Counts(ready=1, leased=2, dead=1)


def test_a_run_out_lease_is_claimed_again_with_many(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item("a"), Item("b")])
    old = queue.claim_many(2, lease_for=MINUTE)
    clock.advance(MINUTE)

    new = queue.claim_many(9, lease_for=MINUTE)

    assert works(new) == ["a", "b"]
    assert [lease.task.attempts for lease in new] == [2, 2]
    assert not {lease.token for lease in old} & {lease.token for lease in new}


def test_as_many_as_there_are_however_many_are_asked_for(queue: Backend) -> None:
    queue.push_many([Item(work) for work in range(10)])

    assert works(queue.claim_many(10**30, lease_for=MINUTE)) == list(range(10))


@pytest.mark.parametrize(
    ("limit", "error", "told"),
    [
        (0, ValueError, "limit: expected 1 or more, got 0"),
        (-1, ValueError, "limit: expected 1 or more, got -1"),
        (True, TypeError, "limit: expected an int, got bool"),
        (1.0, TypeError, "limit: expected an int, got float"),
        (None, TypeError, "limit: expected an int, got NoneType"),
    ],
)
def test_what_is_no_number_of_tasks_is_refused(queue: Backend, limit: Any, error: type, told: str) -> None:
    queue.push(1)

    with pytest.raises(error) as caught:
        queue.claim_many(limit, lease_for=MINUTE)

    assert str(caught.value) == told
    assert queue.count() == Counts(ready=1)


@pytest.mark.parametrize(("lease_for", "error"), [(timedelta(0), ValueError), (-MINUTE, ValueError), (60, TypeError)])
def test_many_are_claimed_for_a_time(queue: Backend, lease_for: Any, error: type) -> None:
    queue.push(1)
    (lease,) = queue.claim_many(1, lease_for=MINUTE)
    queue.release(lease, uncount=True)

    with pytest.raises(error, match="lease_for: "):
        queue.claim_many(1, lease_for=lease_for)
    with pytest.raises(error, match="lease_for: "):
        queue.ack_many([], claim=1, lease_for=lease_for)
    with pytest.raises(error, match="lease_for: "):
        queue.ack_many([lease], lease_for=lease_for)

    assert queue.count() == Counts(ready=1)


# acking many


def test_many_are_acked(queue: Backend) -> None:
    queue.push_many([Item(1), Item(2), Item(3)])
    leases = queue.claim_many(2, lease_for=MINUTE)

    assert queue.ack_many(leases) == Acked((None, None), ())
    assert queue.count() == Counts(ready=1)


def test_a_lost_lease_is_told_as_a_single_ack_would_and_keeps_no_other_from_being_acked(
    queue: Backend, clock: FakeClock
) -> None:
    queue.push_many([Item(work) for work in "abcde"])
    taken, cancelled, settled, run_out, held = queue.claim_many(5, lease_for=MINUTE)
    queue.ack(settled)
    queue.extend(held, lease_for=MINUTE * 9)
    clock.advance(MINUTE)
    queue.cancel(cancelled.id)
    assert queue.claim(lease_for=MINUTE) is not None
    told = []
    for lease in (taken, cancelled, settled):
        with pytest.raises(LeaseLost) as caught:
            queue.ack(lease)
        told.append(str(caught.value))

    answer = queue.ack_many([taken, cancelled, settled, run_out, held])

    assert answer == Acked((*told, None, None), ())
    assert works(tuple(queue.tasks())) == ["a"]  # type: ignore[arg-type]  # a task has a work too


def test_a_lease_that_stands_twice_is_acked_once(queue: Backend) -> None:
    queue.push(1)
    (lease,) = queue.claim_many(1, lease_for=MINUTE)

    lost = queue.ack_many([lease, lease]).lost

    assert lost[0] is None
    assert lost[1] is not None
    assert f"task {lease.id} is gone" in lost[1]


def test_the_next_are_claimed_with_the_ack(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item(work) for work in range(5)])
    leases = queue.claim_many(2, lease_for=MINUTE)

    answer = queue.ack_many(iter(leases), claim=2, lease_for=2 * MINUTE)

    assert answer.lost == (None, None)
    assert works(answer.claimed) == [2, 3]
    assert {lease.expires for lease in answer.claimed} == {clock.now() + 2 * MINUTE}
    assert works(queue.ack_many(answer.claimed, claim=2, lease_for=MINUTE).claimed) == [4]


def test_the_next_are_claimed_also_where_every_lease_was_lost(queue: Backend) -> None:
    queue.push_many([Item(1), Item(2)])
    leases = queue.claim_many(1, lease_for=MINUTE)
    queue.ack(leases[0])

    answer = queue.ack_many(leases, claim=5, lease_for=MINUTE)

    assert None not in answer.lost
    assert works(answer.claimed) == [2]


def test_what_fell_due_is_claimed_with_the_ack(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item("later", not_before=clock.now() + SECOND, priority=1), Item("now")])
    leases = queue.claim_many(2, lease_for=MINUTE)
    clock.advance(SECOND)

    assert works(leases) == ["now"]
    assert works(queue.ack_many(leases, claim=2, lease_for=MINUTE).claimed) == ["later"]


def test_nothing_to_ack_is_fine(queue: Backend) -> None:
    queue.push(1)

    assert queue.ack_many([]) == Acked((), ())
    assert works(queue.ack_many([], claim=3, lease_for=MINUTE).claimed) == [1]


def test_an_equal_work_may_be_pushed_after_an_ack_of_many(queue: Backend) -> None:
    queue.push_many([Item(1), Item(2)])
    queue.ack_many(queue.claim_many(2, lease_for=MINUTE))

    assert [pushed.added for pushed in queue.push_many([Item(1), Item(2)])] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"leases": ["x"]}, "lease 0: expected the Lease that claim gave, got str"),
        ({"leases": 7}, "leases: expected Leases, one after another, got int"),
        ({"leases": [], "claim": 1}, "lease_for: missing; with claim=… say for how long, lease_for=timedelta(…)"),
        ({"leases": [], "claim": True, "lease_for": MINUTE}, "claim: expected an int, got bool"),
        ({"leases": [], "claim": "1", "lease_for": MINUTE}, "claim: expected an int, got str"),
    ],
)
def test_misuse_of_an_ack_of_many_is_refused(queue: Backend, arguments: Any, told: str) -> None:
    with pytest.raises(TypeError) as caught:
        queue.ack_many(**arguments)

    assert str(caught.value) == told


def test_what_is_no_lease_keeps_the_leases_beside_it_from_being_acked(queue: Backend) -> None:
    queue.push(1)
    leases: list[Any] = queue.claim_many(1, lease_for=MINUTE)

    with pytest.raises(TypeError, match="lease 1: expected the Lease that claim gave, got Task"):
        queue.ack_many([*leases, leases[0].task])
    with pytest.raises(ValueError, match="claim: expected 0 or more, got -1"):
        queue.ack_many(leases, claim=-1, lease_for=MINUTE)

    assert queue.count() == Counts(leased=1)


def test_a_lease_of_another_queue_is_lost(open_queue: Open) -> None:
    one, other = open_queue(name="one"), open_queue(name="other")
    one.push(1)
    other.push(1)
    leases = one.claim_many(1, lease_for=MINUTE)

    assert None not in other.ack_many(leases).lost
    assert one.ack_many(leases).lost == (None,)
    assert other.count() == Counts(ready=1)


def test_a_closed_queue_says_so(queue: Backend) -> None:
    queue.close()

    with pytest.raises(QueueClosed):
        queue.claim_many(1, lease_for=MINUTE)
    with pytest.raises(QueueClosed):
        queue.ack_many([])


# many at once


def _work_off(queue: Backend, seen: list[str]) -> None:
    leases: tuple[Lease, ...] = tuple(queue.claim_many(7, lease_for=MINUTE))
    while leases:
        seen += [lease.id for lease in leases]
        answer = queue.ack_many(leases, claim=7, lease_for=MINUTE)
        assert set(answer.lost) <= {None}
        leases = answer.claimed


def test_threads_that_claim_many_share_out_the_tasks(open_queue: Open) -> None:
    queue = open_queue()
    ids = [pushed.id for pushed in queue.push_many([Item(work) for work in range(300)])]
    seen: list[list[str]] = [[], [], [], []]

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda mine: _work_off(open_queue(), mine), seen, timeout=BOUND))

    assert Counter(id for mine in seen for id in mine) == Counter(ids)
    assert queue.count() == Counts()


def _work_off_in_a_process(path: Path) -> list[str]:
    seen: list[str] = []
    queue = open_backend(path)
    _work_off(queue, seen)
    queue.close()
    return seen


def test_processes_that_claim_many_share_out_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    queue = open_backend(path)
    ids = [pushed.id for pushed in queue.push_many([Item(work) for work in range(300)])]

    with multiprocessing.get_context("spawn").Pool(2) as pool:
        seen = pool.map_async(_work_off_in_a_process, [path] * 3).get(BOUND)

    assert Counter(id for mine in seen for id in mine) == Counter(ids)
    assert queue.count() == Counts()
    queue.close()


# pushed together


@pytest.mark.parametrize("dedupe", ["until_done", "until_claimed", "off"])
def test_a_batch_is_answered_as_its_items_one_by_one_would_be(open_queue: Open, dedupe: Any) -> None:
    one_by_one, together = open_queue(name="single", dedupe=dedupe), open_queue(name="batch", dedupe=dedupe)
    items = [Item(number % 700, key="k" if number % 9 == 0 else None) for number in range(1500)]
    for queue in (one_by_one, together):
        queue.push_many([Item(1), Item(2), Item(3)])
        leases = queue.claim_many(3, lease_for=MINUTE)
        queue.ack(leases[0])
        queue.dead_letter(leases[1], reason="no")

    singly = [one_by_one.push(item.work, key=item.key) for item in items]
    pushed = together.push_many(items)

    assert [each.added for each in pushed] == [each.added for each in singly]
    for queue, answers in ((one_by_one, singly), (together, pushed)):
        for item, each in zip(items, answers, strict=True):
            task = queue.task(each.id)
            assert task is not None
            assert (task.work, task.key) == (item.work, item.key) or item.key is not None
    assert together.count() == one_by_one.count()
