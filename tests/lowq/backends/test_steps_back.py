"""A clock that steps back delays what was given before the step by as much as it stepped, and by no more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from backends import location

from lowq import Backend, FakeClock, open_backend

SECOND, HOUR, TICK = timedelta(seconds=1), timedelta(hours=1), timedelta(microseconds=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "files"])
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Backend]:
    made = open_backend(location(request.param, tmp_path), clock=clock)
    yield made
    made.close()


def step_back(clock: FakeClock) -> None:
    clock.move_to(clock.now() - HOUR, back=True)


def test_a_lease_ends_later_by_the_step_and_no_more(queue: Backend, clock: FakeClock) -> None:
    queue.push("held")
    queue.claim(lease_for=SECOND)

    step_back(clock)

    clock.advance(HOUR + SECOND - TICK)
    assert queue.claim(lease_for=SECOND) is None
    clock.advance(TICK)
    lease = queue.claim(lease_for=SECOND)
    assert lease is not None
    assert lease.work == "held"


def test_a_retry_comes_later_by_the_step_and_no_more(queue: Backend, clock: FakeClock) -> None:
    queue.push("again")
    lease = queue.claim(lease_for=SECOND)
    assert lease is not None
    queue.release(lease, not_before=clock.now() + SECOND)

    step_back(clock)

    assert queue.next_due() == clock.now() + HOUR + SECOND
    clock.advance(HOUR + SECOND)
    assert queue.claim(lease_for=SECOND) is not None


def test_a_lease_that_is_renewed_or_taken_after_the_step_has_its_own_length(queue: Backend, clock: FakeClock) -> None:
    queue.push("held", priority=1)
    queue.push("afterwards")
    held = queue.claim(lease_for=SECOND)
    assert held is not None

    step_back(clock)
    renewed = queue.extend(held, lease_for=SECOND)
    after = queue.claim(lease_for=SECOND)

    assert after is not None
    assert renewed.expires == after.expires == clock.now() + SECOND
    clock.advance(SECOND)
    assert queue.count().ready == 2


def test_what_was_due_stays_due(queue: Backend, clock: FakeClock) -> None:
    queue.push("due", not_before=clock.now() + SECOND)
    clock.advance(SECOND)
    assert queue.claim(lease_for=SECOND) is not None

    clock.advance(SECOND)
    assert queue.claim(lease_for=SECOND) is not None
    step_back(clock)
    queue.push("now")

    lease = queue.claim(lease_for=SECOND)
    assert lease is not None
    assert lease.work == "now"
