"""What both backends refuse: before anything is written, and in words that say what happened and what to do."""

from __future__ import annotations

import re
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
    InvalidWork,
    Item,
    Lease,
    LeaseLost,
    LowqError,
    QueueClosed,
    State,
    open_backend,
)

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LATER = datetime(2031, 1, 1, tzinfo=UTC)
NAIVE = datetime(2031, 1, 1)  # noqa: DTZ001  to be refused


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Backend]:
    where = kept_at(request, tmp_path, clock)
    backend = open_backend(where, clock=clock)
    yield backend
    backend.close()


def claimed(queue: Backend) -> Lease:
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    return lease


def lost(queue: Backend, clock: FakeClock) -> Lease:
    """A lease that ran out, and whose task somebody else has claimed since."""
    queue.push("x")
    lease = claimed(queue)
    clock.advance(MINUTE)
    claimed(queue)
    return lease


PUSHES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"work": {"user": {"at": LATER}}}, InvalidWork, "work.user.at: datetime is not JSON"),
    ({"work": [1, {"a b": b"x"}]}, InvalidWork, "work[1]['a b']: bytes is not JSON"),
    ({"work": {1: 2}}, InvalidWork, "work: the object key 1 is no string"),
    ({"work": float("nan")}, InvalidWork, "work: nan is not JSON"),
    ({"work": "\ud800"}, InvalidWork, r"work: the lone surrogate '\ud800' is not JSON"),
    ({"work": 1, "key": 7}, TypeError, "key: expected a string, got int"),
    ({"work": 1, "key": "\ud800"}, InvalidWork, r"key: the lone surrogate '\ud800' is not JSON"),
    ({"work": 1, "priority": 1.5}, TypeError, "priority: expected an int, got float"),
    ({"work": 1, "priority": "9"}, TypeError, "priority: expected an int, got str"),
    ({"work": 1, "priority": True}, TypeError, "priority: expected an int, got bool"),
    ({"work": 1, "priority": None}, TypeError, "priority: expected an int, got NoneType"),
    ({"work": 1, "priority": 2**31}, ValueError, "priority: expected -2**31 to 2**31-1, got 2147483648"),
    ({"work": 1, "priority": -(2**31) - 1}, ValueError, "priority: expected -2**31 to 2**31-1, got -2147483649"),
    (
        {"work": 1, "not_before": NAIVE},
        ValueError,
        "not_before: expected an aware datetime, got 2031-01-01 00:00:00, which has no",
    ),
    ({"work": 1, "not_before": 60}, TypeError, "not_before: expected an aware datetime, got int"),
    ({"work": 1, "not_before": MINUTE}, TypeError, "not_before: expected an aware datetime, got timedelta"),
    (
        {"work": 1, "not_before": datetime(1969, 1, 1, tzinfo=UTC)},
        ValueError,
        "not_before: expected a time of 1970 to 9999 (UTC), got 1969-01-01 00:00:00+00:00",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "said"), PUSHES)
def test_a_push_of_wrong_arguments_says_what_is_wrong_and_keeps_nothing(
    queue: Backend, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(said)}"):
        queue.push(**arguments)

    assert queue.count() == Counts()
    assert queue.push(arguments["work"] if error is not InvalidWork else 1).added


@pytest.mark.parametrize(("arguments", "error", "said"), PUSHES)
def test_a_batch_with_one_wrong_item_says_which_and_keeps_nothing(
    queue: Backend, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(f'item 2: {said}')}"):
        queue.push_many([Item("a"), Item("b"), Item(**arguments), Item("c")])

    assert queue.count() == Counts()


def test_a_batch_of_something_else_is_refused(queue: Backend) -> None:
    with pytest.raises(TypeError, match=r"^item 1: expected a lowq\.Item, got dict$"):
        queue.push_many([Item(1), {"work": 2}])  # type: ignore[list-item]

    assert queue.count() == Counts()


