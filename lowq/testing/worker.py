"""The worker of a test: it runs tasks when it is told to, before the call returns.

Claim, handler, settling, retries and dead-lettering are the real worker's; there is no thread beside it that would
renew a lease, and nothing is waited for.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from random import Random
from typing import Any

from lowq.backend import Backend, Lease, LowqError, State, Work
from lowq.clock import FakeClock, shift, to_micros
from lowq.current_task import CurrentTask
from lowq.error_text import annotate
from lowq.excerpt import excerpt
from lowq.location import open_backend
from lowq.run import Run
from lowq.testing.clockerror import ClockError
from lowq.testing.crash import CrashPoint, cut_before, cut_off, look_after_crash, push_again
from lowq.testing.queues import QueueRef, Store, TempQueue
from lowq.testing.table import clock_time, indent, run_line
from lowq.worker.coroutines import Coroutines, outside_of_loops
from lowq.worker.executor import attempt
from lowq.worker.failure import Failure
from lowq.worker.handler import Handler
from lowq.worker.loop import Loop
from lowq.worker.notices import tell
from lowq.worker.retry import Retry
from lowq.worker.settings import check_retry
from lowq.worker.stopping import Stop

MAX_RUNS = 1000
MAX_LINES = 200

_LATEST = 10
"""Runs that are shown where there were too many."""

_numbers = count(1)


class NothingDue(LowqError):
    """No task could be run now."""


class TooManyRuns(LowqError):
    """The tasks did not come to an end."""


class SyncWorker:
    """Runs the tasks of a TempQueue's queues, one at a time; `runs` is all that it ran, in order.

    With `twice` each task that is done is delivered once more, as any queue may do; with `shuffle` the queues, whose
    order among each other nobody promises, take turns in a random order. Both draw from `random`.
    """

    def __init__(
        self,
        store: TempQueue,
        *,
        random: Random | None = None,
        max_runs: int = MAX_RUNS,
        twice: bool = False,
        shuffle: bool = False,
    ) -> None:
        self.runs: list[Run] = []
        self._store = store
        self._random = random or Random(0)
        self._max_runs = _number(max_runs, "max_runs", 1)
        self._twice = twice
        self._shuffle = shuffle
        self._ran: list[tuple[Store, Run]] = []
        self._deliveries: list[str] = []

    def perform(
        self, process: QueueRef | Callable[[Work], Any], work: Work, attempt: int = 1, *, retry: Retry | None = None
    ) -> Run:
        """The handler was called once with the work, as its `attempt`-th attempt, and the run settled; the run.

        `process` is a function of one work, or a queue, whose handler it then is. The task is in no queue of the
        application.
        """
        run = self._perform(process, work, attempt, retry)
        if self._twice and run.outcome == "done":
            self._must_bear(run, self._perform(process, work, attempt + 1, retry))
        return run

    def _perform(
        self, process: QueueRef | Callable[[Work], Any], work: Work, attempt: int, retry: Retry | None = None
    ) -> Run:
        _number(attempt, "attempt", 1, MAX_RUNS)
        if retry is not None:
            check_retry(retry)
        handler, policy = self._store.handler_of(process)
        backend = open_backend(f"memory://lowq-perform-{next(_numbers)}", clock=self._store.clock)
        try:
            backend.push(work)
            for _ in range(attempt - 1):
                _fail_once(backend)
            run = self._loop(backend, handler, timedelta(minutes=1), retry or policy).run_one()
        finally:
            backend.close()
        if run is None:
            raise NothingDue("the task to perform was not claimable")  # the memory queue broke its promise
        return run

    def run_one(self, queue: QueueRef = None) -> Run:
        """The most urgent due task was run and settled; the run. Raises NothingDue, and says when the next one is."""
        for kept in self._turns(queue):
            if (run := self.step(kept)) is not None:
                return run
        raise NothingDue(self._when(queue))

    def step(self, kept: Store, claim: Callable[[], Lease | None] | None = None) -> Run | None:
        """One task of this queue was run, if any is due; `claim` takes another than the most urgent one."""
        if kept.handler is None and not kept.backend.count().ready:
            return None
        handler, retry = self._store.handler_of(kept.backend)
        loop = self._loop(kept.backend, handler, kept.lease_for, retry)
        if claim is None:
            found = loop.run_one()
        elif (lease := claim()) is None:
            return None
        else:
            found = loop.run_lease(lease)
        return None if found is None else self._ran_once(kept, found)

    def _ran_once(self, kept: Store, run: Run) -> Run:
        """The run is known, and was repeated where each is to be."""
        if run.outcome == "dead":
            tell(kept.on_dead, run, "on_dead")
        self.runs.append(run)
        self._ran.append((kept, run))
        self._deliveries.append(run_line(kept.backend.title, run))
        if self._twice and run.outcome == "done":
            self._must_bear(run, self.redeliver(run))
        return run

    def _must_bear(self, run: Run, again: Run) -> None:
        if again.error is not None:
            annotate(again.error, f"at the second delivery of the work {run.task.work!r}, which was done before")
            raise again.error

    def drain(self, queue: QueueRef = None) -> list[Run]:
        """Everything that is due was run, what was pushed meanwhile included; the clock stands where it stood.

        Queues take turns. Raises TooManyRuns where there is no end.
        """
        runs: list[Run] = []
        self._drain(queue, runs, self._max_runs)
        return runs

    def run_until_idle(
        self,
        queue: QueueRef = None,
        *,
        advance: bool = True,
        until: datetime | timedelta | None = None,
        max_runs: int | None = None,
    ) -> list[Run]:
        """Nothing is left to run, up to the instant `until` (or so long from now), at which the clock then stands.

        The fake clock is moved from due time to due time, the ends of leases included, so that each task is run at
        its own instant. Without `advance`, as `drain`. Raises TooManyRuns, with what ran, past `max_runs`.
        """
        limit = self._max_runs if max_runs is None else _number(max_runs, "max_runs", 1)
        clock = self._store.clock
        if advance and not isinstance(clock, FakeClock):
            raise ClockError("only a fake clock can be moved: ask for lowq_clock, or run inside fake_clock()")
        last = _later(clock.now(), until)
        runs: list[Run] = []
        while True:
            self._drain(queue, runs, limit)
            due = min((due for kept in self._queues(queue) if (due := kept.backend.next_due())), default=None)
            if not advance or not isinstance(clock, FakeClock):
                return runs
            if due is None or (last is not None and due > last):
                if last is not None and last > clock.now():
                    clock.move_to(last)
                return runs
            if due > clock.now():
                clock.move_to(due)

    def crash(self, queue: QueueRef = None, *, at: CrashPoint, lines: int = 1) -> Lease:
        """The next task's worker died `at` that point: nothing is settled, and the lease stays; the lease.

        `during` is after so many lines of the handler's function. Move the clock to `lease.expires` to see the task
        delivered again.
        """
        if at not in ("before", "during", "after"):
            raise ValueError(f"at: expected before, during or after, got {excerpt(at)}")
        _number(lines, "lines", 0)
        kept, handler, lease = self._claim_to_crash(queue)
        if at == "during":
            outside_of_loops(partial(cut_off, handler, lease.work, lines, self._store.coroutines.finish))
        elif at == "after":
            stop = Stop(self._store.clock, timedelta(0))
            failure = self._direct(handler, stop).run(CurrentTask(lease, last=False, backend=kept.backend))
            if failure is not None:
                raise failure.error
        return lease

    def crash_everywhere(
        self,
        check: Callable[[], object],
        *,
        arrange: Callable[[], object] | None = None,
        queue: QueueRef = None,
        max_lines: int = MAX_LINES,
    ) -> list[str]:
        """The next task's worker died at each line of the handler's function in turn, and last behind it; each time
        the task was delivered again, everything ran to its end, and `check` held. The lines.

        Each time `arrange` has made the world new and pushed the task. Without it the task that stands is taken, and
        then an equal one, in a world that is as it was left. `check` fails by raising or by answering False, and
        CrashBroke names the line. Raises TooManyRuns where the handler runs more than `max_lines` lines.
        """
        _number(max_lines, "max_lines", 1)
        clock = self._store.clock
        if not isinstance(clock, FakeClock):
            raise ClockError("only a fake clock can be moved: ask for lowq_clock, or run inside fake_clock()")
        places: list[str] = []
        again: Callable[[], object] | None = arrange
        for lines in range(max_lines):
            if again is not None:
                again()
            kept, handler, lease = self._claim_to_crash(queue)
            again = arrange or partial(push_again, kept.backend, lease.task)
            cut = partial(cut_before, handler, lease.work, lines, self._store.coroutines.finish)
            place = outside_of_loops(cut)
            if lease.expires > clock.now():
                clock.move_to(lease.expires)
            self.run_until_idle()
            look_after_crash(check, place, lease, is_arranged=arrange is not None or lines == 0)
            if place is None:
                return places
            places.append(place)
        raise TooManyRuns(
            f"the handler has run {max_lines} lines and has not come to its end: give it less to do, or allow more "
            "with max_lines"
        )

    def _claim_to_crash(self, queue: QueueRef) -> tuple[Store, Handler, Lease]:
        """The next task, in the hands of a worker that is to die; its queue and handler. Raises NothingDue."""
        for kept in self._turns(queue):
            handler, _ = self._store.handler_of(kept.backend)
            kept.backend.need("lease", "a crash, whose task comes again when the lease ends,")
            lease = kept.backend.claim(lease_for=kept.lease_for)
            if lease is not None:
                return kept, handler, lease
        raise NothingDue(self._when(queue))

    def redeliver(self, run: Run) -> Run:
        """The handler was called once more with a task that was done: at least once is not at most once."""
        for kept, known in self._ran:
            if known is run:
                if run.outcome != "done":
                    raise ValueError(
                        f"run: expected one that is done, got {run.outcome}; it will be delivered again anyway"
                    )
                again = self._perform(kept.backend, run.task.work, run.task.attempts + 1)
                told = replace(again, task=replace(again.task, id=run.task.id))
                self._deliveries.append(f"{run_line(kept.backend.title, told)}  (delivered once more)")
                return again
        raise ValueError("run: expected a Run that this worker returned")

    def latest(self, number: int) -> list[str]:
        """The last runs, a line for each, and one for each second delivery."""
        return self._deliveries[-number:]

    def _drain(self, queue: QueueRef, runs: list[Run], limit: int) -> None:
        progress = True
        while progress:
            progress = False
            for kept in self._turns(queue):
                if (run := self.step(kept)) is None:
                    continue
                progress = True
                runs.append(run)
                if len(runs) > limit:
                    raise TooManyRuns(self._too_many(len(runs), limit))

    def _loop(self, backend: Backend, handler: Callable[[Work], Any], lease_for: timedelta, retry: Retry) -> Loop:
        """The real worker's loop, with nothing beside the handler."""
        clock = self._store.clock
        return Loop(
            backend,
            partial(self._direct, handler),
            lease_for=lease_for,
            retry=retry,
            clock=clock,
            random=self._random,
            patience=timedelta(0),
            stop=Stop(clock, timedelta(0)),
        )

    def _direct(self, handler: Handler, stop: Stop) -> _Direct:
        return _Direct(handler, stop, self._store.coroutines)

    def _queues(self, queue: QueueRef) -> list[Store]:
        return list(self._store.queues.values()) if queue is None else [self._store.find_known(queue)]

    def _turns(self, queue: QueueRef) -> list[Store]:
        queues = self._queues(queue)
        if self._shuffle:
            self._random.shuffle(queues)
        return queues

    def _when(self, queue: QueueRef) -> str:
        """What there is instead of a due task."""
        queues = self._queues(queue)
        names = ", ".join(kept.backend.title for kept in queues) or "any queue"
        waiting = [(due, kept) for kept in queues if (due := kept.backend.next_due()) is not None]
        if not waiting:
            return f"nothing is due in {names}, and nothing will be"
        due, kept = min(waiting, key=lambda each: each[0])
        left = due - self._store.clock.now()
        known = "inspect" in kept.backend.promises
        first = next(iter(kept.backend.tasks(state=State.SCHEDULED, limit=1) if known else ()), None)
        what = "a lease ends" if first is None or first.not_before != due else f"task {first.id} falls due"
        what = what if known else "something falls due or a lease ends"
        return f"nothing is due in {names}; {what} at {clock_time(due)}, in {left}: advance the clock"

    def _too_many(self, found: int, limit: int) -> str:
        by_queue = Counter(kept.backend.title for kept, _ in self._ran[-found:])
        return "\n".join(
            [
                f"more than {limit} runs, and still tasks are due: does a task push itself again? If it is to, end "
                "with run_until_idle(until=…); if so many are right, allow more with max_runs",
                *indent(f"{number} in {title}" for title, number in by_queue.most_common()),
                "the latest:",
                *indent(self.latest(_LATEST)),
            ]
        )


