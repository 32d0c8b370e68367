"""What both backends keep of the contract beyond the suite: pages, waiting, chained claims, reasons and redrives.

Long: each verb of the contract is asked of every backend.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, kept_at

from lowq import (
    Backend,
    Counts,
    FakeClock,
    InvalidLocation,
    Item,
    Lease,
    LeaseLost,
    Pushed,
    QueueClosed,
    State,
    Task,
    open_backend,
)

BOUND = 60
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
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


def claimed(queue: Backend, lease_for: timedelta = MINUTE) -> Lease:
    lease = queue.claim(lease_for=lease_for)
    assert lease is not None
    return lease


def drained(queue: Backend) -> list[Any]:
    works = []
    while (lease := queue.claim(lease_for=MINUTE)) is not None:
        works.append(lease.work)
        queue.ack(lease)
    return works


def one_of_each_state(queue: Backend) -> None:
    """Works named after their state, two of each, of one priority."""
    for work in ("dead 1", "dead 2", "leased 1", "leased 2"):
        queue.push(work)
    for _ in range(2):
        queue.dead_letter(claimed(queue), reason="no")
    claimed(queue), claimed(queue)
    queue.push("scheduled 2", not_before=LATER + SECOND)
    queue.push("scheduled 1", not_before=LATER)
    queue.push("ready 2")
    queue.push("ready 1", priority=1)


ALL = ["ready 1", "ready 2", "scheduled 1", "scheduled 2", "leased 1", "leased 2", "dead 1", "dead 2"]


# what a push and a claim say


def test_a_push_says_which_task_stands(queue: Backend) -> None:
    first = queue.push({"a": 1, "b": 2})

    assert first == Pushed(first.id, added=True)
    assert queue.push({"b": 2, "a": 1}) == Pushed(first.id, added=False)
    assert queue.push({"a": 1, "b": 3}).id != first.id


def test_a_claim_gives_the_task_with_all_that_was_pushed(queue: Backend, clock: FakeClock) -> None:
    due = clock.now() - HOUR
    id = queue.push([1, {"x": None}], key="k", priority=-7, not_before=due).id

    lease = claimed(queue)

    assert lease.task == Task(id, [1, {"x": None}], "k", -7, due, 1, State.LEASED, None, clock.now())
    assert (lease.id, lease.work, lease.expires) == (id, [1, {"x": None}], clock.now() + MINUTE)


def test_each_claim_has_another_token(queue: Backend, clock: FakeClock) -> None:
    queue.push(1)
    first = claimed(queue)
    clock.advance(MINUTE)
    second = claimed(queue)

    assert first.id == second.id
    assert first.token != second.token


def test_what_a_worker_does_to_its_work_is_its_own(queue: Backend) -> None:
    queue.push({"parts": [1]})
    lease = claimed(queue)
    lease.work["parts"].append(2)
    queue.release(lease)

    assert claimed(queue).work == {"parts": [1]}


def test_a_batch_is_answered_item_by_item(queue: Backend) -> None:
    standing = queue.push("a")

    answers = queue.push_many(iter([Item("b"), Item("a"), Item("b"), Item("c", key="k"), Item("d", key="k")]))

    assert [answer.added for answer in answers] == [True, False, False, True, False]
    assert answers[1].id == standing.id
    assert answers[2].id == answers[0].id
    assert answers[4].id == answers[3].id
    assert queue.push_many([]) == []


# listings


def test_tasks_are_listed_ready_then_scheduled_then_leased_then_dead(queue: Backend) -> None:
    one_of_each_state(queue)

    assert [task.work for task in queue.tasks()] == ALL
    assert [str(task.state) for task in queue.tasks()] == [work.split()[0] for work in ALL]
    assert queue.count() == Counts(scheduled=2, ready=2, leased=2, dead=2)


@pytest.mark.parametrize("state", list(State))
def test_one_state_is_listed_alone(queue: Backend, state: State) -> None:
    one_of_each_state(queue)

    assert [task.work for task in queue.tasks(state=state)] == [work for work in ALL if work.startswith(state)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 9])
def test_pages_join_to_the_whole_listing(queue: Backend, size: int) -> None:
    one_of_each_state(queue)

    listed: list[Task] = []
    while page := queue.tasks(after=listed[-1] if listed else None, limit=size):
        assert len(page) <= size
        listed += page

    assert [task.work for task in listed] == ALL


def test_pages_of_one_state_join_without_gap(queue: Backend) -> None:
    queue.push_many([Item(number, priority=number % 3) for number in range(10)])

    listed = queue.tasks(state=State.READY, limit=4)
    listed += queue.tasks(state=State.READY, after=listed[-1], limit=4)
    listed += queue.tasks(state=State.READY, after=listed[-1])

    assert listed == queue.tasks(state=State.READY) == queue.tasks()
    assert [task.work for task in listed] == [2, 5, 8, 1, 4, 7, 0, 3, 6, 9]


def test_a_page_goes_on_behind_a_task_that_has_gone(queue: Backend) -> None:
    queue.push_many([Item(number) for number in range(4)])
    page = queue.tasks(limit=2)
    for _ in range(2):
        queue.ack(claimed(queue))

    assert [task.work for task in queue.tasks(after=page[-1])] == [2, 3]


def test_scheduled_tasks_of_one_instant_are_listed_in_push_order_and_paged(queue: Backend) -> None:
    queue.push_many([Item(number, not_before=LATER) for number in range(5)])

    page = queue.tasks(limit=2)

    assert [task.work for task in page + queue.tasks(after=page[-1])] == [0, 1, 2, 3, 4]


def test_a_limit_of_zero_lists_nothing(queue: Backend) -> None:
    queue.push(1)

    assert queue.tasks(limit=0) == []


def test_a_listing_of_ready_tasks_is_the_order_of_claims(queue: Backend, clock: FakeClock) -> None:
    queue.push("later", not_before=clock.now() + SECOND, priority=1)
    queue.push("low", priority=-1)
    queue.push("first")
    queue.release(claimed(queue))
    queue.push("second")
    clock.advance(SECOND)

    assert [task.work for task in queue.tasks()] == ["later", "first", "second", "low"] == drained(queue)


def test_a_task_is_told_as_it_is_now(queue: Backend, clock: FakeClock) -> None:
    id = queue.push("x", not_before=clock.now() + SECOND).id
    states = []

    def look() -> None:
        task = queue.task(id)
        states.append(None if task is None else (str(task.state), task.attempts, task.reason))

    look()
    clock.advance(SECOND)
    look()
    lease = claimed(queue)
    look()
    queue.release(lease, reason="busy")
    look()
    claimed(queue)
    clock.advance(MINUTE)
    look()
    queue.dead_letter(claimed(queue), reason="broken")
    look()
    queue.cancel(id)
    look()

    assert states == [
        ("scheduled", 0, None),
        ("ready", 0, None),
        ("leased", 1, None),
        ("ready", 1, "busy"),
        ("ready", 2, "busy"),
        ("dead", 3, "broken"),
        None,
    ]


@pytest.mark.parametrize("id", ["", "0", "01", "-1", "99", "abc", "1 ", "１", "9" * 400, "9" * 5000, "1\0"])
def test_an_id_that_nothing_has_is_nobodys(queue: Backend, id: str) -> None:
    queue.push(1)

    assert queue.task(id) is None
    assert queue.cancel(id) is False
    assert queue.redrive(id) is False
    assert queue.count() == Counts(ready=1)


# when the next thing happens


def test_nothing_timed_has_no_next_due(queue: Backend) -> None:
    assert queue.next_due() is None
    queue.push(1)
    assert queue.next_due() is None


def test_the_next_due_is_the_first_of_schedules_and_leases(queue: Backend, clock: FakeClock) -> None:
    now = clock.now()
    queue.push("much later", not_before=now + 3 * HOUR)
    queue.push("later", not_before=now + 2 * HOUR)
    assert queue.next_due() == now + 2 * HOUR

    queue.push("now")
    lease = claimed(queue, HOUR)
    assert queue.next_due() == now + HOUR

    queue.extend(lease, lease_for=5 * HOUR)
    assert queue.next_due() == now + 2 * HOUR

    queue.ack(lease)
    assert queue.next_due() == now + 2 * HOUR


def test_a_released_and_scheduled_task_is_the_next_due(queue: Backend, clock: FakeClock) -> None:
    queue.push(1)
    queue.release(claimed(queue), not_before=clock.now() + SECOND)

    assert queue.next_due() == clock.now() + SECOND


def test_a_cancelled_or_dead_task_is_due_no_more(queue: Backend) -> None:
    id = queue.push(1, not_before=LATER).id
    queue.push(2)
    queue.dead_letter(claimed(queue), reason="no")
    queue.cancel(id)

    assert queue.next_due() is None


# ack and claim in one step


def test_an_ack_claims_the_next_one_where_it_is_asked_to(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item("a"), Item("b")])

    second = queue.ack(claimed(queue), claim_for=HOUR)

    assert second is not None
    assert (second.work, second.task.attempts, second.expires) == ("b", 1, clock.now() + HOUR)
    assert queue.ack(second, claim_for=HOUR) is None
    assert queue.count() == Counts()


def test_an_ack_alone_claims_nothing(queue: Backend) -> None:
    queue.push_many([Item("a"), Item("b")])

    assert queue.ack(claimed(queue)) is None
    assert queue.count() == Counts(ready=1)


def test_a_chained_claim_takes_what_has_fallen_due_meanwhile(queue: Backend, clock: FakeClock) -> None:
    queue.push("urgent", priority=1, not_before=clock.now() + SECOND)
    queue.push_many([Item("a"), Item("b")])
    lease = claimed(queue)
    clock.advance(SECOND)

    second = queue.ack(lease, claim_for=MINUTE)

    assert second is not None
    assert second.work == "urgent"


def test_a_stale_ack_claims_nothing(queue: Backend, clock: FakeClock) -> None:
    queue.push_many([Item("a"), Item("b")])
    stale = claimed(queue)
    clock.advance(MINUTE)
    claimed(queue)

    with pytest.raises(LeaseLost):
        queue.ack(stale, claim_for=MINUTE)

    assert queue.count() == Counts(ready=1, leased=1)


def test_an_ack_with_a_claim_of_no_length_does_neither(queue: Backend) -> None:
    queue.push("a")
    lease = claimed(queue)

    with pytest.raises(ValueError, match="expected more than zero"):
        queue.ack(lease, claim_for=timedelta(0))

    assert queue.count() == Counts(leased=1)


# waiting


def later(action: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.05, action)
    timer.start()
    return timer


def test_a_waiting_claim_is_woken_by_a_push_of_another_client(queue: Backend, open_queue: Open) -> None:
    other = open_queue()
    timer = later(lambda: other.push("x"))

    lease = queue.claim(lease_for=MINUTE, wait=HOUR)
    timer.join(BOUND)

    assert lease is not None
    assert lease.work == "x"


@pytest.mark.parametrize("how", ["release", "redrive", "batch", "falls due", "lease runs out"])
def test_a_waiting_claim_is_woken_by_whatever_makes_a_task_ready(
    queue: Backend, open_queue: Open, clock: FakeClock, how: str
) -> None:
    other = open_queue()
    if how in ("falls due", "batch"):
        other.push("x", not_before=clock.now() + MINUTE)
    else:
        other.push("x")
        lease = claimed(other)
        if how == "redrive":
            other.dead_letter(lease, reason="no")
    timer = later(
        {
            "release": lambda: other.release(lease),
            "redrive": lambda: other.redrive(lease.id),
            "batch": lambda: other.push_many([Item("y"), Item("z")]),
            "falls due": lambda: clock.advance(MINUTE),
            "lease runs out": lambda: clock.advance(MINUTE),
        }[how]
    )

    woken = queue.claim(lease_for=MINUTE, wait=HOUR)
    timer.join(BOUND)

    assert woken is not None


def test_a_waiting_claim_gives_up_when_its_time_has_passed_on_the_clock(queue: Backend, clock: FakeClock) -> None:
    timer = later(lambda: clock.advance(HOUR))

    assert queue.claim(lease_for=MINUTE, wait=HOUR) is None
    timer.join(BOUND)


def test_a_waiting_claim_gives_up_by_itself_when_nobody_moves_the_clock(queue: Backend) -> None:
    assert queue.claim(lease_for=MINUTE, wait=timedelta(seconds=0.05)) is None


def test_a_wait_does_not_hide_what_is_there(queue: Backend) -> None:
    queue.push("x")

    assert queue.claim(lease_for=MINUTE, wait=HOUR) is not None


def test_the_lease_of_a_claim_that_waited_begins_when_it_got_the_task(queue: Backend, clock: FakeClock) -> None:
    queue.push("x", not_before=clock.now() + MINUTE)
    timer = later(lambda: clock.advance(MINUTE))

    lease = queue.claim(lease_for=HOUR, wait=2 * MINUTE)
    timer.join(BOUND)

    assert lease is not None
    assert lease.expires == clock.now() + HOUR


def test_each_of_two_waiting_claims_gets_one_of_two_tasks(queue: Backend, open_queue: Open) -> None:
    works: list[Any] = []

    def take() -> None:
        lease = open_queue().claim(lease_for=HOUR, wait=HOUR)
        works.append(lease and lease.work)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    queue.push_many([Item("a"), Item("b")])
    for thread in threads:
        thread.join(BOUND)

    assert sorted(works) == ["a", "b"]


def test_a_waiting_claim_misses_no_push(queue: Backend, open_queue: Open) -> None:
    works: list[Any] = []

    def take() -> None:
        while len(works) < 200 and (lease := queue.claim(lease_for=MINUTE, wait=HOUR)) is not None:
            works.append(lease.work)
            taken.release()

    taken = threading.Semaphore(0)
    taker = threading.Thread(target=take)
    taker.start()
    for number in range(200):
        queue.push(number)
        assert taken.acquire(timeout=BOUND)
    taker.join(BOUND)

    assert works == list(range(200))


def test_closing_ends_a_claim_that_waits(queue: Backend) -> None:
    timer = later(queue.close)

    with pytest.raises(QueueClosed):
        queue.claim(lease_for=MINUTE, wait=HOUR)
    timer.join(BOUND)


# dedupe and redrive


def test_until_done_refuses_an_equal_work_until_it_is_done(queue: Backend) -> None:
    assert queue.dedupe == "until_done"
    queue.push("x", not_before=LATER)
    assert not queue.push("x").added
    queue.cancel(queue.tasks()[0].id)
    assert queue.push("x").added
    lease = claimed(queue)
    assert not queue.push("x").added
    queue.ack(lease)
    assert queue.push("x").added


def test_until_claimed_lets_one_wait_while_one_runs(open_queue: Open) -> None:
    queue = open_queue(dedupe="until_claimed")
    assert queue.dedupe == "until_claimed"
    queue.push("x")
    lease = claimed(queue)

    assert queue.push("x").added
    assert not queue.push("x").added
    queue.release(lease)
    assert queue.count() == Counts(ready=2)
    assert not queue.push("x").added


def test_until_claimed_counts_a_task_whose_lease_ran_out_as_waiting(open_queue: Open, clock: FakeClock) -> None:
    queue = open_queue(dedupe="until_claimed")
    queue.push("x")
    claimed(queue)
    clock.advance(MINUTE)

    assert not queue.push("x").added


def test_off_refuses_nothing(open_queue: Open) -> None:
    queue = open_queue(dedupe="off")
    assert queue.dedupe == "off"

    assert [queue.push("x", key="k").added for _ in range(3)] == [True, True, True]
    assert drained(queue) == ["x", "x", "x"]


def test_a_queue_is_opened_with_the_dedupe_it_was_made_with(open_queue: Open) -> None:
    first = open_queue(dedupe="until_claimed")

    assert open_queue().dedupe == "until_claimed"
    assert open_queue(dedupe="until_claimed").dedupe == "until_claimed"
    with pytest.raises(InvalidLocation, match="'default' was made with dedupe='until_claimed', not 'off'"):
        open_queue(dedupe="off")
    assert open_queue(name="other", dedupe="off").dedupe == "off"
    assert first.push(1).added


def test_the_names_of_a_location_are_told_by_each_of_its_queues(open_queue: Open) -> None:
    queues: list[Any] = [open_queue(), open_queue(name="mails"), open_queue(name="a/b ü")]

    assert [sorted({*each.names()} - {"the server's"}) for each in queues] == [["a/b ü", "default", "mails"]] * 3


def test_a_closed_client_tells_no_names(open_queue: Open) -> None:
    queue: Any = open_queue()
    queue.close()

    with pytest.raises(QueueClosed):
        queue.names()


def test_a_redriven_task_waits_in_its_old_place_with_no_attempts(queue: Backend, clock: FakeClock) -> None:
    queue.push("x", key="k", priority=0)
    queue.push("y")
    lease = claimed(queue)
    queue.dead_letter(lease, reason="broken")

    assert queue.redrive(lease.id)

    assert queue.task(lease.id) == Task(lease.id, "x", "k", 0, None, 0, State.READY, "broken", clock.now())
    assert drained(queue) == ["x", "y"]


def test_only_a_dead_task_is_redriven_and_once(queue: Backend) -> None:
    queue.push("x")
    lease = claimed(queue)
    assert not queue.redrive(lease.id)
    queue.dead_letter(lease, reason="broken")

    assert queue.redrive(lease.id)
    assert not queue.redrive(lease.id)
    assert queue.count() == Counts(ready=1)


@pytest.mark.parametrize("dedupe", ["until_done", "until_claimed", "off"])
def test_a_redrive_is_refused_where_a_push_would_be(open_queue: Open, dedupe: str) -> None:
    queue = open_queue(dedupe=dedupe)
    queue.push("x")
    dead = claimed(queue)
    queue.dead_letter(dead, reason="broken")
    assert queue.push("x").added

    assert queue.redrive(dead.id) == (dedupe == "off")
    claimed(queue)
    assert queue.redrive(dead.id) == (dedupe == "until_claimed")


def test_a_dead_task_may_be_cancelled(queue: Backend) -> None:
    queue.push("x")
    lease = claimed(queue)
    queue.dead_letter(lease, reason="broken")

    assert queue.cancel(lease.id)
    assert queue.count() == Counts()
