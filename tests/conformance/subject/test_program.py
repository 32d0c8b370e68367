"""How values are written in the program of a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from lowq_conformance.subject.program import format_value

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("hours", [-5, 0, 5.5])
@pytest.mark.parametrize("ahead", [-60, 0, 60])
def test_an_instant_is_told_from_now_in_the_zone_that_it_was_given_in(hours: float, ahead: int) -> None:
    value = (NOW + timedelta(seconds=ahead)).astimezone(timezone(timedelta(hours=hours)))

    told = format_value(value, NOW)
    again = eval(told, {"now": NOW, "timedelta": timedelta, "timezone": timezone})

    assert (again, again.utcoffset()) == (value, value.utcoffset())


def test_texts_that_look_alike_are_told_apart() -> None:
    told = [format_value(text) for text in ("\u00e9", "e\u0301", "\u03a9", "\u2126", "\u6f22")]

    assert told == ["'\u00e9'", r"'e\u0301'", "'\u03a9'", r"'\u2126'", "'\u6f22'"]