def _number(value: object, what: str, least: int, most: int | None = None) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what}: expected an int, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{what}: expected {least} or more, got {excerpt(value)}")
    if most is not None and value > most:
        raise ValueError(f"{what}: expected {most} at most, got {excerpt(value)}")
    return value


def _later(now: datetime, until: datetime | timedelta | None) -> datetime | None:
    """The instant that was meant, which is not before now."""
    if until is None:
        return None
    if not isinstance(until, datetime | timedelta):
        raise TypeError(f"until: expected an aware datetime or a timedelta, got {type(until).__name__}")
    last = shift(now, until) if isinstance(until, timedelta) else until
    to_micros(last, "until")
    if last < now:
        raise ValueError(f"until: expected no earlier than now, {clock_time(now)}, got {clock_time(last)}")
    return last


def _fail_once(backend: Backend) -> None:
    lease = backend.claim(lease_for=timedelta(days=1))
    if lease is not None:
        backend.release(lease)


class _Direct:
    """Runs the handler in the calling thread."""

    def __init__(self, handler: Handler, stop: Stop, coroutines: Coroutines) -> None:
        self._handler = handler
        self._stop = stop
        self._coroutines = coroutines

    def run(self, current: CurrentTask) -> Failure | None:
        """The handler has returned (None) or raised."""

        def cancel(reason: BaseException) -> bool:
            return current.flight is not None and current.flight.cancel(reason)

        return outside_of_loops(partial(attempt, self._handler, current, self._stop, self._coroutines), cancel)

    def close(self) -> None:
        """Nothing to end."""
