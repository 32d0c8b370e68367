"""The interface of the ancestor's worker, and the faults it had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from serving import MakeApp

from lowq import Backend, Counts, FakeClock

LATER = datetime(2031, 1, 1, 12, tzinfo=UTC)


def next_task(client: FlaskClient) -> Any:
    answer = client.get("/api/next")
    assert (answer.status_code, answer.json["status"]) == (200, "ok")  # type: ignore[index]
    return answer.json["task"]  # type: ignore[index]


def completed(client: FlaskClient, id: object) -> int:
    answer = client.post("/api/complete", json={"id": id})
    if answer.status_code != 200:
        assert answer.mimetype == "application/problem+json"
    return answer.status_code


def test_a_worker_takes_a_task_and_completes_it(client: FlaskClient, queue: Backend) -> None:
    queue.push({"mail": 1}, priority=5)

    task = next_task(client)
    held = queue.count()
    status = completed(client, task["id"])

    assert set(task) == {"payload", "priority", "exectime", "id"}
    assert (task["payload"], task["priority"]) == ({"mail": 1}, 5)
    assert datetime.fromisoformat(task["exectime"]).tzinfo is not None
    assert (held, status, queue.count()) == (Counts(leased=1), 200, Counts())


def test_where_nothing_is_due_the_task_is_null(client: FlaskClient, queue: Backend) -> None:
    queue.push("tomorrow", not_before=LATER)

    assert next_task(client) is None


def test_two_workers_never_get_one_task(client: FlaskClient, queue: Backend) -> None:
    queue.push("a")
    queue.push("b")

    assert [next_task(client)["payload"], next_task(client)["payload"], next_task(client)] == ["a", "b", None]


def test_the_execution_time_is_when_the_task_fell_due(client: FlaskClient, queue: Backend) -> None:
    due = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
    queue.push("a", not_before=due)

    assert next_task(client)["exectime"] == "2020-01-02T03:04:05Z"


def test_a_task_is_completed_once(client: FlaskClient, queue: Backend) -> None:
    queue.push(1)
    id = next_task(client)["id"]

    assert [completed(client, id), completed(client, id)] == [200, 409]


def test_a_late_worker_does_not_complete_what_another_holds(make_app: MakeApp) -> None:
    clock = FakeClock()
    app = make_app(location="memory://late", clock=clock, lease_for=timedelta(minutes=1))
    client = app.test_client()
    client.post("/api/v1/push", json={"work": 1})
    late = next_task(client)["id"]
    clock.advance(timedelta(minutes=2))
    holder = next_task(client)["id"]

    assert [completed(client, late), completed(client, holder)] == [409, 200]


@pytest.mark.parametrize("id", ["", "1", ".", "1.1", "zz.1", "00.1", "é.1", "ff.1", "1" * 10_000])
def test_an_id_that_was_never_given_out_completes_nothing(client: FlaskClient, queue: Backend, id: str) -> None:
    queue.push(1)
    assert next_task(client)

    assert completed(client, id) == 409
    assert queue.count() == Counts(leased=1)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'{"id": 1}', b'{"id": null}', b"id=1", b"[" * 100_000, b"\xff"]
)
def test_what_is_no_completion_is_refused(client: FlaskClient, queue: Backend, body: bytes) -> None:
    queue.push(1)
    assert next_task(client)

    answer = client.post("/api/complete", data=body)

    assert answer.status_code == 400
    assert queue.count() == Counts(leased=1)


def test_an_old_worker_that_sends_no_content_type_is_understood(client: FlaskClient, queue: Backend) -> None:
    queue.push(1)
    id = next_task(client)["id"]

    answer = client.post("/api/complete", data=f'{{"id": "{id}"}}', content_type="application/x-www-form-urlencoded")

    assert (answer.status_code, queue.count()) == (200, Counts())


def test_a_head_request_takes_no_task(client: FlaskClient, queue: Backend) -> None:
    queue.push(1)

    assert client.head("/api/next").status_code == 405
    assert queue.count() == Counts(ready=1)