def test_a_batch_whose_source_fails_keeps_nothing(queue: Backend) -> None:
    def items() -> Iterator[Item]:
        yield Item(1)
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        queue.push_many(items())

    assert queue.count() == Counts()


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"lease_for": timedelta(0)}, ValueError, "lease_for: expected more than zero"),
        ({"lease_for": -SECOND}, ValueError, "lease_for: expected zero or more, got -1 day, 23:59:59"),
        ({"lease_for": 60}, TypeError, "lease_for: expected a timedelta, got int; say timedelta(seconds=…)"),
        (
            {"lease_for": timedelta.max},
            ValueError,
            "lease_for: expected a lease that ends before the year 10000, got 999999999 days",
        ),
        ({"lease_for": MINUTE, "wait": -SECOND}, ValueError, "wait: expected zero or more, got -1 day, 23:59:59"),
        (
            {"lease_for": MINUTE, "wait": 5},
            TypeError,
            "wait: expected a timedelta, got int; say timedelta(seconds=…)",
        ),
    ],
)
def test_a_claim_of_wrong_arguments_takes_nothing(
    queue: Backend, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    for _ in range(2):  # on an empty queue, and on one that has a task
        with pytest.raises(error, match=f"^{re.escape(said)}"):
            queue.claim(**arguments)
        queue.push("x")

    (task,) = queue.tasks()
    assert (task.state, task.attempts) == (State.READY, 0)


def test_a_lease_that_would_end_after_the_calendar_is_refused(queue: Backend, clock: FakeClock) -> None:
    queue.push("x")
    clock.move_to(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))

    with pytest.raises(ValueError, match="lease_for: expected a lease that ends before the year 10000, got 0:02:00"):
        queue.claim(lease_for=2 * MINUTE)

    assert queue.claim(lease_for=SECOND) is not None


SETTLES: list[tuple[Callable[[Backend, Lease], object], type[Exception], str]] = [
    (lambda queue, lease: queue.extend(lease, lease_for=timedelta(0)), ValueError, "lease_for: expected more than"),
    (lambda queue, lease: queue.extend(lease, lease_for=9), TypeError, "expected a timedelta, got int"),  # type: ignore[arg-type]
    (lambda queue, lease: queue.release(lease, not_before=NAIVE), ValueError, "not_before: .* has no time zone"),
    (lambda queue, lease: queue.release(lease, reason=7), TypeError, "reason: expected a string, got int"),  # type: ignore[arg-type]
    (lambda queue, lease: queue.release(lease, reason="\ud800"), ValueError, "got the lone surrogate"),
    (lambda queue, lease: queue.dead_letter(lease, reason="\ud800"), ValueError, "got the lone surrogate"),
    (lambda queue, lease: queue.ack(lease.id), TypeError, "lease: expected the Lease that claim gave, got str"),  # type: ignore[arg-type]
    (lambda queue, lease: queue.ack(lease, claim_for=9), TypeError, "expected a timedelta, got int"),  # type: ignore[arg-type]
    (lambda queue, lease: queue.release(lease.token), TypeError, "expected the Lease that claim gave, got str"),  # type: ignore[arg-type]
    (lambda queue, lease: queue.dead_letter(lease.task, reason=""), TypeError, "the Lease that claim gave, got Task"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("settle", "error", "said"), SETTLES)
def test_settling_with_wrong_arguments_leaves_the_lease_as_it_was(
    queue: Backend, settle: Callable[[Backend, Lease], object], error: type[Exception], said: str
) -> None:
    queue.push("x")
    lease = claimed(queue)

    with pytest.raises(error, match=said):
        settle(queue, lease)

    assert queue.tasks() == [lease.task]
    queue.ack(lease)


@pytest.mark.parametrize("verb", ["task", "cancel", "redrive"])
def test_an_id_that_is_no_string_is_refused(queue: Backend, verb: str) -> None:
    with pytest.raises(TypeError, match=r"^id: expected a string, got int$"):
        getattr(queue, verb)(7)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"state": "done"}, ValueError, "state: expected ready, scheduled, leased, dead or None, got 'done'"),
        ({"limit": -1}, ValueError, "limit: expected 0 or more, got -1"),
        ({"limit": 1.5}, TypeError, "limit: expected an int, got float"),
        ({"limit": True}, TypeError, "limit: expected an int, got bool"),
        ({"after": "7"}, TypeError, "after: expected a Task, got str"),
    ],
)
def test_a_page_of_wrong_arguments_is_refused(
    queue: Backend, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(said)}$"):
        queue.tasks(**arguments)


# leases that were lost

