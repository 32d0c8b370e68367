"""What a worker does with the tasks of a queue, in its own thread and process.

Long: each outcome of a run has a class of its own.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from backends import BACKENDS, kept_at

from lowq import (
    Backend,
    BackendUnavailable,
    CorruptQueue,
    FakeClock,
    Item,
    Lease,
    LeaseLost,
    Retry,
    Run,
    State,
    Worker,
    open_backend,
)
from lowq.backend import QueueGone
from lowq.worker.stopping import Stopping

MINUTE = timedelta(minutes=1)
BOUND = 20.0
"""Seconds after which a test that waits for an event has failed."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Backend]:
    where = kept_at(request, tmp_path, clock)
    backend = open_backend(where, clock=clock)
    yield backend
    backend.close()


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Backend]:
    backend = open_backend(tmp_path / "real.db")
    yield backend
    backend.close()


def fail(work: Any) -> None:
    raise RuntimeError(f"cannot do {work}")


def fail_for(queue: object, work: Any) -> None:
    fail(work)


def do_nothing(work: Any) -> None: ...


def outcomes(runs: list[Run]) -> list[tuple[object, str]]:
    return [(run.task.work, run.outcome) for run in runs]


def test_run_one_runs_the_most_urgent_task_and_it_is_gone(queue: Backend, clock: FakeClock) -> None:
    seen: list[object] = []
    queue.push("later")
    queue.push("first", priority=1)

    run = Worker(queue, seen.append, clock=clock).run_one()

    assert seen == ["first"]
    assert run is not None
    assert (run.task.work, run.outcome, run.error, run.at, run.next_due) == ("first", "done", None, clock.now(), None)
    assert [task.work for task in queue.tasks()] == ["later"]


def test_run_one_says_none_when_nothing_is_due(queue: Backend, clock: FakeClock) -> None:
    queue.push("later", not_before=clock.now() + MINUTE)

    assert Worker(queue, fail, clock=clock).run_one() is None


def test_drain_runs_what_is_due_in_order_with_what_the_handlers_push(queue: Backend, clock: FakeClock) -> None:
    def handler(work: int) -> None:
        if work < 3:
            queue.push(work + 10)

    queue.push_many([Item(1), Item(2), Item(3), Item("not yet", not_before=clock.now() + MINUTE)])

    runs = Worker(queue, handler, clock=clock).drain()

    assert outcomes(runs) == [(1, "done"), (2, "done"), (3, "done"), (11, "done"), (12, "done")]
    assert [task.work for task in queue.tasks()] == ["not yet"]


def test_a_task_that_raises_stops_no_other_and_waits_for_its_next_attempt(queue: Backend, clock: FakeClock) -> None:
    def handler(work: str) -> None:
        if work == "bad":
            fail(work)

    queue.push_many([Item("bad"), Item("good")])
    worker = Worker(queue, handler, retry=Retry(first=timedelta(seconds=8)), random=Random(1), clock=clock)

    runs = worker.drain()

    assert outcomes(runs) == [("bad", "retry"), ("good", "done")]
    assert isinstance(runs[0].error, RuntimeError)
    assert runs[0].next_due is not None
    assert timedelta(seconds=4) <= runs[0].next_due - clock.now() <= timedelta(seconds=8)
    (task,) = queue.tasks()
    assert (task.state, task.not_before, task.attempts) == (State.SCHEDULED, runs[0].next_due, 1)
    assert task.reason is not None
    assert task.reason.endswith("RuntimeError: cannot do bad\n")
    assert "in handler\n    fail(work)" in task.reason
    assert "lowq/worker/executor.py" not in task.reason


def test_delays_grow_and_are_jittered(queue: Backend, clock: FakeClock) -> None:
    queue.push("bad")
    retry = Retry(max_attempts=9, first=timedelta(seconds=8), factor=2, longest=timedelta(seconds=40))
    worker = Worker(queue, fail, retry=retry, random=Random(5), clock=clock)
    delays = []

    for _ in range(4):
        run = worker.run_one()
        assert run is not None
        assert run.next_due is not None
        delays.append(run.next_due - clock.now())
        clock.move_to(run.next_due)

    twin = Random(5)
    assert delays == [retry.delay(attempt, twin) for attempt in (1, 2, 3, 4)]


