"""The application's own queues in a test: they are moved, one store for each, and nothing is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from journaled import Journaled

from lowq import CorruptQueue, InvalidLocation, Item, Retry, TaskQueue, task_queue
from lowq.testing import Jobs, NotPromised, SyncWorker, TempQueue, UnknownQueue, fake_clock, inline, temp_queue
from lowq.testing.queues import OpenAt

ran: list[tuple[str, Any]] = []


@task_queue("app-mail.db", retry=Retry(max_attempts=2), lease_for=timedelta(minutes=7))
def mail(queue: TaskQueue, work: Any) -> None:
    ran.append(("mail", work))
    if work == "bad":
        raise ValueError(work)


class Thumbnails(TaskQueue):
    path = "app-thumbnails.db"

    def process(self, work: Any) -> None:
        ran.append(("thumbnails", work))
        mail(f"made {work}")


class Urgent(Thumbnails):
    name = "urgent"


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture
def store(open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        yield store


only_sqlite = pytest.mark.parametrize("open_at", ["sqlite"], indirect=True)


@only_sqlite
def test_the_application_s_files_are_not_touched(store: TempQueue, tmp_path: Path) -> None:
    mail("hello")

    assert not Path("app-mail.db").exists()
    assert [kept.backend.title for kept in store.queues.values()] == ["app-mail.db"]
    assert list(store.folder.glob("*.db"))


def test_starting_starts_nothing(store: TempQueue) -> None:
    mail("hello")

    assert not mail.queue.start()
    assert mail.queue.active_pid is None
    assert ran == []


def test_each_location_and_name_has_a_store_of_its_own(store: TempQueue) -> None:
    Thumbnails().push(1)
    Urgent().push(2)
    mail(3)

    jobs = Jobs(store)
    jobs.assert_one(Thumbnails, work=1)
    jobs.assert_one(Urgent(), work=2)
    jobs.assert_one(mail, work=3)
    jobs.assert_one(mail.queue, work=3)
    jobs.assert_one(mail.queue.backend, work=3)
    jobs.assert_one(os.path.abspath("app-mail.db"), work=3)


def test_the_application_s_handlers_run(store: TempQueue) -> None:
    Thumbnails().push("cat.png")

    runs = SyncWorker(store).drain()

    assert [run.outcome for run in runs] == ["done", "done"]
    assert ran == [("thumbnails", "cat.png"), ("mail", "made cat.png")]


def test_the_application_s_own_worker_runs_on_the_clock_of_the_test(open_at: OpenAt | None) -> None:
    with fake_clock(patch="none") as clock, temp_queue(backend=open_at) as store:
        mail("bad")

        (run,) = mail.queue.worker().drain()

        assert run.at == clock.now()
        assert run.next_due is not None
        assert run.next_due > clock.now()
        assert SyncWorker(store).drain() == []


def test_the_application_s_retry_policy_holds(store: TempQueue) -> None:
    worker = SyncWorker(store)
    mail("bad")

    assert worker.run_one().outcome == "retry"
    assert worker.perform(mail, "bad", attempt=2).outcome == "dead"


def test_a_lease_is_as_long_as_the_application_s(store: TempQueue) -> None:
    mail("hello")
    before = store.clock.now()

    lease = SyncWorker(store).crash(at="before")

    assert timedelta(minutes=7) <= lease.expires - before <= timedelta(minutes=8)


def test_performing_a_class_makes_its_queue(store: TempQueue) -> None:
    assert SyncWorker(store).perform(Thumbnails, "cat.png").outcome == "done"
    assert ran == [("thumbnails", "cat.png")]


def test_inline_mode_runs_the_application(store: TempQueue) -> None:
    with inline():
        Thumbnails().push("cat.png")

    assert ran == [("thumbnails", "cat.png"), ("mail", "made cat.png")]


def test_outside_the_queues_are_where_they_were() -> None:
    with temp_queue():
        inside = mail.queue.backend
        with temp_queue():
            assert mail.queue.backend is not inside
        assert mail.queue.backend is inside


def test_a_store_outlives_a_close_of_the_application(store: TempQueue) -> None:
    mail("hello")
    mail.queue.close()
    mail.queue.backend.close()

    Jobs(store).assert_one(mail, work="hello")


@only_sqlite
def test_another_dedupe_than_the_first_is_refused(store: TempQueue) -> None:
    @task_queue("same.db", dedupe="off")
    def first(queue: TaskQueue, work: Any) -> None: ...

    first.queue.push(1)
    first.queue.dedupe = "until_done"

    with pytest.raises(InvalidLocation, match="made with dedupe='off', not 'until_done'"):
        first.queue.push(2)


def test_a_queue_that_nobody_handles_is_named(store: TempQueue) -> None:
    store.backend("stranger.db").push(1)

    with pytest.raises(UnknownQueue, match=r"nobody knows how to run the tasks of stranger\.db"):
        SyncWorker(store).drain()


def damage(file: Path) -> None:
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(whole[:middle] + b"\xaa" * 4096 + whole[middle + 4096 :])


def test_a_damaged_store_fails_the_test(tmp_path: Path) -> None:
    store = temp_queue(tmp_path)
    store.__enter__()
    mail.queue.push(*(f"{number} {'x' * 300}" for number in range(200)))
    mail.queue.backend.backend.close()  # type: ignore[attr-defined]
    (file,) = tmp_path.glob("app-mail-*.db")
    damage(file)

    with pytest.raises(CorruptQueue, match=r"app-mail-.*\.db is damaged"):
        store.__exit__(None, None, None)


def test_a_store_that_was_damaged_before_it_was_used_fails_the_test(tmp_path: Path) -> None:
    store = temp_queue(tmp_path)
    store.__enter__()
    assert mail.queue.backend.count().ready == 0
    mail.queue.backend.backend.close()  # type: ignore[attr-defined]
    (file,) = tmp_path.glob("app-mail-*.db")
    damage(file)

    with pytest.raises(CorruptQueue, match=r"app-mail-.*\.db is damaged"):
        store.__exit__(None, None, None)


class Plain(Journaled):
    """A stranger's queue that keeps works in order, and promises no more."""

    promises = frozenset({"fifo"})


MINUTE = timedelta(minutes=1)
NEEDS: dict[str, Callable[[TempQueue], object]] = {
    "not_before": lambda store: store.backend().push(1, not_before=store.clock.now() + MINUTE),
    "priority": lambda store: store.backend().push_many([Item(1), Item(2, priority=1)]),
    "key": lambda store: store.backend().push(1, key="a"),
    "inspect": lambda store: Jobs(store).assert_pushed(work=1),
    "lease": lambda store: SyncWorker(store).crash(at="before"),
    "release": lambda store: SyncWorker(store).run_one(),
}


@pytest.mark.parametrize("promise", NEEDS)
def test_what_a_stranger_s_queue_does_not_promise_is_refused_by_name(promise: str) -> None:
    def fail(_: object) -> None:
        raise ValueError

    with temp_queue(backend=Plain) as store:
        store.backend().push("first")
        store.handle(None, fail)

        with pytest.raises(NotPromised, match=rf"queue\.db: .* needs a queue that promises {promise}; .*fifo"):
            NEEDS[promise](store)


def test_a_queue_that_cannot_be_looked_at_runs_its_tasks() -> None:
    works: list[Any] = []
    with temp_queue(backend=Plain) as store:
        store.backend().push("a")
        store.handle(None, works.append)

        assert [run.outcome for run in SyncWorker(store).drain()] == ["done"]
    assert works == ["a"]
