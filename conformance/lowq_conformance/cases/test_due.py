"""DUE: tasks that have a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from lowq_conformance.cases.expect import expect_named_error, gives, gives_all, nothing, takes, wrong
from lowq_conformance.cases.timing import fall_due, later, not_yet
from lowq_conformance.contract.outcomes import NotPromised, Refused
from lowq_conformance.contract.promises import FINE
from lowq_conformance.subject.client import Client

MILLISECOND = timedelta(milliseconds=1)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def far(q: Client) -> datetime:
    """A time that is not reached in a test."""
    return later(q, timedelta(hours=1) if q.subject.traits.max_delay is None else None)


@pytest.mark.clause("DUE-1")
def test_a_task_is_not_claimed_before_its_time(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)

    not_yet(q, due)


@pytest.mark.clause("DUE-1")
def test_a_task_is_not_claimed_shortly_before_its_time(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)
    q.subject.pass_time(q.place, q.subject.delay / 2)

    not_yet(q, due)


@pytest.mark.clause("DUE-1")
def test_a_task_is_not_claimed_before_its_time_however_far_that_is(q: Client) -> None:
    """In milliseconds 26 days are more than 31 bits hold, and 60 days more than 32."""
    subject = q.subject
    if subject.traits.max_delay is not None and subject.traits.max_delay < 61 * DAY:
        raise NotPromised(f"its longest delay is {subject.traits.max_delay}")
    if not subject.can_pass_time:
        raise NotPromised("needs a clock that can be moved: pass_time")
    due = later(q, 61 * DAY)
    q.push("a", not_before=due)
    subject.pass_time(q.place, 26 * DAY)
    not_yet(q, due)
    subject.pass_time(q.place, 34 * DAY)
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


@pytest.mark.clause("DUE-2")
def test_a_task_is_claimable_at_its_time(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)
    fall_due(q, due)

    takes(q, "a")


@pytest.mark.clause("DUE-2")
def test_a_task_is_claimable_at_its_time_when_the_queue_was_asked_before(q: Client) -> None:
    due = later(q)
    q.push("a", not_before=due)
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


CUT, ROUNDED = 870_000, 50_000
"""Microseconds of a due time: many, where it is cut to whole seconds, and few, where it is rounded up to them."""
PUNCTUAL = 0.4
"""Seconds for which a clock that is not told exactly may be behind."""


def require_fractions(q: Client) -> None:
    """Raise NotPromised where fractions of a second are looked at exactly (DUE-3), or are too fine for the queue.

    That its times are as coarse as `resolution` says is its own excuse.
    """
    if q.subject.can_pass_time and q.subject.knows_now:
        raise NotPromised("its clock is told: see DUE-3")
    if q.subject.resolution >= SECOND / 4:
        raise NotPromised(f"its resolution is {q.subject.resolution}")


def odd(q: Client, microsecond: int) -> datetime:
    """The next instant with that fraction of a second that is not too near."""
    now = q.subject.now(q.place)
    due = now.replace(microsecond=microsecond)
    return due if due - now > SECOND / 5 else due + SECOND


@pytest.mark.clause("DUE-1")
def test_a_time_is_not_cut_to_whole_seconds(q: Client) -> None:
    require_fractions(q)
    due = odd(q, CUT)
    q.push("a", not_before=due)
    left = due.replace(microsecond=0) - q.subject.now(q.place)
    if left > timedelta(0):
        q.subject.pass_time(q.place, left + 10 * MILLISECOND)

    not_yet(q, due)


@pytest.mark.clause("DUE-2")
def test_a_time_is_not_rounded_up_to_whole_seconds(q: Client) -> None:
    require_fractions(q)
    if not q.subject.is_prompt:
        raise NotPromised("an empty answer may be false for a while")
    due = odd(q, ROUNDED)
    q.push("a", not_before=due)
    q.subject.pass_time(q.place, max(timedelta(0), due - q.subject.now(q.place)) + q.subject.resolution)
    end = time.monotonic() + PUNCTUAL
    while (held := q.claim()) is None and time.monotonic() < end:
        time.sleep(0.02)
    if held is None:
        raise wrong(q, "'a', whose time has come")


@pytest.mark.clause("DUE-3")
@pytest.mark.parametrize("part", [1, 250, 499, 500, 999])
def test_times_hold_to_the_millisecond(q: Client, part: int) -> None:
    subject = q.subject
    if subject.resolution > FINE:
        raise NotPromised(f"its resolution is {subject.resolution}")
    if not (subject.can_pass_time and subject.knows_now):
        raise NotPromised("needs a clock that can be moved and read: pass_time and now")
    whole = subject.now(q.place).replace(microsecond=0)
    due = whole + SECOND + part * MILLISECOND
    q.push("a", not_before=due)
    subject.pass_time(q.place, due - subject.now(q.place) - MILLISECOND)
    not_yet(q, due + subject.resolution)
    subject.pass_time(q.place, due - subject.now(q.place))

    takes(q, "a")


@pytest.mark.clause("DUE-4")
def test_among_the_due_priority_decides(q: Client) -> None:
    early, late = later(q), later(q, q.subject.delay * 1.5)
    q.push("low", not_before=early, priority=1)
    q.push("high", not_before=late, priority=2)
    q.push("middle", priority=1)
    fall_due(q, late)

    takes(q, "high")


@pytest.mark.clause("DUE-4")
@pytest.mark.needs("fifo")
def test_among_the_due_of_one_priority_the_declared_order_decides(q: Client) -> None:
    order = q.subject.traits.due_order
    if order is None:
        raise NotPromised("it states no order of due tasks")
    early, late = later(q), later(q, q.subject.delay * 1.5)
    q.push("late", not_before=late, priority=1)
    q.push("early", not_before=early, priority=1)
    fall_due(q, late)

    gives(q, *(("late", "early") if order == "push" else ("early", "late")))


@pytest.mark.clause("DUE-5")
def test_a_task_that_is_not_due_blocks_nobody(q: Client) -> None:
    q.push("later", not_before=far(q))
    q.push("now")

    takes(q, "now")


@pytest.mark.clause("DUE-5")
@pytest.mark.needs("priority")
def test_a_task_that_is_not_due_blocks_nobody_of_lower_priority(q: Client) -> None:
    q.push("later", not_before=far(q), priority=5)
    q.push("now", priority=1)

    takes(q, "now")


@pytest.mark.clause("DUE-6")
@pytest.mark.parametrize("ago", [timedelta(seconds=1), timedelta(hours=1), timedelta(days=3650)], ids=str)
def test_a_time_in_the_past_is_now(q: Client, ago: timedelta) -> None:
    q.push("a", not_before=later(q, -ago))

    takes(q, "a")


@pytest.mark.clause("DUE-6")
@pytest.mark.parametrize("year", [1969, 1900])
def test_a_time_before_the_clocks_of_computers_begin_is_now_or_is_refused(q: Client, year: int) -> None:
    try:
        q.push("a", not_before=datetime(year, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC))
    except Refused as refusal:
        expect_named_error(q, refusal.cause)
        nothing(q)
        return

    takes(q, "a")


@pytest.mark.clause("DUE-7")
def test_a_time_survives_reopening(q: Client, reopened: Callable[[Client], Client]) -> None:
    due = later(q)
    q.push("a", not_before=due)
    q = reopened(q)
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


@pytest.mark.clause("DUE-8")
@pytest.mark.parametrize("hours", [5.5, -5])
def test_one_instant_in_two_time_zones_is_one_instant(q: Client, hours: float) -> None:
    due = later(q)
    q.push("there", not_before=due.astimezone(timezone(timedelta(hours=hours))))
    q.push("here", not_before=due.astimezone(UTC))
    not_yet(q, due)
    fall_due(q, due)

    gives_all(q, "there", "here")


@pytest.mark.clause("DUE-8")
@pytest.mark.parametrize("summer", [True, False], ids=["begins", "ends"])
def test_a_time_beyond_a_change_of_summer_time_is_one_instant(q: Client, summer: bool) -> None:
    """The clocks of the zone are changed between the push and the time that it names in that zone."""
    if not q.subject.can_pass_time:
        raise NotPromised("needs a clock that can be moved: pass_time")
    zone, half, now = find_zone(), q.subject.delay / 2, q.subject.now(q.place)
    q.subject.pass_time(q.place, find_change(zone, now, summer=summer) - half - now)
    due = later(q)
    q.subject.journal.note(f"between now and the time the clocks of {zone} are changed")
    q.push("a", not_before=due.astimezone(zone))
    not_yet(q, due)
    fall_due(q, due)

    takes(q, "a")


def find_zone() -> ZoneInfo:
    """A zone with summer time. Raises NotPromised where this machine knows of none."""
    try:
        return ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError as error:
        raise NotPromised("no time zones are known on this machine (package tzdata)") from error


def find_change(zone: ZoneInfo, now: datetime, *, summer: bool) -> datetime:
    """When summer time next begins there, or ends."""

    def offset(instant: datetime) -> timedelta:
        return instant.astimezone(zone).utcoffset() or timedelta(0)

    before = now
    while (offset(before + DAY) > offset(before)) is not summer or offset(before + DAY) == offset(before):
        before += DAY
    after = before + DAY
    while after - before > MILLISECOND:
        middle = before + (after - before) / 2
        before, after = (middle, after) if offset(middle) == offset(before) else (before, middle)
    return after


@pytest.mark.clause("DUE-9")
def test_the_year_9999_is_a_time_like_any_other(q: Client) -> None:
    if q.subject.traits.max_delay is not None:
        raise NotPromised(f"its longest delay is {q.subject.traits.max_delay}")
    due = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    q.push("in 9999", not_before=due)
    not_yet(q, due)
    q.push("now")

    gives_all(q, "now")


@pytest.mark.clause("DUE-9")
@pytest.mark.parametrize("year", [2038, 2106, 2262, 2500])
def test_years_at_which_numbers_overflow_are_times_like_any_other(q: Client, year: int) -> None:
    if q.subject.traits.max_delay is not None:
        raise NotPromised(f"its longest delay is {q.subject.traits.max_delay}")
    due = datetime(year, 12, 31, tzinfo=UTC)
    q.push("then", not_before=due)

    not_yet(q, due)
