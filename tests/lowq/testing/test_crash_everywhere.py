"""A worker that dies at each line of a handler in turn: what is looked at, which line is named, what is refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from lowq import FakeClock, Retry
from lowq.testing import (
    ClockError,
    CrashBroke,
    CrashMissed,
    NothingDue,
    SyncWorker,
    TempQueue,
    TooManyRuns,
    fake_clock,
    temp_queue,
)

Event = tuple[str, str]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_clock(patch="none") as clock:
        yield clock


@pytest.fixture
def store(clock: FakeClock) -> Iterator[TempQueue]:
    with temp_queue(clock=clock) as store:
        yield store


@pytest.fixture
def worker(store: TempQueue) -> SyncWorker:
    return SyncWorker(store)


class Shop:
    """A world of which everything can be looked at and begun anew."""

    def __init__(self, store: TempQueue) -> None:
        self.store = store
        self.events: list[str] = []

    def arrange(self) -> None:
        self.events.clear()
        self.store.backend().push("ann")

    def is_charged_once(self) -> bool:
        return self.events.count("charge") == 1

    def charge_first(self, _: object) -> None:
        self.events.append("charge")
        self.events.append("receipt")

    def charge_last(self, _: object) -> None:
        self.events.append("receipt")
        self.events.append("charge")

    def charge_with_a_look(self, _: object) -> None:
        if "charge" not in self.events:
            self.events.append("charge")
        self.events.append("receipt")

    async def charge_and_wait(self, _: object) -> None:
        self.events.append("charge")
        self.events.append("receipt")


def line(function: Callable[..., object], text: str) -> str:
    """Where that line of the function is, as it is told."""
    lines, first = inspect.getsourcelines(function)
    number = first + next(at for at, each in enumerate(lines) if text in each)
    return f"{__file__.rpartition('/')[2]}:{number} `{lines[number - first].strip()}`"


@pytest.fixture
def shop(store: TempQueue) -> Shop:
    return Shop(store)


def test_a_handler_that_looks_first_survives_a_crash_at_each_of_its_lines(
    store: TempQueue, shop: Shop, worker: SyncWorker
) -> None:
    handler = shop.charge_with_a_look
    store.handle(None, handler)

    places = worker.crash_everywhere(shop.is_charged_once, arrange=shop.arrange)

    texts = ('if "charge"', 'append("charge")', 'append("receipt")')
    assert places == [line(handler, text) for text in texts]
    assert store.backend().count().ready == 0


@pytest.mark.parametrize("name", ["charge_first", "charge_and_wait"])
def test_the_line_before_which_the_worker_was_killed_is_named(
    name: str, store: TempQueue, shop: Shop, worker: SyncWorker
) -> None:
    handler = getattr(shop, name)
    store.handle(None, handler)

    with pytest.raises(CrashBroke) as caught:
        worker.crash_everywhere(shop.is_charged_once, arrange=shop.arrange)

    said = str(caught.value)
    assert f"the worker was killed before {line(handler, 'receipt')}, task " in said
    assert said.endswith("was delivered again, and then the check answered False")
    assert isinstance(caught.value, AssertionError)


def test_a_crash_behind_the_last_line_is_one_too(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    store.handle(None, shop.charge_last)

    with pytest.raises(CrashBroke, match="killed behind the handler's last line, before the ack, task"):
        worker.crash_everywhere(shop.is_charged_once, arrange=shop.arrange)


def test_what_the_check_raised_is_told_and_is_the_cause(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    store.handle(None, shop.charge_first)

    def check() -> None:
        if not shop.is_charged_once():
            raise LookupError(f"{len(shop.events)} events")

    with pytest.raises(CrashBroke, match="the check failed: LookupError: 3 events") as caught:
        worker.crash_everywhere(check, arrange=shop.arrange)

    assert isinstance(caught.value.__cause__, LookupError)


def test_without_an_arrangement_an_equal_task_is_pushed_each_time(
    store: TempQueue, shop: Shop, worker: SyncWorker
) -> None:
    store.handle(None, shop.charge_with_a_look)
    store.backend().push("ann", key="k", priority=3, headers={"tenant": "7"})

    worker.crash_everywhere(shop.is_charged_once)

    tasks = {(run.task.work, run.task.key, run.task.priority, run.task.headers["tenant"]) for run in worker.runs}
    assert tasks == {("ann", "k", 3, "7")}
    assert len({run.task.id for run in worker.runs}) == 3  # who was charged once is not charged at a line again


def test_without_an_arrangement_a_failure_says_that_the_world_is_as_it_was_left(
    store: TempQueue, shop: Shop, worker: SyncWorker
) -> None:
    store.handle(None, shop.charge_first)
    store.backend().push("ann")

    with pytest.raises(CrashBroke, match=r"answered False \(the world is as earlier crashes left it: arrange="):
        worker.crash_everywhere(shop.is_charged_once)


def test_a_retry_after_the_crash_has_ended_before_the_check(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    def handler(_: object) -> None:
        if shop.events.count("tried") % 2:
            shop.events.append("tried")
            raise ConnectionError
        shop.events.append("tried")
        shop.events.append("done")

    store.handle(None, handler, retry=Retry(max_attempts=9))

    worker.crash_everywhere(lambda: "done" in shop.events, arrange=shop.arrange)


def test_tasks_of_other_queues_run_too_before_the_check(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    orders, parcels = store.backend("orders.db"), store.backend("parcels.db")

    def handler(_: object) -> None:
        parcels.push("parcel")

    store.handle("orders.db", handler)
    store.handle("parcels.db", shop.events.append)

    def arrange() -> None:
        shop.events.clear()
        orders.push("ann")

    worker.crash_everywhere(lambda: "parcel" in shop.events, arrange=arrange, queue="orders.db")


def test_a_loop_is_killed_each_time_round_and_bounded(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    def handler(_: object) -> None:
        for number in range(3):
            shop.events.append(f"step {number}")

    store.handle(None, handler)

    assert len(worker.crash_everywhere(lambda: None, arrange=shop.arrange)) == 7
    with pytest.raises(TooManyRuns, match="the handler has run 5 lines and has not come to its end"):
        worker.crash_everywhere(lambda: None, arrange=shop.arrange, max_lines=5)


def test_what_cannot_be_played_is_refused(store: TempQueue, shop: Shop, worker: SyncWorker) -> None:
    def catches(_: object) -> None:
        try:
            shop.events.append("a")
        except BaseException:
            shop.events.append("caught")

    with pytest.raises(NothingDue):
        worker.crash_everywhere(shop.is_charged_once)
    with pytest.raises(ValueError, match="max_lines: expected 1 or more, got 0"):
        worker.crash_everywhere(shop.is_charged_once, max_lines=0)
    store.handle(None, catches)
    with pytest.raises(CrashMissed, match="caught the crash"):
        worker.crash_everywhere(lambda: None, arrange=shop.arrange)


def test_without_a_fake_clock_it_is_refused_before_anything_is_pushed(tmp_path: object) -> None:
    with temp_queue() as store:
        pushed: list[timedelta] = []

        with pytest.raises(ClockError, match="only a fake clock can be moved"):
            SyncWorker(store).crash_everywhere(lambda: None, arrange=lambda: pushed.append(timedelta()))

        assert pushed == []