def test_after_the_last_attempt_the_task_is_dead_with_the_traceback(queue: Backend, clock: FakeClock) -> None:
    queue.push("bad")
    worker = Worker(queue, fail, retry=Retry(max_attempts=2, first=timedelta(0)), clock=clock)

    runs = worker.drain()

    assert outcomes(runs) == [("bad", "retry"), ("bad", "dead")]
    assert runs[1].next_due is None
    (task,) = queue.tasks()
    assert (task.state, task.attempts) == (State.DEAD, 2)
    assert "RuntimeError: cannot do bad" in (task.reason or "")


def test_a_task_whose_workers_were_killed_too_often_is_dead_without_running(queue: Backend, clock: FakeClock) -> None:
    queue.push("deadly")
    for _ in range(2):
        assert queue.claim(lease_for=MINUTE) is not None
        clock.advance(MINUTE)

    run = Worker(queue, pytest.fail, retry=Retry(max_attempts=2), clock=clock).run_one()

    assert run is not None
    assert (run.outcome, run.error) == ("dead", None)
    (task,) = queue.tasks()
    assert task.state is State.DEAD
    assert task.reason == "its worker was killed or lost, or its handler put it off, in each of 2 attempts"
    assert task.attempts == 3  # claims, the one that set it aside included


@pytest.mark.parametrize(
    ("had", "allowed", "reason"),
    [
        (1, 1, "in its only attempt"),
        (2, 2, "in each of 2 attempts"),
        (4, 1, "in each of 4 attempts, and max_attempts is 1 now"),
    ],
)
def test_the_reason_counts_the_attempts_that_there_were(
    queue: Backend, clock: FakeClock, had: int, allowed: int, reason: str
) -> None:
    queue.push("deadly")
    for _ in range(had):
        assert queue.claim(lease_for=MINUTE) is not None
        clock.advance(MINUTE)

    run = Worker(queue, pytest.fail, retry=Retry(max_attempts=allowed), clock=clock).run_one()

    assert run is not None
    assert (run.task.attempts, run.attempt) == (had + 1, had)
    (task,) = queue.tasks()
    assert task.reason == f"its worker was killed or lost, or its handler put it off, {reason}"


def test_the_last_reason_stays_on_a_task_whose_later_workers_were_killed(queue: Backend, clock: FakeClock) -> None:
    queue.push("deadly")
    first = queue.claim(lease_for=MINUTE)
    assert first is not None
    queue.release(first, reason="what went wrong before")
    assert queue.claim(lease_for=MINUTE) is not None
    clock.advance(MINUTE)

    Worker(queue, pytest.fail, retry=Retry(max_attempts=2), clock=clock).run_one()

    assert [(task.state, task.reason) for task in queue.tasks()] == [(State.DEAD, "what went wrong before")]


def test_a_task_that_went_to_somebody_else_meanwhile_is_lost_and_left_to_them(
    queue: Backend, clock: FakeClock
) -> None:
    others: list[Lease | None] = []

    def slow(work: object) -> None:
        del work
        clock.advance(timedelta(hours=1))
        others.append(queue.claim(lease_for=timedelta(hours=1)))

    queue.push("slow")
    # A lease that the worker renews by itself could not be taken; this one ends while the worker cannot know.
    worker = Worker(_WithoutExtend(queue), slow, clock=clock)

    run = worker.run_one()

    assert run is not None
    assert (run.outcome, run.error, run.next_due) == ("lost", None, None)
    assert others[0] is not None
    queue.ack(others[0])


