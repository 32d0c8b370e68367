"""Whether a value is what a test expected, and what is said where it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any
from unittest.mock import ANY

import pytest

from lowq.testing.matching import differences


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


def is_even(number: int) -> bool:
    return number % 2 == 0


class Roughly:
    def __init__(self, number: float) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float | int) and abs(other - self.number) < 1

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (None, None),
        ("é", "é"),
        (1.5, 1.5),
        ({"user": {"id": 7}}, {"user": {"id": 7, "name": "Ann"}, "more": 1}),
        ({}, {"a": 1}),
        ((1, (2,)), [1, [2]]),
        ([{"a": 1}], [{"a": 1, "b": 2}]),
        (int, 5),
        (bool, True),
        (dict, {}),
        (ANY, {"whatever": 1}),
        ({"id": ANY}, {"id": None}),
        (is_even, 4),
        (str.isdigit, "4"),
        ({1: 2}.get, 1),
        ({"n": lambda n: n > 3}, {"n": 4}),
        (Roughly(3), 3.5),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
    ],
)
def test_what_matches(expected: Any, found: Any) -> None:
    assert differences(expected, found, "work") == []


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        (42, "42", "work: expected 42 (int), got '42' (str)"),
        (1, 1.0, "work: expected 1 (int), got 1.0 (float)"),
        (1, True, "work: expected 1 (int), got True"),
        (None, 0, "work: expected None, got 0 (int)"),
        (int, True, "work: expected any int, got True"),
        ({"user": {"id": 42}}, {"user": {"id": "42"}}, "work.user.id: expected 42 (int), got '42' (str)"),
        ({"a b": 1}, {"a b": 2}, "work['a b']: expected 1 (int), got 2 (int)"),
        ({"id": 1}, {"ID": 1}, "work.id: expected 1 (int), but there is no such key; there is 'ID'"),
        ({"id": 1}, [1], "work: expected an object, got [1] (list)"),
        ([1, 2], [1], "work: expected 2 elements, got 1: [1] (list)"),
        ([1, 2], [1, 3], "work[1]: expected 2 (int), got 3 (int)"),
        ([], {}, "work: expected a list, got {} (dict)"),
        (is_even, 3, "work: is_even() says no to 3 (int)"),
        (lambda n: n > 3, 3, "work: the predicate says no to 3 (int)"),
        (
            datetime(2030, 1, 1, tzinfo=UTC),
            "2030-01-01",
            "work: expected datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datetime.timezone.utc), "
            "got '2030-01-01' (str)",
        ),
        (object(), 1, "which no JSON value equals, got 1 (int)"),
    ],
)
def test_what_does_not_match_is_told_field_by_field(expected: Any, found: Any, said: str) -> None:
    (line,) = differences(expected, found, "work")

    assert said in line


def test_every_place_that_differs_has_a_line() -> None:
    assert differences({"a": 1, "b": [1, 2], "c": 3}, {"a": 2, "b": [1, 3], "c": 3}, "work") == [
        "work.a: expected 1 (int), got 2 (int)",
        "work.b[1]: expected 2 (int), got 3 (int)",
    ]
