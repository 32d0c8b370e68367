"""Delays between attempts: they grow, they are spread, and they end."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

import pytest

from lowq import Retry

SECOND = timedelta(seconds=1)


class Highest(Random):
    """Draws the end of every range."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def delays(retry: Retry, random: Random) -> list[timedelta | None]:
    return [retry.delay(attempts, random) for attempts in range(1, retry.max_attempts + 1)]


def test_delays_grow_by_the_factor_up_to_the_longest_and_then_it_is_over() -> None:
    retry = Retry(max_attempts=6, first=SECOND, factor=3, longest=20 * SECOND)

    assert delays(retry, Highest()) == [SECOND, 3 * SECOND, 9 * SECOND, 20 * SECOND, 20 * SECOND, None]


def test_by_default_a_task_is_tried_five_times_within_a_few_minutes() -> None:
    assert delays(Retry(), Highest()) == [10 * SECOND, 20 * SECOND, 40 * SECOND, 80 * SECOND, None]


def test_each_delay_is_drawn_from_its_upper_half() -> None:
    random = Random(1)
    drawn = [Retry(first=10 * SECOND).delay(1, random) for _ in range(1000)]

    assert all(delay is not None and 5 * SECOND <= delay <= 10 * SECOND for delay in drawn)
    assert len(set(drawn)) > 900


def test_the_same_seed_draws_the_same_delays() -> None:
    assert delays(Retry(), Random(7)) == delays(Retry(), Random(7))


def test_a_single_attempt_has_no_retry() -> None:
    assert Retry(max_attempts=1).delay(1, Random(1)) is None


def test_attempts_past_the_last_have_no_retry() -> None:
    assert Retry(max_attempts=3).delay(9, Random(1)) is None


def test_a_thousand_attempts_wait_for_the_longest_delay_and_not_longer() -> None:
    retry = Retry(max_attempts=2000, first=SECOND, factor=10, longest=timedelta(days=1))

    assert retry.delay(1999, Highest()) == timedelta(days=1)


def test_no_delay_stays_no_delay() -> None:
    assert Retry(first=timedelta(0), longest=timedelta(0)).delay(3, Random(1)) == timedelta(0)
    assert Retry(first=timedelta(0)).delay(3, Random(1)) == timedelta(0)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"max_attempts": 0}, ValueError, "max_attempts: expected 1 or more, got 0"),
        ({"max_attempts": "3"}, TypeError, "max_attempts: expected an int, got str"),
        ({"max_attempts": True}, TypeError, "max_attempts: expected an int, got bool"),
        ({"first": -SECOND}, ValueError, "first: expected zero or more, got -1 day, 23:59:59"),
        (
            {"first": 2 * SECOND, "longest": SECOND},
            ValueError,
            r"longest: expected 0:00:02 \(first\) or more, got 0:00:01",
        ),
        ({"first": 10}, TypeError, r"first: expected a timedelta, got int; say timedelta\(seconds=…\)"),
        ({"longest": 10}, TypeError, r"longest: expected a timedelta, got int; say timedelta\(seconds=…\)"),
        ({"factor": 0.5}, ValueError, "factor: expected 1 or more, got 0.5"),
        ({"factor": float("nan")}, ValueError, "factor: expected 1 or more, got nan"),
        ({"factor": "2"}, TypeError, "factor: expected a number, got str"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Retry(**wrong)


def test_an_infinite_factor_waits_for_the_longest() -> None:
    assert Retry(factor=float("inf")).delay(2, Highest()) == timedelta(hours=1)