@pytest.mark.parametrize("handler", [do_nothing, fail], ids=["done", "failed"])
def test_a_lost_task_is_settled_by_nobody_here(
    queue: Backend, clock: FakeClock, handler: Callable[[Any], None]
) -> None:
    def overtaken(work: object) -> None:
        clock.advance(timedelta(hours=1))
        other = queue.claim(lease_for=MINUTE)
        assert other is not None
        queue.release(other, reason="theirs")
        handler(work)

    queue.push("slow")

    run = Worker(_WithoutExtend(queue), overtaken, clock=clock).run_one()

    assert run is not None
    assert run.outcome == "lost"
    assert [(task.state, task.reason) for task in queue.tasks()] == [(State.READY, "theirs")]


def test_sys_exit_in_a_handler_is_a_failure_of_its_task_only(queue: Backend, clock: FakeClock) -> None:
    def command(work: object) -> None:
        if work == "leaves":
            raise SystemExit(0)

    queue.push_many([Item("leaves"), Item("other")])

    assert outcomes(Worker(queue, command, clock=clock).drain()) == [("leaves", "retry"), ("other", "done")]


def test_an_interrupted_task_is_given_back_uncounted_and_the_interruption_goes_on(
    queue: Backend, clock: FakeClock
) -> None:
    def interrupted(work: object) -> None:
        raise KeyboardInterrupt

    told: list[Run] = []
    queue.push("in hand")

    with pytest.raises(KeyboardInterrupt):
        Worker(queue, interrupted, clock=clock, on_run=told.append).drain()

    assert outcomes(told) == [("in hand", "released")]
    assert [(task.state, task.attempts) for task in queue.tasks()] == [(State.READY, 0)]


def test_a_reason_that_no_storage_could_keep_is_made_fit(queue: Backend, clock: FakeClock) -> None:
    def handler(work: object) -> None:
        raise RuntimeError("\udcff" + "x" * 100_000 + "the end")

    queue.push("bad")

    Worker(queue, handler, clock=clock).run_one()

    (task,) = queue.tasks()
    assert task.reason is not None
    assert "\\udcff" in task.reason
    assert task.reason.endswith("the end\n")
    assert len(task.reason) < 21_000


def test_on_run_is_told_of_each_run_after_it_was_settled(queue: Backend, clock: FakeClock) -> None:
    told = []
    queue.push_many([Item(1), Item(2)])

    runs = Worker(
        queue, do_nothing, clock=clock, on_run=lambda run: told.append((run, queue.task(run.task.id)))
    ).drain()

    assert told == [(run, None) for run in runs]


def test_the_lease_of_a_long_task_is_renewed(real: Backend) -> None:
    """The task takes three leases; nobody else may get it."""
    lease_for = timedelta(seconds=0.3)
    stolen: list[Lease | None] = []

    def slow(work: object) -> None:
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            stolen.append(real.claim(lease_for=MINUTE, wait=timedelta(seconds=0.05)))

    real.push("slow")

    run = Worker(real, slow, lease_for=lease_for).run_one()

    assert run is not None
    assert run.outcome == "done"
    assert set(stolen) == {None}


def test_no_thread_is_left_after_a_drain(real: Backend) -> None:
    before = threading.active_count()
    during = []
    real.push_many([Item(1), Item(2)])

    Worker(real, lambda _: during.append(threading.active_count())).drain()

    assert during == [before + 1] * 2
    assert threading.active_count() == before


def test_run_forever_waits_for_work_and_ends_when_it_is_stopped(real: Backend) -> None:
    done = threading.Event()
    worker = Worker(real, lambda _: done.set())
    thread = threading.Thread(target=worker.run_forever)
    thread.start()

    real.push("work")
    assert done.wait(BOUND)
    worker.stop()
    thread.join(BOUND)

    assert not thread.is_alive()
    assert real.count().leased == 0


