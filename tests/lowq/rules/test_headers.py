"""What goes with a work beside it, and when it was pushed: kept, shown, and no part of what is equal."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from backends import BACKENDS, kept_at

from lowq import Backend, FakeClock, Headers, Item, Lease, State, Task, open_backend

MINUTE = timedelta(minutes=1)
LATER = datetime(2031, 1, 1, tzinfo=UTC)
TRACE = {"traceparent": "00-af-b7-01", "who": "Åsa \U0001f600\0\x1b", "": ""}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Backend]:
    where = kept_at(request, tmp_path, clock)
    opened = open_backend(where, clock=clock)
    yield opened
    opened.close()


def claimed(queue: Backend) -> Lease:
    lease = queue.claim(lease_for=MINUTE)
    assert lease is not None
    return lease


def task(queue: Backend, id: str) -> Task:
    found = queue.task(id)
    assert found is not None
    return found


# what is kept and shown


def test_headers_arrive_as_they_were_pushed(queue: Backend) -> None:
    id = queue.push(1, headers=TRACE).id

    assert "headers" in queue.promises
    assert (task(queue, id).headers, queue.tasks()[0].headers) == (TRACE, TRACE)
    assert claimed(queue).task.headers == TRACE


def test_a_push_without_headers_has_none(queue: Backend) -> None:
    ids = [queue.push(1).id, queue.push(2, headers=None).id, queue.push(3, headers={}).id]
    ids += [each.id for each in queue.push_many([Item(4), Item(5, headers={})])]

    assert [task(queue, id).headers for id in ids] == [{}] * 5


def test_each_item_of_a_batch_has_headers_of_its_own(queue: Backend) -> None:
    items = [Item(1, headers={"a": "1"}), Item(2), Item(3, headers=MappingProxyType({"a": "3"}))]

    ids = [pushed.id for pushed in queue.push_many(items)]

    assert [task(queue, id).headers for id in ids] == [{"a": "1"}, {}, {"a": "3"}]


def test_headers_and_the_time_of_the_push_stay_whatever_becomes_of_the_task(queue: Backend, clock: FakeClock) -> None:
    pushed_at = clock.now()
    id = queue.push("x", headers=TRACE).id
    seen = [task(queue, id)]

    clock.advance(MINUTE)
    lease = claimed(queue)
    seen.append(queue.extend(lease, lease_for=MINUTE).task)
    queue.release(lease, not_before=clock.now() + MINUTE, reason="later")
    seen.append(task(queue, id))
    clock.advance(MINUTE)
    claimed(queue)
    clock.advance(MINUTE)
    seen.append(task(queue, id))
    queue.dead_letter(claimed(queue), reason="no")
    seen.append(task(queue, id))
    queue.redrive(id)
    seen.append(task(queue, id))

    states = [State.READY, State.LEASED, State.SCHEDULED, State.READY, State.DEAD, State.READY]
    assert [(each.state, each.headers, each.pushed_at) for each in seen] == [
        (state, TRACE, pushed_at) for state in states
    ]


def test_a_chained_claim_has_the_headers_of_the_next_task(queue: Backend) -> None:
    queue.push_many([Item(1, headers={"a": "1"}), Item(2, headers={"a": "2"})])

    following = queue.ack(claimed(queue), claim_for=MINUTE)

    assert following is not None
    assert following.task.headers == {"a": "2"}


def test_what_is_changed_after_the_push_changes_nothing(queue: Backend) -> None:
    headers = {"a": "1"}
    id = queue.push(1, headers=headers).id

    headers["a"] = "2"

    assert task(queue, id).headers == {"a": "1"}


def test_the_time_of_the_push_is_the_queue_s(queue: Backend, clock: FakeClock) -> None:
    first = queue.push(1).id
    clock.advance(MINUTE)
    second, third = (pushed.id for pushed in queue.push_many([Item(2), Item(3, not_before=LATER)]))

    times = [task(queue, id).pushed_at for id in (first, second, third)]

    assert times == [clock.now() - MINUTE, clock.now(), clock.now()]
    assert all(time.tzinfo is UTC for time in times)


def test_headers_and_the_time_survive_reopening(tmp_path: Path, clock: FakeClock) -> None:
    queue = open_backend(tmp_path / "q.db", clock=clock)
    before = task(queue, queue.push(1, headers=TRACE).id)
    queue.close()
    clock.advance(MINUTE)

    again = open_backend(tmp_path / "q.db", clock=clock)

    assert again.tasks() == [before]
    assert before.headers == TRACE
    again.close()


# what is equal


def test_headers_are_no_part_of_what_is_equal_and_a_refused_duplicate_changes_none(
    queue: Backend, clock: FakeClock
) -> None:
    first = queue.push({"a": 1}, headers={"h": "1"})
    before = task(queue, first.id)
    clock.advance(MINUTE)

    assert not queue.push({"a": 1}, headers={"h": "2"}).added
    assert not queue.push({"a": 1}).added
    assert not queue.push_many([Item({"a": 1}, headers={"x": "y"})])[0].added
    assert queue.push("a work of its own", key="k", headers={"h": "1"}).added
    assert not queue.push("another", key="k", headers={"h": "2"}).added
    assert task(queue, first.id) == before


def test_of_equals_in_a_batch_the_headers_of_the_first_are_kept(queue: Backend) -> None:
    first, second = queue.push_many([Item(1, headers={"h": "1"}), Item(1, headers={"h": "2"})])

    assert (first.added, second.added, first.id == second.id) == (True, False, True)
    assert task(queue, first.id).headers == {"h": "1"}


# what is refused

WRONG: list[tuple[Any, str]] = [
    (["a"], "headers: expected a mapping of strings to strings, got list"),
    ("a=b", "headers: expected a mapping of strings to strings, got str"),
    ([("a", "b")], "headers: expected a mapping of strings to strings, got list"),
    ({"trace": 1}, "headers: 'trace': expected a string, got int 1"),
    ({"trace": None}, "headers: 'trace': expected a string, got NoneType None"),
    ({"trace": b"x"}, "headers: 'trace': expected a string, got bytes b'x'"),
    ({"trace": {"a": "b"}}, "headers: 'trace': expected a string, got dict {'a': 'b'}"),
    ({1: "a"}, "headers: expected names that are strings, got int 1"),
    ({None: "a"}, "headers: expected names that are strings, got NoneType None"),
    ({"a": "b", ("c",): "d"}, "headers: expected names that are strings, got tuple ('c',)"),
    ({"trace": "a\ud800"}, r"headers: 'trace': the lone surrogate '\ud800' is not JSON"),
    ({"a\udfff": "b"}, r"headers: the name 'a\udfff': the lone surrogate '\udfff' is not JSON"),
]


@pytest.mark.parametrize(("headers", "told"), WRONG)
def test_what_is_no_mapping_of_strings_is_refused_and_nothing_is_kept(
    queue: Backend, headers: Any, told: str
) -> None:
    with pytest.raises((TypeError, ValueError)) as one:
        queue.push(1, headers=headers)
    with pytest.raises((TypeError, ValueError)) as many:
        queue.push_many([Item(1), Item(2, headers=headers)])

    assert (str(one.value), str(many.value)) == (told, f"item 1: {told}")
    assert queue.tasks() == []
    assert queue.push(1).added


# the value


def test_headers_are_a_value() -> None:
    headers = Headers({"a": "1", "b": "2"})

    assert headers == {"b": "2", "a": "1"} == headers
    assert headers == Headers([("b", "2"), ("a", "1")])
    assert headers != {"a": "1"}
    assert hash(headers) == hash(Headers({"b": "2", "a": "1"}))
    assert (dict(headers), len(headers), "a" in headers, headers.get("c")) == ({"a": "1", "b": "2"}, 2, True, None)
    assert repr(headers) == "Headers({'a': '1', 'b': '2'})"
    with pytest.raises(TypeError, match="does not support item assignment"):
        headers["a"] = "2"  # type: ignore[index]


def test_a_task_with_headers_is_hashed_pickled_and_copied(queue: Backend) -> None:
    queue.push("x", headers=TRACE)
    lease = claimed(queue)

    assert pickle.loads(pickle.dumps(lease)) == lease == copy.deepcopy(lease)
    assert len({lease.task, pickle.loads(pickle.dumps(lease.task))}) == 1
