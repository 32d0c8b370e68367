"""Inline mode: what is pushed runs before the push returns, as a real worker would run it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import StrEnum
from typing import Any

import pytest

from lowq import FakeClock, InvalidWork, Item, OwnWork, Retry, State
from lowq.testing import Inline, Jobs, LossyWork, TempQueue, fake_clock, inline, temp_queue
from lowq.testing.clock import START
from lowq.testing.queues import OpenAt

MINUTE = timedelta(minutes=1)


class Colour(StrEnum):
    RED = "red"


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_clock(patch="none") as clock:
        yield clock


@pytest.fixture
def store(clock: FakeClock, open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        store.backend()
        yield store


@pytest.fixture
def mode(store: TempQueue) -> Iterator[Inline]:
    with inline(store) as mode:
        yield mode


@pytest.mark.usefixtures("mode")
class TestRunning:
    def test_a_push_has_run_when_it_returns(self, store: TempQueue) -> None:
        ran: list[Any] = []
        store.handle(None, ran.append)

        store.backend().push({"a": [1]})

        assert ran == [{"a": [1]}]
        assert store.backend().tasks() == []

    def test_the_task_is_visible_and_leased_while_it_runs(self, store: TempQueue) -> None:
        seen = []
        store.handle(None, lambda _: seen.extend(store.backend().tasks()))

        store.backend().push(1)

        assert [(task.state, task.attempts) for task in seen] == [(State.LEASED, 1)]

    def test_children_run_after_their_parent_is_acked_first_in_first_out(self, store: TempQueue) -> None:
        order = []

        def handler(work: str) -> None:
            order.append(f"begin {work}")
            if len(work) < 3:
                for child in "12":
                    store.backend().push(work + child)
                order.append(f"standing {store.backend().count().leased}")
            order.append(f"end {work}")

        store.handle(None, handler)

        store.backend().push("a")

        assert order[:4] == ["begin a", "standing 1", "end a", "begin a1"]
        assert [each for each in order if each.startswith("begin")] == [
            f"begin {work}" for work in ("a", "a1", "a2", "a11", "a12", "a21", "a22")
        ]

    def test_a_long_chain_of_children_is_no_recursion(self, store: TempQueue) -> None:
        store.handle(None, lambda work: work and store.backend().push(work - 1))

        store.backend().push(1100)

        assert store.backend().tasks() == []

    def test_the_handler_gets_fresh_objects(self, store: TempQueue) -> None:
        work: dict[str, list[int]] = {"a": []}
        store.handle(None, lambda got: got["a"].append(1))

        store.backend().push(work)

        assert work == {"a": []}

    def test_due_times_wait_for_the_clock(self, store: TempQueue, clock: FakeClock, mode: Inline) -> None:
        ran: list[Any] = []
        store.handle(None, ran.append)
        store.backend().push("later", not_before=START + MINUTE)
        assert ran == []

        clock.advance(MINUTE)
        assert ran == []
        mode.worker.drain()

        assert ran == ["later"]

    def test_a_batch_is_kept_whole_before_its_first_task_runs(self, store: TempQueue) -> None:
        waiting = []
        store.handle(None, lambda _: waiting.append(store.backend().count().ready))

        store.backend().push_many([Item(1), Item(2), Item(3, priority=1)])

        assert waiting == [2, 1, 0]

    def test_a_duplicate_is_refused_while_its_equal_runs(self, store: TempQueue) -> None:
        answers = []
        store.handle(None, lambda work: answers.append(store.backend().push(work).added))

        with pytest.warns(OwnWork):
            assert store.backend().push("a").added
        assert answers == [False]

    def test_what_is_not_json_is_refused_at_the_push(self, store: TempQueue) -> None:
        store.handle(None, print)

        with pytest.raises(InvalidWork, match=r"work\.when: object is not JSON"):
            store.backend().push({"when": object()})

    def test_what_another_thread_pushes_runs_too(self, store: TempQueue) -> None:
        ran: list[Any] = []
        store.handle(None, ran.append)
        threads = [threading.Thread(target=store.backend().push, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        store.backend().push("last")

        assert sorted(map(str, ran)) == sorted(map(str, [*range(8), "last"]))

    def test_threads_run_their_own_pushes_side_by_side(self, store: TempQueue) -> None:
        """Each handler waits for the other thread's: one after the other they would never return."""
        ran: dict[str, int] = {}
        together = threading.Barrier(4)

        def handler(work: str) -> None:
            together.wait(60)
            ran[work] = threading.get_ident()

        store.handle(None, handler)

        def push(work: str) -> tuple[bool, int]:
            store.backend().push(work)
            return work in ran, threading.get_ident()

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(push, "abcd"))

        assert answers == [(True, ran[work]) for work in "abcd"]

    def test_what_a_thread_of_the_handler_pushes_has_run_too(self, store: TempQueue) -> None:
        ran: list[str] = []

        def handler(work: str) -> None:
            if work == "parent":
                child = threading.Thread(target=store.backend().push, args=("child",), daemon=True)
                child.start()
                child.join(60)
            ran.append(work)

        store.handle(None, handler)

        store.backend().push("parent")

        assert sorted(ran) == ["child", "parent"]

    def test_an_older_task_does_not_take_a_push_s_place(self, store: TempQueue, clock: FakeClock) -> None:
        ran: list[str] = []
        store.handle(None, ran.append)
        store.backend().push("later", not_before=START + MINUTE)
        clock.advance(MINUTE)

        store.backend().push("now")

        assert ran == ["later", "now"]

    def test_capture_sees_what_has_run(self, store: TempQueue) -> None:
        store.handle(None, lambda work: work == "parent" and store.backend().push("child"))

        with Jobs(store).capture() as new:
            store.backend().push("parent")

        assert new.works() == ["parent", "child"]