def test_an_idle_worker_is_woken_by_a_push_and_does_not_poll_for_it(tmp_path: Path) -> None:
    """Were it to look every half second, half of the pushes would wait for a quarter of a second or more."""
    waited = []
    begun = threading.Event()

    def work_off() -> None:
        with closing(open_backend(tmp_path / "q.db")) as queue:
            workers.append(Worker(queue, lambda _: begun.set()))
            workers[0].run_forever()

    workers: list[Worker] = []
    thread = threading.Thread(target=work_off)
    thread.start()
    with closing(open_backend(tmp_path / "q.db")) as queue:
        for number in range(15):
            begun.clear()
            queue.push(number)
            pushed = time.monotonic()
            assert begun.wait(BOUND)
            waited.append(time.monotonic() - pushed)
            while queue.tasks():
                time.sleep(0.005)
    workers[0].stop()
    thread.join(BOUND)

    assert sorted(waited)[7] < 0.15


def test_a_worker_that_was_stopped_before_it_ran_runs_nothing(real: Backend) -> None:
    real.push("work")
    worker = Worker(real, pytest.fail)

    worker.stop()
    worker.run_forever()

    assert real.count().ready == 1


def test_run_while_due_ends_when_nothing_is_expected_soon(real: Backend) -> None:
    clock = FakeClock()
    real.push("soon", not_before=clock.now() + MINUTE)
    assert Worker(real, fail, clock=clock).expects(MINUTE)
    assert not Worker(real, fail, clock=clock).expects(MINUTE / 2)

    Worker(real, fail, clock=clock).run_while_due(MINUTE / 2)


def test_run_while_due_waits_for_a_lease_of_somebody_who_may_be_dead(tmp_path: Path) -> None:
    clock = FakeClock()
    queue = open_backend(tmp_path / "q.db", clock=clock)
    queue.push("left behind")
    assert queue.claim(lease_for=timedelta(hours=3)) is not None
    seen: list[object] = []
    thread = threading.Thread(target=Worker(queue, seen.append, clock=clock).run_while_due, args=(MINUTE,))

    thread.start()
    clock.advance(timedelta(hours=3))
    thread.join(BOUND)

    assert seen == ["left behind"]
    queue.close()


class TestSignals:
    """run_forever in the main thread, which is this one."""

    def test_the_first_sigterm_lets_the_task_in_hand_end(self, real: Backend) -> None:
        told: list[Run] = []

        def handler(work: object) -> None:
            signal.raise_signal(signal.SIGTERM)

        real.push_many([Item("in hand"), Item("next")])

        Worker(real, handler, on_run=told.append).run_forever()

        assert outcomes(told) == [("in hand", "done")]
        assert [(task.work, task.state, task.attempts) for task in real.tasks()] == [("next", State.READY, 0)]

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_the_second_signal_gives_the_task_back_uncounted(self, real: Backend, number: int) -> None:
        told: list[Run] = []
        cleaned = []

        def handler(work: object) -> None:
            try:
                signal.raise_signal(number)
                signal.raise_signal(number)
                time.sleep(BOUND)
            except Exception:
                pytest.fail("Stopping is no Exception")
            finally:
                cleaned.append(work)

        real.push("in hand")

        Worker(real, handler, on_run=told.append).run_forever()

        assert outcomes(told) == [("in hand", "released")]
        assert isinstance(told[0].error, Stopping)
        assert cleaned == ["in hand"]
        assert [(task.state, task.attempts) for task in real.tasks()] == [(State.READY, 0)]

    def test_at_the_end_of_its_grace_the_task_is_given_back(self, real: Backend) -> None:
        def handler(work: object) -> None:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(BOUND)

        told: list[Run] = []
        real.push("in hand")
        began = time.monotonic()

        Worker(real, handler, grace=timedelta(seconds=0.2), on_run=told.append).run_forever()

        assert outcomes(told) == [("in hand", "released")]
        assert time.monotonic() - began < BOUND / 2

    def test_a_handler_that_cleans_up_is_interrupted_once(self, real: Backend) -> None:
        cleaned = []

        def handler(work: object) -> None:
            try:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(BOUND)
            finally:
                time.sleep(0.3)
                cleaned.append(work)

        real.push("in hand")

        worker = Worker(real, handler, grace=timedelta(seconds=0.05), lease_for=timedelta(seconds=0.3))
        worker.run_forever()

        assert cleaned == ["in hand"]

    def test_stop_from_another_thread_interrupts_too_when_called_twice(self, real: Backend) -> None:
        told: list[Run] = []

        def stop_twice() -> None:
            worker.stop()
            worker.stop()

        def handler(work: object) -> None:
            threading.Thread(target=stop_twice).start()
            time.sleep(BOUND)

        real.push("in hand")
        worker = Worker(real, handler, on_run=told.append)

        worker.run_forever()

        assert outcomes(told) == [("in hand", "released")]

    def test_the_signal_handlers_are_as_before(self, real: Backend) -> None:
        def mine(*_: object) -> None: ...

        before = signal.signal(signal.SIGTERM, mine)
        try:
            real.push("work")
            Worker(real, lambda _: signal.raise_signal(signal.SIGTERM)).run_forever()
            assert signal.getsignal(signal.SIGTERM) is mine
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_a_sigint_that_was_ignored_stays_ignored(self, real: Backend) -> None:
        told: list[Run] = []

        def handler(work: object) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            worker.stop()

        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            real.push("work")
            worker = Worker(real, handler, on_run=told.append)
            worker.run_forever()
        finally:
            signal.signal(signal.SIGINT, before)

        assert outcomes(told) == [("work", "done")]


