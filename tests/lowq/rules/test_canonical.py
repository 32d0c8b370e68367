"""Canonical JSON: what is equal, what is refused, and where the refusal says that the fault lies."""

from __future__ import annotations

import json
import math
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowq import InvalidWork
from lowq.rules.canonical import MAX_DEPTH, check_key, decode, digest, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
WORKS = st.recursive(SCALARS | TEXTS, lambda parts: st.lists(parts) | st.dictionaries(TEXTS, parts), max_leaves=20)


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


def nested(depth: int) -> Any:
    work: Any = 0
    for _ in range(depth):
        work = [work]
    return work


def typed(work: Any) -> str:
    """A text that tells 1 from 1.0, True and "1", and does not depend on the order of keys."""
    return json.dumps(work, sort_keys=True)


@unhurried
@given(WORKS)
def test_a_work_comes_back_as_it_went_in(work: Any) -> None:
    assert typed(decode(encode(work))) == typed(work)


@unhurried
@given(WORKS)
def test_the_text_of_a_work_that_came_back_is_the_same(work: Any) -> None:
    assert encode(decode(encode(work))) == encode(work)


@unhurried
@given(WORKS, WORKS)
def test_two_works_have_one_text_only_where_they_are_equal(one: Any, other: Any) -> None:
    assert (encode(one) == encode(other)) == (typed(one) == typed(other))


def test_the_text_has_sorted_keys_no_spaces_and_characters_as_they_are() -> None:
    assert encode({"b": [1, 2.5, None], "a": "é\U0001f600\0"}) == '{"a":"é\U0001f600\\u0000","b":[1,2.5,null]}'


def test_the_order_of_keys_does_not_matter_at_any_depth() -> None:
    assert encode([{"a": {"x": 1, "y": 2}, "b": 0}]) == encode([{"b": 0, "a": {"y": 2, "x": 1}}])


def test_a_tuple_counts_as_a_list() -> None:
    assert encode((1, (2,))) == encode([1, [2]])


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (1, True), (0, False), (1, "1"), (None, "null"), ([], {}), ("", None), (0.0, -0.0), ("é", "e\u0301")],
)
def test_what_differs_stays_apart(one: Any, other: Any) -> None:
    assert encode(one) != encode(other)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        ({"user": {"created": datetime(2030, 1, 1, tzinfo=UTC)}}, "work.user.created: datetime is not JSON"),
        ([1, [b"x"]], "work[1][0]: bytes is not JSON"),
        ({"a b": {1, 2}}, "work['a b']: set is not JSON"),
        (math.nan, "work: nan is not JSON"),
        ({"x": [math.inf]}, "work.x[0]: inf is not JSON"),
        ({"x": -math.inf}, "work.x: -inf is not JSON"),
        ({1: 2}, "work: the object key 1 is no string"),
        ({"a": {None: 2}}, "work.a: the object key None is no string"),
        (["\ud800"], r"work[0]: the lone surrogate '\ud800' is not JSON"),
        ({"a\udfff": 1}, r"work: the object key 'a\udfff': the lone surrogate '\udfff' is not JSON"),
        (object, "work: type is not JSON"),
        (
            [10**5000],
            "work[0]: an integer of more than 4300 digits cannot be read back everywhere",
        ),
    ],
)
def test_a_refusal_says_where_the_fault_is(work: Any, said: str) -> None:
    with pytest.raises(InvalidWork) as refused:
        encode(work)

    assert str(refused.value).startswith(said)


def test_a_work_that_contains_itself_is_refused() -> None:
    work: dict[str, Any] = {"parts": []}
    work["parts"].append(work)

    with pytest.raises(InvalidWork, match=r"^work\.parts\[0\]: contains itself$"):
        encode(work)


def test_one_object_in_two_places_is_no_cycle() -> None:
    part = {"x": 1}

    assert decode(encode([part, part])) == [part, part]


def test_nesting_is_taken_up_to_the_limit_and_refused_past_it() -> None:
    assert decode(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)

    with pytest.raises(InvalidWork, match=f"nested more than {MAX_DEPTH} deep") as refused:
        encode(nested(MAX_DEPTH + 1))

    assert len(str(refused.value)) < 200


def test_nesting_past_the_interpreters_own_limit_is_refused_like_any_other() -> None:
    with pytest.raises(InvalidWork, match="deep"):
        encode(nested(20 * sys.getrecursionlimit()))


def test_what_a_caller_deep_in_the_stack_can_push_is_the_same() -> None:
    def from_below(frames: int) -> str:
        return from_below(frames - 1) if frames else encode(nested(MAX_DEPTH))

    assert from_below(sys.getrecursionlimit() // 2) == encode(nested(MAX_DEPTH))


def test_a_large_integer_arrives_whole() -> None:
    assert decode(encode(10**4000)) == 10**4000


def test_subclasses_of_json_types_are_kept_as_the_value_that_they_are() -> None:
    class Level(int):
        def __repr__(self) -> str:
            return "Level(3)"

    class Name(str):
        __slots__ = ()

    assert decode(encode({Name("level"): Level(3)})) == {"level": 3}


def test_a_key_never_meets_the_work_of_the_same_text() -> None:
    assert digest("1", None) != digest("1", "1")
    assert digest("1", "k") == digest("2", "k")
    assert digest("1", None) != digest("2", None)


def test_an_empty_key_is_a_key() -> None:
    assert digest("1", "") == digest("2", "")


def test_a_key_that_is_no_text_is_refused() -> None:
    check_key("")
    with pytest.raises(TypeError, match=r"^key: expected a string, got int$"):
        check_key(1)  # type: ignore[arg-type]
    with pytest.raises(InvalidWork, match=r"^key: the lone surrogate '\\ud800' is not JSON$"):
        check_key("\ud800")