class TestErrors:
    def failing(self, store: TempQueue) -> None:
        def handler(work: object) -> None:
            raise ValueError(f"no user {work}")

        store.handle(None, handler, retry=Retry(max_attempts=3))

    @pytest.mark.usefixtures("mode")
    def test_an_error_is_recorded_and_reaches_whoever_pushed(self, store: TempQueue) -> None:
        self.failing(store)

        with pytest.raises(ValueError, match="no user 7") as error:
            store.backend().push(7)

        (note,) = error.value.__notes__
        assert note.startswith("raised by task 1 of queue.db, attempt 1 of 3; it would run again in ")
        (task,) = store.backend().tasks()
        assert (task.state, task.attempts) == (State.SCHEDULED, 1)
        assert "no user 7" in (task.reason or "")

    @pytest.mark.usefixtures("mode")
    def test_an_error_reaches_its_own_pusher_among_threads(self, store: TempQueue) -> None:
        def handler(work: int) -> None:
            if work % 2:
                raise ValueError(f"no user {work}")

        store.handle(None, handler, retry=Retry(max_attempts=1))

        def push(work: int) -> str | None:
            try:
                store.backend().push(work)
            except ValueError as error:
                return str(error)
            return None

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(push, range(48)))

        assert answers == [f"no user {work}" if work % 2 else None for work in range(48)]
        assert sorted(task.attempts for task in store.backend().tasks()) == [1] * 24

    @pytest.mark.usefixtures("mode")
    def test_the_error_of_an_older_task_is_not_the_pusher_s(self, store: TempQueue, clock: FakeClock) -> None:
        def handler(work: str) -> None:
            if work == "old":
                raise ValueError(work)

        store.handle(None, handler, retry=Retry(max_attempts=2))
        with pytest.raises(ValueError, match="old"):
            store.backend().push("old")
        clock.advance(MINUTE * 60)

        store.backend().push("new")

        assert [(task.work, task.state) for task in store.backend().tasks()] == [("old", State.DEAD)]

    @pytest.mark.usefixtures("mode")
    def test_the_other_tasks_of_a_batch_run_all_the_same(self, store: TempQueue) -> None:
        self.failing(store)

        with pytest.raises(ValueError, match="no user 1") as error:
            store.backend().push_many([Item(1), Item(2)])

        assert error.value.__notes__[1] == "task 2 of queue.db failed too: ValueError: no user 2"
        assert store.backend().count().scheduled == 2

    def test_recorded_errors_stay_on_the_task(self, store: TempQueue) -> None:
        self.failing(store)

        with inline(store, on_error="record"):
            store.backend().push(7)

        assert store.backend().count().scheduled == 1

    @pytest.mark.usefixtures("mode")
    def test_a_last_attempt_says_that_the_task_is_dead(self, store: TempQueue) -> None:
        def handler(_: object) -> None:
            raise ValueError("no")

        store.handle(None, handler, retry=Retry(max_attempts=1))

        with pytest.raises(ValueError, match="no") as error:
            store.backend().push(7)

        assert error.value.__notes__ == ["raised by task 1 of queue.db, attempt 1 of 1; it is dead now"]


class TestLossyWorks:
    @pytest.mark.parametrize(
        ("work", "said"),
        [
            ((1, 2), r"^work: the tuple \(1, 2\) is a list in JSON"),
            ({"a": [{"b c": (1,)}]}, r"^work\.a\[0\]\['b c'\]: the tuple \(1,\) is a list in JSON"),
            ({"colour": Colour.RED}, r"^work\.colour: the Colour <Colour.RED: 'red'> is a plain str in JSON"),
        ],
    )
    def test_a_work_that_json_changes_warns_or_is_refused(self, store: TempQueue, work: Any, said: str) -> None:
        store.handle(None, lambda _: None)

        with inline(store), pytest.warns(LossyWork, match=said) as warned:
            store.backend().push(work)
        with inline(store, lossy="strict"), pytest.raises(InvalidWork, match=said):
            store.backend().push_many([Item(work)])

        assert warned[0].filename == __file__

    @pytest.mark.usefixtures("mode")
    def test_a_work_that_json_keeps_does_neither(self, store: TempQueue) -> None:
        store.handle(None, lambda _: None)

        store.backend().push({"a": [1, 1.5, None, True, "x", {"b": []}]})


def test_inline_mode_ends_with_its_block(store: TempQueue) -> None:
    ran: list[Any] = []
    store.handle(None, ran.append)
    with inline(store):
        store.backend().push(1)
    store.backend().push(2)

    assert ran == [1]


def test_inline_mode_brings_a_store_of_its_own() -> None:
    ran: list[Any] = []
    with inline() as mode:
        assert mode.worker.drain() == []
        assert ran == []


@pytest.mark.parametrize("options", [{"on_error": "ignore"}, {"lossy": "maybe"}])
def test_misuse_is_told(options: Any) -> None:
    with pytest.raises(ValueError, match="expected"), inline(**options):
        pass
