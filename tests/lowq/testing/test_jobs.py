"""Assertions about what was pushed: what they answer, and what they say when they fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from lowq import FakeClock, State, Task
from lowq.testing import ANY, Jobs, SyncWorker, TempQueue, UnknownQueue, fake_clock, temp_queue
from lowq.testing.clock import START
from lowq.testing.queues import OpenAt

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_clock(patch="none") as clock:
        yield clock


@pytest.fixture
def store(clock: FakeClock, open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        yield store


@pytest.fixture
def jobs(store: TempQueue) -> Jobs:
    return Jobs(store)


def works(tasks: list[Task]) -> list[Any]:
    return [task.work for task in tasks]


def message(error: pytest.ExceptionInfo[AssertionError]) -> list[str]:
    return str(error.value).splitlines()


class TestAssertPushed:
    def test_it_answers_with_what_matched(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push({"user_id": 42, "kind": "welcome"})
        store.backend().push({"user_id": 7, "kind": "welcome"})

        assert works(jobs.assert_pushed(work={"user_id": 42})) == [{"user_id": 42, "kind": "welcome"}]
        assert len(jobs.assert_pushed(work={"kind": str})) == 2
        assert len(jobs.assert_pushed(work={"user_id": ANY}, times=2)) == 2
        assert jobs.assert_pushed(work={"user_id": 1}, times=0) == []

    def test_it_shows_the_nearest_miss_field_by_field(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push({"user_id": 7, "kind": "goodbye"})
        store.backend().push({"user_id": "42", "kind": "welcome"})

        with pytest.raises(AssertionError) as error:
            jobs.assert_pushed(work={"user_id": 42, "kind": "welcome"}, priority=5)

        assert message(error) == [
            "no task with work={'user_id': 42, 'kind': 'welcome'}, priority=5",
            'nearest: task 2  ready  {"kind":"welcome","user_id":"42"}',
            "  work.user_id: expected 42 (int), got '42' (str)",
            "  priority: expected 5, got 0",
            "others:",
            '  task 1  ready  {"kind":"goodbye","user_id":7}',
            "",
            "the queue queue.db: 2 ready, 0 scheduled, 0 leased, 0 dead",
            '  task 1  ready  {"kind":"goodbye","user_id":7}',
            '  task 2  ready  {"kind":"welcome","user_id":"42"}',
        ]

    def test_it_says_so_where_the_task_has_run_already(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push("mail")
        lease = store.backend().claim(lease_for=MINUTE)
        assert lease is not None
        with pytest.raises(AssertionError) as leased:
            jobs.assert_pushed(work="mail")
        store.backend().ack(lease)
        with pytest.raises(AssertionError) as gone:
            jobs.assert_pushed(work="mail")

        assert message(leased)[:3] == [
            "no task with work='mail'",
            "pushed in this test, and no longer waiting:",
            '  task 1  ready  "mail"  (now leased)',
        ]
        assert message(gone)[2] == '  task 1  ready  "mail"  (now gone: it ran or was cancelled)'
        assert works(jobs.all(states=[State.LEASED])) == []

    def test_how_often(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push("a")

        with pytest.raises(AssertionError, match=r"expected 2 with work='a', found 1:\n  task 1  ready  \"a\""):
            jobs.assert_pushed(work="a", times=2)
        with pytest.raises(AssertionError, match="expected 0 with work='a', found 1"):
            jobs.assert_pushed(work="a", times=0)

    def test_priority_and_key(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push(1, priority=3, key="one")

        jobs.assert_pushed(work=1, priority=3, key="one")
        with pytest.raises(AssertionError, match=r"key: expected 'two' \(str\), got 'one' \(str\)"):
            jobs.assert_pushed(key="two")

    def test_headers_are_compared_where_they_are_named(self) -> None:
        with temp_queue() as store:
            jobs = Jobs(store)
            store.backend().push(1, headers={"trace": "00-ab", "tenant": "7"})

            jobs.assert_pushed(headers={"tenant": "7"})
            jobs.assert_pushed(headers={"trace": lambda trace: trace.startswith("00-"), "tenant": ANY})
            jobs.refute_pushed(headers={"tenant": "8"})
            with pytest.raises(AssertionError) as error:
                jobs.assert_one(work=1, headers={"tenant": "8", "user": str})

        assert message(error)[:4] == [
            "no task with work=1, headers={'tenant': '8', 'user': <class 'str'>}",
            "nearest: task 1  ready  headers {'tenant': '7', 'trace': '00-ab'}  1",
            "  headers.tenant: expected '8' (str), got '7' (str)",
            "  headers.user: expected <class 'str'>, but there is no such key; there is 'tenant', 'trace'",
        ]

    def test_times_are_exact_on_the_fake_clock(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push("later", not_before=START + MINUTE)

        jobs.assert_pushed(at=START + MINUTE)
        jobs.assert_pushed(in_=MINUTE, due=False)
        jobs.assert_pushed(in_=MINUTE + timedelta(seconds=2), within=timedelta(seconds=2))
        with pytest.raises(AssertionError) as error:
            jobs.assert_pushed(in_=MINUTE + timedelta(microseconds=1))
        assert message(error)[2] == (
            "  not_before: expected 2030-01-01 12:01:00.123457 UTC, got 2030-01-01 12:01:00.123456 UTC"
        )

    def test_due_follows_the_clock(self, store: TempQueue, jobs: Jobs, clock: FakeClock) -> None:
        store.backend().push("later", not_before=START + MINUTE)
        with pytest.raises(AssertionError, match=r"due: expected a task that is due, got not due before 2030-01-01"):
            jobs.assert_pushed(due=True)

        clock.advance(MINUTE)

        jobs.assert_pushed(due=True)

    def test_a_task_without_a_time_is_no_task_at_that_time(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push("now")

        with pytest.raises(AssertionError, match="got none: it was due at once"):
            jobs.assert_pushed(at=START)

    @pytest.mark.parametrize(
        ("like", "error"),
        [
            ({"at": START, "in_": MINUTE}, "give one of them"),
            ({"at": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - the naive datetime is the subject
            ({"states": ["done"]}, "got 'done'; a task that is done is gone"),
            ({"user": 1}, "user: no task is described by that"),
            ({"states": "ready"}, r"states: expected a list of states, such as \['ready'\]"),
            ({"times": "2"}, "times: expected how often, an int of zero or more, got '2'"),
            ({"times": -1}, "times: expected how often"),
            ({"times": True}, "times: expected how often"),
            ({"in_": 60}, r"in_: expected a timedelta, got int 60; say timedelta\(seconds="),
            ({"within": 5}, "within: expected a timedelta, got int 5"),
            ({"within": -MINUTE}, "within: expected zero or more"),
            ({"due": "yes"}, "due: expected True or False, got str 'yes'"),
            ({"priority": "5"}, "priority: expected an int, got str '5'"),
            ({"priority": True}, "priority: expected an int, got bool True"),
            ({"key": 5}, "key: expected a str, got int 5"),
            ({"headers": ["a"]}, "headers: expected a mapping, got list"),
        ],
    )
    def test_misuse_is_told(self, jobs: Jobs, like: Any, error: str) -> None:
        with pytest.raises((TypeError, ValueError), match=error):
            jobs.assert_pushed(**like)


class TestOtherAssertions:
    def test_refute_pushed(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push({"a": 1})

        jobs.refute_pushed(work={"a": 2})
        with pytest.raises(AssertionError, match=r"expected none with work=\{'a': 1\}, found 1:\n  task 1"):
            jobs.refute_pushed(work={"a": 1})

    def test_assert_one(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push({"a": 1})
        assert jobs.assert_one(work={"a": 1}).id == "1"

        store.backend().push({"a": 2})

        with pytest.raises(AssertionError, match="expected one task and no other, found 2"):
            jobs.assert_one(work={"a": 1})

    def test_assert_sequence(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend().push("b")
        store.backend().push("a", priority=1)

        assert works(jobs.assert_sequence(works=["a", str])) == ["a", "b"]
        with pytest.raises(AssertionError, match=r"differs first in place 2, task 1:\n  work: expected 'c'"):
            jobs.assert_sequence(works=["a", "c"])
        with pytest.raises(AssertionError, match=r"expected 3 tasks, found 2; missing:\n  'd'"):
            jobs.assert_sequence(works=["a", "b", "d"])
        with pytest.raises(AssertionError, match=r"expected 1 tasks, found 2; behind them:\n  task 1"):
            jobs.assert_sequence(works=["a"])

    def test_assert_nothing(self, store: TempQueue, jobs: Jobs) -> None:
        jobs.assert_nothing()
        store.backend("mail.db").push(1)
        store.backend("other.db")

        jobs.assert_nothing("other.db")
        with pytest.raises(AssertionError, match="expected nothing, found 1"):
            jobs.assert_nothing()

    def test_capture_has_what_the_block_pushed(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend("a.db").push("before")

        with jobs.capture() as new:
            store.backend("a.db").push("before")
            store.backend("a.db").push("in a")
            store.backend("b.db").push("in b")
        with jobs.capture("b.db") as none:
            store.backend("a.db").push("in a, later")

        assert new.works() == ["in a", "in b"]
        assert none == []

    @pytest.mark.parametrize("states", [["deaf"], "ready", 5])
    def test_states_there_are_not_are_told(self, jobs: Jobs, states: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="states: expected"):
            jobs.assert_nothing(states=states)
        with pytest.raises((TypeError, ValueError), match="states: expected"):
            jobs.assert_sequence(works=[], states=states)


class TestQueues:
    def test_a_path_spelled_wrongly_is_no_empty_queue(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend("mail.db").push(1)

        for call in (jobs.refute_pushed, jobs.assert_nothing, jobs.all, SyncWorker(store).drain):
            with pytest.raises(
                UnknownQueue, match=r"there is no queue at .*mial\.db; there are mail\.db; best named"
            ):
                call("mial.db")

    def test_a_work_given_as_a_queue_is_told(self, jobs: Jobs) -> None:
        with pytest.raises(UnknownQueue, match="say work= where it is what was pushed"):
            jobs.assert_pushed({"user_id": 42})

    def test_a_task_in_another_queue_is_pointed_out(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend("mail.db").push({"to": "ann"})
        store.backend("orders.db")

        with pytest.raises(AssertionError) as error:
            jobs.assert_pushed("orders.db", work={"to": "ann"})

        assert message(error)[:2] == [
            "no task with work={'to': 'ann'}",
            'another queue has it, mail.db: task 1  ready  {"to":"ann"}',
        ]

    def test_a_test_that_pushed_nothing_is_told(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend("mail.db")

        with pytest.raises(AssertionError, match=r"^no task\nnothing was pushed to any queue in this test\n"):
            jobs.assert_pushed("mail.db")

    def test_one_queue_needs_no_name_and_several_do(self, store: TempQueue, jobs: Jobs) -> None:
        store.backend("a.db").push(1)
        jobs.assert_pushed(work=1)
        store.backend("b.db").push(2)

        with pytest.raises(UnknownQueue, match=r"which queue\? there are a.db, b.db; name one"):
            jobs.assert_pushed(work=1)
        jobs.assert_pushed("a.db", work=1)
        jobs.assert_pushed(store.backend("b.db"), work=2)

    def test_what_is_no_queue_is_told(self, jobs: Jobs) -> None:
        with pytest.raises(UnknownQueue, match="7 is no queue; expected a TaskQueue"):
            jobs.assert_nothing(7)

    def test_a_store_is_empty_when_the_next_begins(self) -> None:
        for _ in range(2):
            with temp_queue() as store:
                assert store.backend("a.db").tasks() == []
                store.backend("a.db").push(1)

    def test_another_kind_of_queue_can_take_the_place(self) -> None:
        from lowq import open_backend

        with temp_queue(backend=lambda path, clock: open_backend(f"memory://{path}", clock=clock)) as store:
            store.backend().push(1)
            assert "persistent" not in store.backend().promises
            Jobs(store).assert_one(work=1)
