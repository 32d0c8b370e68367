"""`?order=loose`: claims that take no turns, give each task once, and tell of none only where none is due."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from backends import BOUND

from lowq import Backend, FakeClock, InvalidLocation, LeaseLost, open_backend

MINUTE = timedelta(minutes=1)


@pytest.fixture
def location(lowq_postgres: str) -> str:
    return f"{lowq_postgres}&order=loose"


@pytest.fixture
def queue(location: str) -> Iterator[Backend]:
    with closing(open_backend(location)) as queue:
        yield queue


def test_a_loose_queue_does_not_promise_the_order(queue: Backend, lowq_postgres: str) -> None:
    with closing(open_backend(lowq_postgres)) as strict:
        assert strict.promises - queue.promises == {"fifo", "priority"}


def test_any_other_order_is_refused(lowq_postgres: str) -> None:
    with pytest.raises(InvalidLocation, match="order: expected strict, loose, got 'lose'"):
        open_backend(f"{lowq_postgres}&order=lose")


def hold(location: str, lowq_postgres: str, *ids: str) -> psycopg.Connection[Any]:
    """A transaction that has the tasks of these ids, as the claim of another client has while it is under way."""
    connection = psycopg.connect(lowq_postgres)
    connection.execute("SELECT 1 FROM lowq.task WHERE id = ANY (%s) FOR UPDATE", (list(map(int, ids)),))
    return connection


def test_a_claim_passes_over_what_another_one_holds(queue: Backend, location: str, lowq_postgres: str) -> None:
    first, second = queue.push(1), queue.push(2)
    with closing(hold(location, lowq_postgres, first.id)):
        lease = queue.claim(lease_for=MINUTE)

    assert lease is not None
    assert lease.id == second.id


def test_a_claim_waits_for_one_that_holds_all_that_is_due(queue: Backend, location: str, lowq_postgres: str) -> None:
    (pushed,) = [queue.push(1)]
    claimed: list[Any] = []
    with closing(hold(location, lowq_postgres, pushed.id)) as other:
        waiting = threading.Thread(target=lambda: claimed.append(queue.claim(lease_for=MINUTE)))
        waiting.start()
        with psycopg.connect(lowq_postgres, autocommit=True) as look:
            for _ in range(BOUND * 100):
                asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                if look.execute(asleep).fetchone() == (1,):
                    break
                threading.Event().wait(0.01)
        assert claimed == []
        other.rollback()
        waiting.join(BOUND)

    assert [lease.id for lease in claimed] == [pushed.id]


def test_the_next_task_is_claimed_with_the_ack_and_lost_leases_are_told(queue: Backend) -> None:
    for work in range(5):
        queue.push(work)
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None

    following = queue.ack(lease, claim_for=MINUTE)
    assert following is not None
    assert following.work == 1
    with pytest.raises(LeaseLost):
        queue.ack(lease, claim_for=MINUTE)
    acked = queue.ack_many([following, lease], claim=2, lease_for=MINUTE)
    assert [lost is None for lost in acked.lost] == [True, False]
    assert [each.work for each in acked.claimed] == [2, 3]
    assert [each.work for each in queue.ack_many([], claim=2, lease_for=MINUTE).claimed] == [4]


def test_what_falls_due_and_what_was_leased_for_too_long_is_claimed(location: str) -> None:
    clock = FakeClock()
    with closing(open_backend(location, clock=clock)) as queue:
        queue.push("later", not_before=clock.now() + MINUTE)
        queue.push("again")
        assert [each.work for each in queue.claim_many(9, lease_for=MINUTE)] == ["again"]
        assert queue.claim(lease_for=MINUTE) is None
        clock.advance(MINUTE)

        assert sorted(each.work for each in queue.claim_many(9, lease_for=MINUTE)) == ["again", "later"]


def test_many_clients_get_each_task_once_and_are_done_when_nothing_is_due(location: str, queue: Backend) -> None:
    from lowq import Item

    total, seen = 120, Counter[int]()
    queue.push_many(Item(number) for number in range(total))

    def work() -> None:
        with closing(open_backend(location)) as own:
            lease = own.claim(lease_for=60 * MINUTE)
            while lease is not None:
                seen[lease.work] += 1
                lease = own.ack(lease, claim_for=60 * MINUTE)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for each in workers:
        each.join(BOUND)

    assert seen == Counter(range(total))
    assert queue.tasks() == []
