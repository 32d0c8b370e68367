"""The one codec: what is written as JSON is read as the same value, and what is wrong is named by its field."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowq import (
    Acked,
    BackendUnavailable,
    CorruptQueue,
    Counts,
    Damaged,
    Headers,
    InvalidLocation,
    InvalidWork,
    Item,
    Lease,
    LeaseLost,
    LowqError,
    NotAllowed,
    NoTransaction,
    Pushed,
    QueueClosed,
    QueueGone,
    State,
    Task,
    backend,
    wire,
)
from lowq.clock import LAST_MICROS, to_datetime
from lowq.wire import InvalidMessage

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
TASK = Task("7", {"a": [1]}, "k", -3, NOON, 2, State.SCHEDULED, "why\n", NOON, Headers({"h": "v"}))
WRITTEN = {
    "id": "7",
    "work": {"a": [1]},
    "key": "k",
    "priority": -3,
    "not_before": "2030-01-01T12:00:00Z",
    "attempts": 2,
    "state": "scheduled",
    "reason": "why\n",
    "pushed_at": "2030-01-01T12:00:00Z",
    "headers": {"h": "v"},
}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instants = st.integers(0, LAST_MICROS).map(to_datetime)
jsons: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(texts, parts, max_size=3),
    max_leaves=8,
)
headers = st.dictionaries(texts, texts, max_size=3).map(Headers)
tasks = st.builds(
    Task,
    id=texts,
    work=jsons | st.builds(Damaged, texts),
    key=st.none() | texts,
    priority=st.integers(-(2**31), 2**31 - 1),
    not_before=st.none() | instants,
    attempts=st.integers(0),
    state=st.sampled_from(State),
    reason=st.none() | texts,
    pushed_at=instants,
    headers=headers,
)
leases = st.builds(Lease, tasks, texts, instants)
items = st.builds(Item, jsons, st.none() | texts, st.integers(), st.none() | instants, headers)


def sent(value: Any) -> Any:
    """What arrives at the other end."""
    return wire.read_json(json.dumps(value).encode())


# what is written is read


@given(tasks)
def test_a_task_is_read_as_it_was_written(task: Task) -> None:
    assert wire.read_task(sent(wire.write_task(task))) == task


@given(leases)
def test_a_lease_is_read_as_it_was_written(lease: Lease) -> None:
    assert wire.read_lease(sent(wire.write_lease(lease))) == lease


@given(items)
def test_an_item_is_read_as_it_was_written(item: Item) -> None:
    assert wire.read_item(sent(wire.write_item(item))) == item


@given(st.builds(Pushed, texts, st.booleans()))
def test_the_answer_to_a_push_is_read_as_it_was_written(pushed: Pushed) -> None:
    assert wire.read_pushed(sent(wire.write_pushed(pushed))) == pushed


@given(st.builds(Acked, st.lists(st.none() | texts).map(tuple), st.lists(leases, max_size=2).map(tuple)))
def test_the_answer_to_an_ack_of_many_is_read_as_it_was_written(acked: Acked) -> None:
    assert wire.read_acked(sent(wire.write_acked(acked))) == acked


@given(st.builds(Counts, *[st.integers(0)] * 4))
def test_counts_are_read_as_they_were_written(counts: Counts) -> None:
    assert wire.read_counts(sent(wire.write_counts(counts))) == counts


def test_1_and_1_0_and_true_stay_what_they_are() -> None:
    work = [1, 1.0, True, -0.0, 2**64, 1e300, "1", None]

    read = wire.read_task(sent(wire.write_task(Task("1", work, None, 0, None, 0, State.READY, None, NOON)))).work

    assert [(type(value), repr(value)) for value in read] == [(type(value), repr(value)) for value in work]


def test_a_task_is_written_in_these_words() -> None:
    assert wire.write_task(TASK) == WRITTEN
    assert wire.write_lease(Lease(TASK, "t", NOON)) == {
        "task": WRITTEN,
        "token": "t",
        "expires": "2030-01-01T12:00:00Z",
    }
    assert wire.write_counts(Counts(1, 2, 3, 4)) == {"scheduled": 1, "ready": 2, "leased": 3, "dead": 4}


def test_a_work_that_cannot_be_read_is_null_and_its_text_stands_beside_it() -> None:
    task = Task("7", Damaged('{"cut'), "k", 0, None, 1, State.DEAD, "damaged", NOON)

    written = wire.write_task(task)

    assert (written["work"], written["damaged"]) == (None, '{"cut')
    assert wire.read_task(written) == task


def test_an_item_needs_its_work_only() -> None:
    assert wire.read_item({"work": None}) == Item(None)
    assert wire.read_item({"work": 0, "headers": {}, "key": None, "not_before": None}) == Item(0)


def test_an_answer_of_a_newer_server_may_say_more() -> None:
    assert wire.read_task({**WRITTEN, "colour": "red"}) == TASK
    assert wire.read_pushed({"id": "1", "added": True, "colour": "red"}) == Pushed("1", True)


# instants


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2030-01-01T12:00:00Z", NOON),
        ("2030-01-01t12:00:00z", NOON),
        ("2030-01-01 12:00:00+00:00", NOON),
        ("2030-01-01T13:30:00.5+01:30", NOON + timedelta(seconds=0.5)),
        ("2030-01-01T07:00:00.000001-05:00", NOON + timedelta(microseconds=1)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_an_instant_of_any_offset_is_read_in_utc(text: str, instant: datetime) -> None:
    read = wire.read_instant(text)

    assert (read, read.tzinfo) == (instant, UTC)


def test_an_instant_is_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))

    assert wire.write_instant(NOON.astimezone(east)) == "2030-01-01T12:00:00Z"
    assert wire.write_instant(NOON.replace(microsecond=1)) == "2030-01-01T12:00:00.000001Z"
    assert wire.write_instant(None) is None


@pytest.mark.parametrize(
    "value",
    [
        "2030-01-01T12:00:00",
        "2030-01-01",
        "20300101T120000Z",
        "2030-W01-1T12:00:00Z",
        "2030-01-01T12:00Z",
        "2030-01-01T12:00:00.1234567Z",
        "2030-01-01T24:00:00Z",
        "2030-01-01T12:00:60Z",
        "2030-02-30T12:00:00Z",
        "2030-01-01T12:00:00+24:00",
        "2030-01-01T12:00:00+0100",
        "٢٠٣٠-01-01T12:00:00Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+12:00",
        "9999-12-31T23:59:59-01:00",
        "10000-01-01T00:00:00Z",
        "2030-01-01T12:00:00Z\n",
        "",
        1893499200,
        None,
        True,
        {},
    ],
)
def test_what_is_no_instant_is_refused(value: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"^lease\.expires: expected a time .*, got "):
        wire.read_lease({"task": WRITTEN, "token": "t", "expires": value})


# what is refused


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(
    ("read", "value", "told"),
    [
        (wire.read_task, [], "task: expected an object, got a list of 0"),
        (wire.read_task, None, "task: expected an object, got null"),
        (wire.read_task, {**WRITTEN, "id": 7}, "task.id: expected a string, got 7"),
        (wire.read_task, {**WRITTEN, "id": "\ud800"}, "task.id: the lone surrogate '\\ud800' is not JSON"),
        (wire.read_task, {**WRITTEN, "key": 7}, "task.key: expected a string, got 7"),
        (wire.read_task, {**WRITTEN, "priority": 1.5}, "task.priority: expected an integer, got 1.5"),
        (wire.read_task, {**WRITTEN, "priority": True}, "task.priority: expected an integer, got true"),
        (wire.read_task, {**WRITTEN, "attempts": -1}, "task.attempts: expected 0 or more, got -1"),
        (
            wire.read_task,
            {**WRITTEN, "state": "done"},
            'task.state: expected one of scheduled, ready, leased, dead, got "done"',
        ),
        (
            wire.read_task,
            {**WRITTEN, "state": ["dead"]},
            "task.state: expected one of scheduled, ready, leased, dead, got a list of 1",
        ),
        (wire.read_task, {**WRITTEN, "headers": None}, "task.headers: expected an object of strings, got null"),
        (wire.read_task, {**WRITTEN, "headers": {"a": 1}}, 'task.headers["a"]: expected a string, got 1'),
        (wire.read_task, {**WRITTEN, "damaged": 1}, "task.damaged: expected a string, got 1"),
        (
            wire.read_task,
            without(WRITTEN, "work"),
            'task.work: missing; there is "attempts", "headers", "id", "key", "not_before", "priority", "pushed_at",'
            ' "reason", "state"',
        ),
        (wire.read_lease, {"task": [], "token": "t"}, "lease.task: expected an object, got a list of 0"),
        (wire.read_lease, {"task": WRITTEN, "token": None}, "lease.token: expected a string, got null"),
        (wire.read_pushed, {"id": "1", "added": 1}, "pushed.added: expected true or false, got 1"),
        (wire.read_counts, {"scheduled": 0}, 'counts.ready: missing; there is "scheduled"'),
        (wire.read_item, {}, "item.work: missing; there is nothing"),
        (
            wire.read_item,
            {"work": 1, "prio\nrity": 1},
            'item: unknown field "prio\\nrity"; known are "headers", "key", "not_before", "priority", "work"',
        ),
        (wire.read_item, {"work": 1, "headers": {"a": None}}, 'item.headers["a"]: expected a string, got null'),
        (wire.read_acked, {"lost": {}, "claimed": []}, "acked.lost: expected a list, got an object of 0"),
        (wire.read_acked, {"lost": [None, 1], "claimed": []}, "acked.lost[1]: expected a string, got 1"),
        (
            wire.read_acked,
            {"lost": [], "claimed": [1]},
            "acked.claimed[0]: expected an object, got 1",
        ),
    ],
)
def test_what_is_wrong_is_named(read: Callable[[Any], Any], value: Any, told: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        read(value)

    assert str(caught.value) == told


@given(jsons)
def test_whatever_comes_is_read_or_refused_by_name(value: Any) -> None:
    readers: list[Callable[[Any], Any]] = [wire.read_task, wire.read_lease, wire.read_item, wire.read_counts]
    readers += [wire.read_error, wire.read_acked, wire.read_pushed]
    for read in readers:
        for each in (value, {**WRITTEN, "work": value, "headers": value}, {"lost": value, "claimed": value}):
            told = ""
            try:
                read(each)
            except InvalidMessage as error:
                told = str(error)
            assert told.isprintable()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"[1", r"not JSON: Expecting ',' delimiter at character 3"),
        (b"\xff", "byte 1 is not UTF-8"),
        (b"[NaN]", "NaN is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "Exceeds the limit"),
        (b"", "not JSON: Expecting value at character 1"),
        (b'[{"a": 1, "b": {"c": 1, "c": 1}}]', "'c' stands twice in one object"),
    ],
)
def test_text_that_is_not_json_is_refused(text: bytes, told: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        wire.read_json(text)

    assert str(caught.value).startswith(told)


# errors

ERRORS: list[tuple[Exception, int]] = [
    (LeaseLost("the lease is lost"), 409),
    (QueueClosed("closed"), 503),
    (InvalidWork("work.a: datetime is not JSON"), 422),
    (InvalidLocation("no queue"), 404),
    (NotAllowed("no right"), 403),
    (BackendUnavailable("locked"), 503),
    (QueueGone("gone"), 410),
    (CorruptQueue("damaged"), 500),
    (NoTransaction("…"), 400),
    (InvalidMessage("task.id: missing"), 400),
    (LowqError("something"), 500),
    (TypeError("priority: expected an int, got str"), 400),
    (ValueError("lease_for: expected more than zero"), 400),
]


@pytest.mark.parametrize(("error", "status"), ERRORS, ids=lambda value: type(value).__name__)
def test_an_error_is_read_as_it_was_written(error: Exception, status: int) -> None:
    written = wire.write_error(error)

    assert written["type"] == f"urn:lowq:error:{type(error).__name__}"
    assert (written["status"], wire.status_of(error)) == (status, status)
    read = wire.read_error(sent(written))
    assert (type(read), str(read)) == (type(error), str(error))


def test_every_error_that_a_backend_raises_has_a_status() -> None:
    ours = {
        value for value in vars(backend).values() if isinstance(value, type) and value.__module__ == "lowq.backend"
    }
    errors = {kind for kind in ours if issubclass(kind, Exception) and not issubclass(kind, Warning)}

    assert LowqError in errors
    assert errors <= {type(error) for error, _ in ERRORS}


def test_an_error_of_a_narrower_kind_is_told_as_the_one_that_is_known() -> None:
    class Narrow(QueueGone):
        pass

    assert wire.write_error(Narrow("gone"))["type"] == "urn:lowq:error:QueueGone"
    assert wire.write_error(UnicodeEncodeError("utf-8", "x", 0, 1, "why"))["type"] == "urn:lowq:error:ValueError"


def test_of_an_error_of_somebody_else_nothing_is_told() -> None:
    written = wire.write_error(KeyError("a secret"))

    assert (written["status"], written["type"]) == (500, "about:blank")
    assert "secret" not in json.dumps(written)
    assert type(wire.read_error(written)) is LowqError


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ({"type": "urn:lowq:error:Newer", "detail": "what"}, "what"),
        ({"title": "Bad Gateway"}, "Bad Gateway"),
        ({}, "about:blank"),
        ({"type": "urn:lowq:error:KeyError", "detail": "what"}, "what"),
    ],
)
def test_a_problem_of_no_known_type_is_a_lowq_error(problem: Any, told: str) -> None:
    read = wire.read_error(problem)

    assert (type(read), str(read)) == (LowqError, told)
