"""Claim, run, settle: one loop, used inline, in the foreground and in the background.

A task is run at least once. Its lease is renewed while it runs; one whose handler raises is tried again later, as
`Retry` says, and set aside past the last attempt; a worker that is told to stop lets its task end or gives it back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from random import Random
from typing import Protocol, TypeVar

from lowq.backend import NOW, Backend, BackendUnavailable, Lease, LeaseLost
from lowq.clock import Clock, SystemClock
from lowq.process.forking import check_fork
from lowq.run import Outcome, Run
from lowq.worker.backoff import Patience
from lowq.worker.executor import Executor, Handler, Inline, LastingChild, check_handler
from lowq.worker.failure import Failure
from lowq.worker.retry import Retry
from lowq.worker.stopping import Stop, Stopping

__all__ = ["Run", "Worker"]

SLICE = timedelta(seconds=0.5)
"""How long an idle worker trusts the backend to wake it, and how long a stop of an idle worker takes at most."""

Answer = TypeVar("Answer")


class _Patiently(Protocol):
    """Calls a verb of the backend, and deals with storage that is away."""

    def __call__(self, verb: Callable[[], Answer]) -> Answer: ...


class Worker:
    """Runs `handler(work)` for the tasks of a queue.

    `lease_for` is how long a killed worker's task waits for the next; `time_limit` runs each task in a child process
    that is killed at the limit; `processes` is how many run at once, except in `run_one`; `grace` is how long a stop
    waits for the task in hand before it is given back (less than the 10 s of `docker stop`); `patience` is how long
    storage may be away before the worker gives up; `on_run` is told of each run, in this process.

    An Exception or SystemExit is a failure of its task only. Anything else that a handler raises, KeyboardInterrupt
    among it, is meant for the program: the task is given back uncounted, and the exception goes on.
    """

    def __init__(
        self,
        backend: Backend,
        handler: Handler,
        *,
        lease_for: timedelta = timedelta(minutes=1),
        retry: Retry | None = None,
        time_limit: timedelta | None = None,
        processes: int = 1,
        grace: timedelta = timedelta(seconds=8),
        patience: timedelta = timedelta(minutes=15),
        clock: Clock | None = None,
        random: Random | None = None,
        on_run: Callable[[Run], object] | None = None,
    ) -> None:
        check_handler(handler)
        _check_length(lease_for, "lease_for", zero=False)
        _check_length(grace, "grace", zero=True)
        _check_length(patience, "patience", zero=True)
        if time_limit is not None:
            _check_length(time_limit, "time_limit", zero=False)
            check_fork("time_limit")
        if not isinstance(processes, int) or isinstance(processes, bool):
            raise TypeError(f"processes: expected an int, got {type(processes).__name__}")
        if processes < 1:
            raise ValueError(f"processes: expected 1 or more, got {processes}")
        if processes > 1:
            check_fork("processes")
            if "processes" not in backend.promises:
                raise ValueError(f"processes: {processes} processes cannot share this queue, which stays in one")
        self.backend = backend
        self.handler = handler
        self.lease_for = lease_for
        self.retry = Retry() if retry is None else retry
        self.time_limit = time_limit
        self.processes = processes
        self.clock = SystemClock() if clock is None else clock
        self.random = Random() if random is None else random
        self.on_run = on_run
        self._patience = patience
        self._grace = grace
        self._stop = Stop(self.clock, grace)

    def run_one(self) -> Run | None:
        """The most urgent due task was run once; None: none was due."""
        with self._executor(Stop(self.clock, self._grace)) as executor:
            lease = self.backend.claim(lease_for=self.lease_for)
            return None if lease is None else self._take(executor, lease, _at_once)[0]

    def drain(self) -> list[Run]:
        """Everything that was due was run, and what was pushed or fell due meanwhile; time is never waited for.

        In several processes it stops for signals as `run_forever` does.
        """
        runs: list[Run] = []
        if self.processes > 1:
            self._crew(lambda: False, Stop(self.clock, self._grace), runs)
            return runs
        lease: Lease | None = None
        with self._executor(Stop(self.clock, self._grace)) as executor:
            while (lease := lease or self.backend.claim(lease_for=self.lease_for)) is not None:
                run, lease = self._take(executor, lease, _at_once, then_claim=True)
                runs.append(run)
        return runs

    def run_forever(self) -> None:
        """The worker was told to stop: by SIGTERM or SIGINT in the main thread, or by `stop()`.

        The first signal lets the task in hand end, for `grace` at most; the second, or the end of the grace, raises
        Stopping inside the handler, and the task is given back uncounted. The signal handlers are as before. Outside
        the main thread there are no signals, and only a `time_limit`'s child can be made to give its task back.

        Raises BackendUnavailable where the storage is away for longer than `patience`; QueueGone, CorruptQueue and
        the like at once.
        """
        self._run()

    def run_while_due(self, linger: timedelta) -> None:
        """Nothing is due, nobody holds a lease, and nothing falls due within `linger`; or told to stop, as there."""
        _check_length(linger, "linger", zero=True)
        self._run(lambda: self.expects(linger))

    def stop(self) -> None:
        """This worker takes no further task, now or later; called twice, it gives back the one in hand."""
        self._stop.request()

    def on_stop(self, told: Callable[[], None]) -> None:
        """`told` is called when this worker is told to stop: from a signal handler or another thread, so briefly."""
        self._stop.told = told

    @property
    def stopped(self) -> bool:
        """Whether the worker was told to stop."""
        return self._stop.requested

    def expects(self, linger: timedelta) -> bool:
        """Whether anything is due or leased now, or falls due within `linger`; waits for storage that is away."""

        def look() -> bool:
            due = self.backend.next_due()
            if due is not None and due - self.clock.now() <= linger:
                return True
            counts = self.backend.count()
            return bool(counts.ready or counts.leased)

        return Patience(self.clock, self._patience, self._stop)(look)

    def serve(self, expects: Callable[[], bool] | None = None, *, parent: int | None = None) -> None:
        """The loop of one process: until told to stop, until nothing `expects` more, or until `parent` is gone."""
        stop = self._stop
        patiently = Patience(self.clock, self._patience, stop)
        lease: Lease | None = None
        wait = NOW
        with stop.on_signals(child=parent is not None), self._executor(stop) as executor:
            while not stop.requested:
                if parent is not None and os.getppid() != parent:
                    break
                if lease is not None:
                    _, lease = self._take(executor, lease, patiently, then_claim=True)
                elif (lease := self._next(patiently, wait)) is None:
                    if expects is not None and not expects():
                        return
                    wait = SLICE
            if lease is not None:  # claimed just when the stop was asked for: not begun, so there is no run to tell
                with suppress(LeaseLost):
                    self._return(lease, patiently)

    def _run(self, expects: Callable[[], bool] | None = None) -> None:
        if self.processes == 1:
            self.serve(expects)
        else:
            self._crew(expects, self._stop)

    def _crew(self, expects: Callable[[], bool] | None, stop: Stop, runs: list[Run] | None = None) -> None:
        from lowq.worker.pool import Crew

        def tell(run: Run) -> None:
            if runs is not None:
                runs.append(run)
            if self.on_run is not None:
                self.on_run(run)

        Crew(self, stop, tell).run(expects)

    def _next(self, patiently: Patience, wait: timedelta) -> Lease | None:
        """The next lease; None where nothing is due or the worker was told to stop while the storage was away."""
        try:
            return patiently(lambda: self.backend.claim(lease_for=self.lease_for, wait=wait))
        except BackendUnavailable:
            if self._stop.requested:
                return None
            raise

    def _take(
        self, executor: Executor, lease: Lease, patiently: _Patiently, *, then_claim: bool = False
    ) -> tuple[Run, Lease | None]:
        """The task was run and settled, unless its workers were killed too often; and what was claimed with that."""
        if lease.task.attempts > self.retry.max_attempts:
            return self._bury(lease, patiently), None
        try:
            failure = executor.run(lease)
        except BaseException as interruption:  # Stopping; KeyboardInterrupt; what a test framework raises
            run = self._give_back(lease, interruption, patiently)
            if isinstance(interruption, Stopping):
                return run, None
            raise
        if failure is None:
            return self._done(lease, patiently, then_claim=then_claim)
        return self._failed(lease, failure, patiently), None

    def _done(self, lease: Lease, patiently: _Patiently, *, then_claim: bool) -> tuple[Run, Lease | None]:
        claim_for = self.lease_for if then_claim and not self._stop.requested else None
        try:
            following = patiently(lambda: self.backend.ack(lease, claim_for=claim_for))
        except LeaseLost:
            return self._tell(lease, "lost"), None
        return self._tell(lease, "done"), following

    def _failed(self, lease: Lease, failure: Failure, patiently: _Patiently) -> Run:
        delay = self.retry.delay(lease.task.attempts, self.random)
        again = None if delay is None else self.clock.now() + delay
        try:
            if again is None:
                patiently(lambda: self.backend.dead_letter(lease, reason=failure.reason))
            else:
                patiently(lambda: self.backend.release(lease, not_before=again, reason=failure.reason))
        except LeaseLost:
            return self._tell(lease, "lost", failure.error)
        return self._tell(lease, "dead" if again is None else "retry", failure.error, again)

    def _bury(self, lease: Lease, patiently: _Patiently) -> Run:
        """The task whose attempts are used up is set aside without another; its workers did not live to do so."""
        reason = lease.task.reason or f"its worker was killed or lost in each of {self.retry.max_attempts} attempts"
        try:
            patiently(lambda: self.backend.dead_letter(lease, reason=reason))
        except LeaseLost:
            return self._tell(lease, "lost")
        return self._tell(lease, "dead")

    def _return(self, lease: Lease, patiently: _Patiently) -> None:
        """The task waits again as if it had not been claimed."""
        patiently(lambda: self.backend.release(lease, reason=lease.task.reason, uncount=True))

    def _give_back(self, lease: Lease, interruption: BaseException, patiently: _Patiently) -> Run:
        try:
            self._return(lease, patiently)
        except LeaseLost:
            return self._tell(lease, "lost", interruption)
        return self._tell(lease, "released", interruption, self.clock.now())

    def _tell(
        self, lease: Lease, outcome: Outcome, error: BaseException | None = None, next_due: datetime | None = None
    ) -> Run:
        run = Run(lease.task, outcome, error, self.clock.now(), next_due)
        if self.on_run is not None:
            self.on_run(run)
        return run

    @contextmanager
    def _executor(self, stop: Stop) -> Iterator[Executor]:
        """What runs the handler; afterwards no thread and no process of it is left."""
        executor: Executor
        if self.time_limit is None:
            executor = Inline(self.handler, self.backend, self.lease_for, self.clock, stop)
        else:
            executor = LastingChild(self.handler, self.backend, self.lease_for, self.clock, stop, self.time_limit)
        try:
            yield executor
        finally:
            executor.close()


def _at_once(verb: Callable[[], Answer]) -> Answer:
    """Whoever runs tasks by hand hears of storage that is away at once."""
    return verb()


def _check_length(length: object, what: str, *, zero: bool) -> None:
    if not isinstance(length, timedelta):
        raise TypeError(f"{what}: expected a timedelta, got {type(length).__name__}; say timedelta(seconds=…)")
    if length < NOW or (length == NOW and not zero):
        raise ValueError(f"{what}: expected {'zero or more' if zero else 'more than zero'}, got {length}")
