"""Odd values for any argument: wrong types, edges, lies, and objects that do harm when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from lowq import FakeClock, Headers, Item, Lease, Retry, State, SystemClock, Task

DAY = timedelta(days=1)
EARLY, LATE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
THEN = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Theirs(Exception):
    """Raised by an object of the caller's, whose error it stays."""


class Unprintable:
    def __repr__(self) -> str:
        raise Theirs("repr")


class Unequal:
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise Theirs("eq")


class Nowhere(tzinfo):
    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        return None

    def dst(self, _when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _when: datetime | None) -> str | None:
        return None


class Failing(Nowhere):
    def utcoffset(self, _when: datetime | None) -> timedelta | None:
        raise Theirs("utcoffset")


class PathOfNumber:
    def __fspath__(self) -> Any:
        return 5


class PathOfBytes:
    def __fspath__(self) -> bytes:
        return b"x"


class FailingPath:
    def __fspath__(self) -> str:
        raise Theirs("fspath")


class Number(IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class FailingMapping(Mapping[str, str]):
    def __getitem__(self, name: str) -> str:
        raise Theirs("getitem")

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


def items_that_fail() -> Iterator[Item]:
    """Two items, and an error of the caller's."""
    yield Item(1)
    yield Item(2)
    raise Theirs("items")


def deep(levels: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def circle() -> list[Any]:
    """A list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


def task(**parts: Any) -> Task:
    """A task made by hand."""
    whole: dict[str, Any] = {
        "id": "1",
        "work": 1,
        "key": None,
        "priority": 0,
        "not_before": None,
        "attempts": 0,
        "state": State.READY,
        "reason": None,
        "pushed_at": THEN,
    }
    return Task(**{**whole, **parts})


TEXTS = [
    *(
        "",
        " ",
        "x",
        "1",
        "0",
        "-1",
        "\0",
        "a\0b",
        "\ud800",
        "\udc80",
        "é",
        "\u202e",
        "\x1b[31m",
        "\u0661",
        "a" * 10_000,
    ),
    *("9" * 5000, "default", "until_done", "ready", "power", "true", "nan", "inf", "1e999", "-0.0", "1_0", "none"),
]
NUMBERS: list[Any] = [
    *(
        True,
        False,
        0,
        -1,
        1,
        2,
        7,
        2**31 - 1,
        2**31,
        -(2**31) - 1,
        2**63 - 1,
        2**63,
        2**64,
        10**30,
        10**5000,
        -(10**5000),
    ),
    *(
        0.0,
        -0.0,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        float("-inf"),
        Decimal(1),
        Decimal("NaN"),
        Fraction(1, 3),
        3j,
    ),
    *(Number.ONE, Whole(3)),
]
SPANS = [
    *(timedelta(0), -timedelta(microseconds=1), timedelta(microseconds=1), DAY, -DAY, timedelta(days=900_000)),
    *(timedelta(days=3_000_000), timedelta.max, timedelta.min),
]
INSTANTS: list[Any] = [
    *(THEN, EARLY, LATE, THEN.replace(tzinfo=None), THEN.replace(tzinfo=Nowhere()), THEN.replace(tzinfo=Failing())),
    *(at.replace(tzinfo=timezone(timedelta(hours=by))) for at in (EARLY, LATE) for by in (14, -14)),
    *(datetime(1970, 1, 1, tzinfo=timezone(timedelta(hours=1))), date(2030, 1, 1), time(12)),
]
OBJECTS: list[Any] = [
    *(None, ..., NotImplemented, b"", b"x", bytearray(b"x"), memoryview(b"x"), range(3), object(), type, int, Retry),
    *(Exception("x"), lambda: 1, lambda *given: given, lambda a, b: (a, b), SystemClock, FakeClock, SystemClock()),
    *(Unprintable(), Unequal(), Path("x"), PathOfNumber(), PathOfBytes(), FailingPath(), Text("x"), Retry()),
    *(State.READY, State.DEAD),
]
CONTAINERS: list[Any] = [
    *(
        [],
        {},
        (),
        set(),
        {1},
        frozenset(),
        [1],
        {1: 2},
        {"a": 1},
        {"a": "b"},
        {"\ud800": "x"},
        {"a": "\ud800"},
        {None: 1},
    ),
    *(
        [("a", "b")],
        [("a",)],
        [[1, 2], [3]],
        circle(),
        deep(250),
        deep(100_000),
        FailingMapping(),
        Headers({"a": "b"}),
    ),
]
ITEMS: list[Any] = [
    *(Item(**{"work": 1, name: 5}) for name in ("work", "key", "headers", "not_before")),  # type: ignore[arg-type]
    *(Item(1), Item(object()), Item("x", priority="x")),  # type: ignore[arg-type]
    *([Item(1)], [Item(1), 2], [Item(1), Item(object())], [Item(1, priority=2**31)]),
]
IDS: list[Any] = ["1", "2", "x", None, 5, "\ud800", "\0", "9" * 18, "9" * 5000, "\u0661", "1.default", b"1"]
TASKS: list[Any] = [
    *(task(id=id) for id in IDS),
    *(task(priority=each) for each in ("x", None, 1.5, 2**70, True)),
    *(task(not_before=each, state=State.SCHEDULED) for each in (None, 5, "x", *INSTANTS)),
    *(task(state=each) for each in ("ready", "x", None, 5, *State)),
]
NO_TOKENS: list[Any] = [None, 5, b"x", "", "\ud800", 10**5000, "é"]
LEASES: list[Any] = [
    *(Lease(each, "x", THEN) for each in (None, 5, "x", {}, *TASKS)),
    *(Lease(task(), each, THEN) for each in NO_TOKENS),
    *(Lease(task(), "x", each) for each in (None, 5, "x", *INSTANTS)),
]

ALL = [*TEXTS, *NUMBERS, *SPANS, *INSTANTS, *OBJECTS, *CONTAINERS, *ITEMS, *TASKS[:8], *LEASES[:8]]


def one_of_these(values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of them; Hypothesis's own `sampled_from` would look at each, which some do not bear."""
    return st.integers(0, len(values) - 1).map(values.__getitem__)


odd: st.SearchStrategy[Any] = st.one_of(
    one_of_these(ALL),
    one_of_these([*NUMBERS, *SPANS]),
    one_of_these([*TEXTS, *INSTANTS]),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=20),
    st.timedeltas(),
    st.datetimes(
        timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))])
    ),
)
"""Any odd value."""