VERBS: dict[str, Callable[[Backend, Lease], object]] = {
    "ack": lambda queue, lease: queue.ack(lease),
    "extend": lambda queue, lease: queue.extend(lease, lease_for=MINUTE),
    "release": lambda queue, lease: queue.release(lease),
    "dead_letter": lambda queue, lease: queue.dead_letter(lease, reason="no"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_who_lost_a_lease_is_told_when_and_that_somebody_else_has_the_task(
    queue: Backend, clock: FakeClock, verb: str
) -> None:
    lease = lost(queue, clock)
    before = queue.tasks()

    with pytest.raises(LeaseLost) as refused:
        VERBS[verb](queue, lease)

    assert str(refused.value) == (
        f"the lease on task {lease.id} was settled, or ran out at {lease.expires:%H:%M:%S} UTC, "
        "and another worker has the task now"
    )
    assert queue.tasks() == before


@pytest.mark.parametrize("verb", VERBS)
def test_who_settled_already_is_told_that_the_task_is_gone(queue: Backend, verb: str) -> None:
    queue.push("x")
    lease = claimed(queue)
    queue.ack(lease)

    with pytest.raises(LeaseLost, match=f"^task {lease.id} is gone: this lease or a later one was settled already"):
        VERBS[verb](queue, lease)

    assert queue.count() == Counts()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", ["ready", "scheduled", "dead"])
def test_who_gave_a_task_back_is_told_what_it_is_now(queue: Backend, verb: str, state: str) -> None:
    queue.push("x")
    lease = claimed(queue)
    if state == "dead":
        queue.dead_letter(lease, reason="no")
    else:
        queue.release(lease, not_before=None if state == "ready" else LATER)
    before = queue.tasks()

    with pytest.raises(LeaseLost, match=f"or another worker had the task since: it is {state}$"):
        VERBS[verb](queue, lease)

    assert queue.tasks() == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_lease_that_ran_out_still_settles_until_somebody_claims(
    queue: Backend, clock: FakeClock, verb: str
) -> None:
    queue.push("x")
    lease = claimed(queue)
    clock.advance(2 * MINUTE)
    assert queue.count() == Counts(ready=1)

    VERBS[verb](queue, lease)

    assert (
        queue.count()
        == {
            "ack": Counts(),
            "extend": Counts(leased=1),
            "release": Counts(ready=1),
            "dead_letter": Counts(dead=1),
        }[verb]
    )


def test_a_lease_that_ran_out_and_was_cancelled_is_lost(queue: Backend, clock: FakeClock) -> None:
    queue.push("x")
    lease = claimed(queue)
    clock.advance(MINUTE)
    assert queue.cancel(lease.id)

    with pytest.raises(LeaseLost, match="or it was cancelled"):
        queue.ack(lease)


def test_an_extended_lease_is_the_same_lease(queue: Backend, clock: FakeClock) -> None:
    queue.push("x")
    lease = claimed(queue)
    clock.advance(SECOND)

    extended = queue.extend(lease, lease_for=MINUTE)

    assert (extended.token, extended.expires) == (lease.token, clock.now() + MINUTE)
    queue.ack(lease)  # the one before the extension is as good


def test_a_lease_of_another_queue_settles_nothing(queue: Backend, tmp_path: Path) -> None:
    stranger = open_backend(f"memory://{tmp_path}/another")
    stranger.push("theirs")
    queue.push("ours")
    ours, theirs = claimed(queue), claimed(stranger)
    stranger.close()

    with pytest.raises(LeaseLost):
        queue.ack(theirs)

    queue.ack(ours)


# release


def test_release_keeps_its_reason_and_may_take_the_attempt_back(queue: Backend) -> None:
    queue.push("x")
    queue.release(claimed(queue), reason="timed out")
    assert [(task.attempts, task.reason) for task in queue.tasks()] == [(1, "timed out")]

    queue.release(claimed(queue), reason="deploy", uncount=True)
    assert [(task.attempts, task.reason) for task in queue.tasks()] == [(1, "deploy")]

    queue.release(claimed(queue))
    assert [(task.attempts, task.reason) for task in queue.tasks()] == [(2, None)]


def test_a_long_reason_is_kept_whole(queue: Backend) -> None:
    queue.push("x")
    reason = "Traceback é\0\U0001f600\n" * 10_000
    queue.dead_letter(claimed(queue), reason=reason)

    assert queue.tasks()[0].reason == reason


# closing


def test_a_closed_client_refuses_every_verb_by_name(queue: Backend) -> None:
    queue.push("x")
    lease = claimed(queue)
    queue.close()
    queue.close()
    verbs: list[Callable[[], object]] = [
        lambda: queue.push(1),
        lambda: queue.push_many([]),
        lambda: queue.push_many([Item(1)]),
        lambda: queue.claim(lease_for=MINUTE),
        lambda: queue.claim(lease_for=MINUTE, wait=MINUTE),
        *(lambda verb=verb: verb(queue, lease) for verb in VERBS.values()),
        lambda: queue.redrive("1"),
        lambda: queue.cancel("1"),
        lambda: queue.task("1"),
        lambda: queue.tasks(),
        lambda: queue.count(),
        lambda: queue.next_due(),
    ]

    for verb in verbs:
        with pytest.raises(QueueClosed, match="closed; open the queue again"):
            verb()


def test_every_error_of_a_queue_is_a_lowq_error_and_bad_works_are_value_errors() -> None:
    assert issubclass(InvalidWork, LowqError)
    assert issubclass(InvalidWork, ValueError)
    assert issubclass(LeaseLost, LowqError)