class _Around:
    """A backend whose verbs are those of another, but for some."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)


class _WithoutExtend(_Around):
    def extend(self, *_: object, **__: object) -> Lease:
        raise LeaseLost("nobody renews this lease")


class _Failing(_Around):
    """Raises one error for each of the first calls of claim and ack."""

    def __init__(self, backend: Backend, errors: dict[str, list[Exception]]) -> None:
        super().__init__(backend)
        self.errors = errors

    def __getattr__(self, name: str) -> Any:
        verb = super().__getattr__(name)
        if name not in self.errors:
            return verb

        def call(*arguments: Any, **options: Any) -> Any:
            if self.errors[name]:
                raise self.errors[name].pop(0)
            return verb(*arguments, **options)

        return call


class TestStorageThatIsAway:
    def test_run_forever_waits_for_it_says_so_and_goes_on(
        self, real: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[object] = []

        def handler(work: object) -> None:
            seen.append(work)
            worker.stop()

        real.push("work")
        worker = Worker(_Failing(real, {"claim": [BackendUnavailable("the disk is full")] * 2}), handler)

        worker.run_forever()

        assert seen == ["work"]
        assert [record.getMessage() for record in caplog.records] == [
            "waiting 0.1 s for the queue: the disk is full",
            "waiting 0.2 s for the queue: the disk is full",
        ]

    def test_a_task_that_was_done_meanwhile_is_acked_when_it_is_back(self, real: Backend) -> None:
        told: list[Run] = []
        real.push("work")
        worker = Worker(_Failing(real, {"ack": [BackendUnavailable("locked")]}), do_nothing, on_run=told.append)

        worker.run_while_due(timedelta(0))

        assert outcomes(told) == [("work", "done")]
        assert real.tasks() == []

    def test_past_its_patience_the_worker_ends_with_the_named_error(self, real: Backend) -> None:
        away = _Failing(real, {"claim": [BackendUnavailable("gone")] * 99})

        with pytest.raises(BackendUnavailable, match="gone"):
            Worker(away, fail, patience=timedelta(seconds=0.2)).run_forever()

    def test_a_damaged_queue_ends_the_worker_at_once(self, real: Backend) -> None:
        with pytest.raises(CorruptQueue, match="damaged"):
            Worker(_Failing(real, {"claim": [CorruptQueue("damaged")]}), fail).run_forever()

    def test_a_deleted_queue_ends_the_worker_at_once(self, tmp_path: Path) -> None:
        queue = open_backend(tmp_path / "q.db")
        (tmp_path / "q.db").unlink()

        with pytest.raises(QueueGone, match=r"q.db is gone"):
            Worker(queue, fail).run_forever()
        queue.close()

    def test_drain_says_so_at_once(self, real: Backend) -> None:
        with pytest.raises(BackendUnavailable, match="locked"):
            Worker(_Failing(real, {"claim": [BackendUnavailable("locked")]}), fail).drain()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lease_for": 60}, TypeError, "lease_for: expected a timedelta, got int; say timedelta"),
        ({"lease_for": timedelta(0)}, ValueError, "lease_for: expected more than zero"),
        ({"time_limit": timedelta(-1)}, ValueError, "time_limit: expected more than zero"),
        ({"grace": timedelta(-1)}, ValueError, "grace: expected zero or more"),
        ({"processes": 0}, ValueError, "processes: expected 1 or more, got 0"),
        ({"processes": True}, TypeError, "processes: expected an int, got bool"),
        ({"handler": 7}, TypeError, "handler: expected a function of one work, got int"),
        (
            {"handler": fail_for},
            TypeError,
            r"it is called as fail_for\(work\), and fail_for\(queue: ",
        ),
    ],
)
def test_misuse_is_refused_when_the_worker_is_made(
    real: Backend, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Worker(real, **{"handler": fail, **options})


def test_several_processes_are_refused_for_a_queue_that_stays_in_one() -> None:
    with pytest.raises(ValueError, match="processes: expected 1, since this queue stays in one, got 2"):
        Worker(open_backend("memory://x"), fail, processes=2)


class TestStandingStill:
    """A process that stood still between its claim and its handler looks at its lease before it begins."""

    class Slow:
        """A queue whose claims and acks come back only when the lease is over, and after `meanwhile`."""

        def __init__(self, backend: Backend, clock: FakeClock, meanwhile: Callable[[], object]) -> None:
            self._backend = backend
            self._clock = clock
            self._meanwhile = meanwhile

        def __getattr__(self, name: str) -> Any:
            return getattr(self._backend, name)

        def claim(self, **options: Any) -> Any:
            return self._late(self._backend.claim(**options))

        def ack(self, lease: Any, **options: Any) -> Any:
            return self._late(self._backend.ack(lease, **options))

        def _late(self, lease: Any) -> Any:
            if lease is not None and lease.work == "late":
                self._clock.advance(timedelta(minutes=2))
                self._meanwhile()
            return lease

    @pytest.mark.parametrize("before", [[], ["first"]], ids=["claimed", "claimed with an ack"])
    def test_a_task_that_somebody_else_has_by_then_is_not_begun(self, tmp_path: Path, before: list[str]) -> None:
        clock = FakeClock()
        backend = open_backend(tmp_path / "q.db", clock=clock)
        other = open_backend(tmp_path / "q.db", clock=clock)
        backend.push_many([Item(work) for work in [*before, "late"]])
        begun: list[object] = []
        slow: Any = self.Slow(backend, clock, lambda: other.claim(lease_for=timedelta(hours=1)))

        runs = Worker(slow, begun.append, lease_for=timedelta(minutes=1), clock=clock).drain()

        assert begun == before
        assert [(run.task.work, run.outcome) for run in runs] == [
            *((work, "done") for work in before),
            ("late", "lost"),
        ]
        backend.close()
        other.close()

    def test_one_that_nobody_has_is_begun_with_a_lease_anew(self, tmp_path: Path) -> None:
        clock = FakeClock()
        backend = open_backend(tmp_path / "q.db", clock=clock)
        other = open_backend(tmp_path / "q.db", clock=clock)
        backend.push("late")
        seen: list[object] = []
        slow: Any = self.Slow(backend, clock, lambda: None)

        Worker(
            slow,
            lambda _: seen.append(other.claim(lease_for=timedelta(hours=1))),
            lease_for=timedelta(minutes=1),
            clock=clock,
        ).drain()

        assert seen == [None]
        assert backend.tasks() == []
        backend.close()
        other.close()
