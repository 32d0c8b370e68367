"""Claim, run, settle: the loop of one process, used inline, in the foreground, in a pool and in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from random import Random
from typing import Protocol, TypeVar

from lowq import kernel
from lowq.backend import NOW, Backend, BackendUnavailable, Lease, LeaseLost, LowqError
from lowq.clock import Clock, shift
from lowq.current_task import CurrentTask
from lowq.endings import Discard, Later
from lowq.hooks import tell_claim, tell_run
from lowq.process.forking import Confined
from lowq.run import Outcome, Run
from lowq.worker.backoff import Patience
from lowq.worker.executor import Executor
from lowq.worker.failure import Failure, failure_of, is_stopping
from lowq.worker.notices import log, tell
from lowq.worker.retry import Retry
from lowq.worker.stopping import Stop

SLICE = timedelta(seconds=0.5)
"""How long an idle worker trusts the backend to wake it, and how long a stop of an idle worker takes at most."""

Answer = TypeVar("Answer")


class Patiently(Protocol):
    """Calls a verb of the backend, and deals with storage that is away."""

    def __call__(self, verb: Callable[[], Answer]) -> Answer: ...


class Loop:
    """Runs a queue's tasks one at a time, with the executor that `make_executor` gives; `tell` hears of each run.

    `patience` is how long storage may be away before `serve` and `expects` give up. `tell` and `random` may be
    replaced before it runs: a process of a pool has its own.
    """

    def __init__(
        self,
        backend: Backend,
        make_executor: Callable[[Stop], Executor],
        *,
        lease_for: timedelta,
        retry: Retry,
        clock: Clock,
        random: Random,
        patience: timedelta,
        stop: Stop,
        tell: Callable[[Run], object] | None = None,
        on_dead: Callable[[Run], object] | None = None,
    ) -> None:
        self.backend = backend
        self.clock = clock
        self.random = random
        self.tell = tell
        self._on_dead = on_dead
        self._make_executor = make_executor
        self._lease_for = lease_for
        self._retry = retry
        self._stop = stop
        self._patience = Patience(clock, patience, stop)
        self._lease_left = clock.countdown(lease_for)

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.requested

    def run_one(self) -> Run | None:
        """The most urgent due task was run once; None: none was due."""
        with self.executor() as executor:
            lease = self._claim()
            return None if lease is None else self._take(executor, lease, at_once)[0]

    def run_lease(self, lease: Lease) -> Run:
        """The task of a lease that the caller took was run once."""
        with self.executor() as executor:
            return self._take(executor, lease, at_once)[0]

    def drain(self) -> list[Run]:
        """Everything that was due was run, and what was pushed or fell due meanwhile; time is never waited for."""
        runs: list[Run] = []
        lease: Lease | None = None
        with self.executor() as executor:
            while True:
                lease = lease or self._claim()
                if lease is None:
                    return runs
                run, lease = self._take(executor, lease, at_once, then_claim=True)
                runs.append(run)

    def serve(self, expects: Callable[[], bool] | None = None, *, parent: int | None = None) -> None:
        """Told to stop, or nothing `expects` more, or the process `parent` is gone."""
        with self._stop.on_signals(child=parent is not None), self.executor() as executor:
            self._serve(executor, expects, parent)

    def _serve(self, executor: Executor, expects: Callable[[], bool] | None, parent: int | None) -> None:
        lease: Lease | None = None
        wait = NOW
        while not self._stop.requested:
            if parent is not None and kernel.getppid() != parent:
                break
            if lease is not None:
                _, lease = self._take(executor, lease, self._patience, then_claim=True)
            elif (lease := self._next(wait)) is None:
                if expects is not None and not expects():
                    return
                wait = SLICE
        if lease is not None:  # claimed just when the stop was asked for: not begun, so there is no run to tell
            with suppress(LeaseLost):
                self._return(lease, self._patience)

    def turn(self, executor: Executor, wait: timedelta) -> bool:
        """Whether there was a task within `wait`, which was run once. Raises BackendUnavailable at once."""
        lease = self._claim(wait)
        if lease is None:
            return False
        if self._stop.requested:
            with suppress(LeaseLost):
                self._return(lease, self._patience)
        else:
            self._take(executor, lease, self._patience)
        return True

    def expects(self, linger: timedelta) -> bool:
        """Whether anything is due or leased now, or falls due within `linger`; waits for storage that is away."""

        def look() -> bool:
            due = self.backend.next_due()
            if due is not None and due - self.clock.now() <= linger:
                return True
            counts = self.backend.count()
            return bool(counts.ready or counts.leased)

        return self._patience(look)

    def _next(self, wait: timedelta) -> Lease | None:
        """The next lease; None where nothing is due or the worker was told to stop while the storage was away."""
        try:
            return self._patience(lambda: self._claim(wait))
        except BackendUnavailable:
            if self._stop.requested:
                return None
            raise

    def _claim(self, wait: timedelta = NOW) -> Lease | None:
        self._lease_left = self.clock.countdown(self._lease_for)
        lease = self.backend.claim(lease_for=self._lease_for, wait=wait)
        try:
            if lease is not None:
                self._tell_claimed(lease)
            return lease
        except BaseException:
            self._give_up(lease)
            raise

    def _give_up(self, lease: Lease | None) -> None:
        """What was claimed and will not be begun was given back, where that can be."""
        if lease is not None:
            with suppress(LowqError):
                self._return(lease, at_once)

    def _tell_claimed(self, *leases: Lease) -> None:
        """The leases came of the call that began when `_lease_left` was set."""
        tell_claim((lease.task for lease in leases), self.backend.name, lambda: self._lease_for - self._lease_left())

    def _still_held(self, lease: Lease, patiently: Patiently) -> bool:
        """Whether the task is ours to begin: a process that stood still may have slept past the end of its lease."""
        if self._lease_left() > NOW and self.clock.now() < lease.expires:
            return True
        try:
            patiently(lambda: self.backend.extend(lease, lease_for=self._lease_for))
        except LeaseLost:
            return False
        return True

    def _take(
        self, executor: Executor, lease: Lease, patiently: Patiently, *, then_claim: bool = False
    ) -> tuple[Run, Lease | None]:
        """The task was run and settled, unless its workers were killed too often; and what was claimed with that."""
        run = self._begin(executor, lease, patiently)
        return self._settle_done(lease, patiently, then_claim=then_claim) if run is None else (run, None)

    def _begin(self, executor: Executor, lease: Lease, patiently: Patiently) -> Run | None:
        """The task was run; None: it is done and not settled yet."""
        if lease.task.attempts > self._retry.max_attempts:
            return self._bury(lease, patiently)
        if not self._still_held(lease, patiently):
            return self._tell(lease, "lost")
        try:
            last = lease.task.attempts >= self._retry.max_attempts
            failure = executor.run(CurrentTask(lease, last=last, backend=self.backend))
        except BaseException as interruption:  # Stopping; KeyboardInterrupt; what a test framework raises
            run = self._give_back(lease, interruption, patiently)
            if is_stopping(interruption):
                return run
            raise
        return None if failure is None else self._settle_failed(lease, failure, patiently)

    def _settle_done(self, lease: Lease, patiently: Patiently, *, then_claim: bool) -> tuple[Run, Lease | None]:
        claim_for = self._lease_for if then_claim and not self._stop.requested else None
        self._lease_left = self.clock.countdown(self._lease_for)
        try:
            following = patiently(lambda: self.backend.ack(lease, claim_for=claim_for))
        except LeaseLost:
            return self._tell(lease, "lost"), None
        try:
            if following is not None:
                self._tell_claimed(following)
            return self._tell(lease, "done"), following
        except BaseException:
            self._give_up(following)
            raise

    def _settle_failed(self, lease: Lease, failure: Failure, patiently: Patiently) -> Run:
        """The task waits for its next attempt, or, after its last one or a Discard, is set aside."""
        if isinstance(failure.ending, Later):
            return self._put_off(lease, failure.ending, patiently)
        delay = None if failure.ending is not None else self._retry.delay(lease.task.attempts, self.random)
        again = None if delay is None else shift(self.clock.now(), delay)
        try:
            if again is None:
                patiently(lambda: self.backend.dead_letter(lease, reason=failure.reason))
            else:
                patiently(lambda: self.backend.release(lease, not_before=again, reason=failure.reason))
        except LeaseLost:
            return self._tell(lease, "lost", failure.error)
        return self._tell(lease, "dead" if again is None else "retry", failure.error, again)

    def _put_off(self, lease: Lease, later: Later, patiently: Patiently) -> Run:
        """The task runs again when its handler said; nothing has failed, unless no attempt is left to count."""
        try:
            again = later.instant(self.clock.now())
        except ValueError as error:
            return self._settle_failed(lease, failure_of(error), patiently)
        if later.count and lease.task.attempts >= self._retry.max_attempts:
            text = f"to run again at {again:%Y-%m-%d %H:%M:%S} UTC, said its handler in the last of its attempts"
            return self._settle_failed(lease, Failure(later, text, ending=Discard(text)), patiently)
        try:
            patiently(lambda: self.backend.release(lease, not_before=again, uncount=not later.count))
        except LeaseLost:
            return self._tell(lease, "lost")
        return self._tell(lease, "retry", None, again)

    def _bury(self, lease: Lease, patiently: Patiently) -> Run:
        """The task whose attempts are used up is set aside without another; its workers did not live to do so."""
        had, most = lease.task.attempts - 1, self._retry.max_attempts  # this claim is no attempt
        reason = lease.task.reason or (
            "its worker was killed or lost, or its handler put it off, in "
            f"{'its only attempt' if had == 1 else f'each of {had} attempts'}"
            f"{'' if had == most else f', and max_attempts is {most} now'}"
        )
        try:
            patiently(lambda: self.backend.dead_letter(lease, reason=reason))
        except LeaseLost:
            return self._tell(lease, "lost")
        return self._tell(lease, "dead")

    def _return(self, lease: Lease, patiently: Patiently) -> None:
        """The task waits again as if it had not been claimed."""
        patiently(lambda: self.backend.release(lease, reason=lease.task.reason, uncount=True))

    def _give_back(self, lease: Lease, interruption: BaseException, patiently: Patiently) -> Run:
        try:
            self._return(lease, patiently)
        except LeaseLost:
            return self._tell(lease, "lost", interruption)
        return self._tell(lease, "released", interruption, self.clock.now())

    def _tell(
        self, lease: Lease, outcome: Outcome, error: BaseException | None = None, next_due: datetime | None = None
    ) -> Run:
        run = Run(lease.task, outcome, error, self.clock.now(), next_due)
        with Confined():
            log(run, self.backend.name)
            tell_run(run, self.backend.name)
            if outcome == "dead":
                tell(self._on_dead, run, "on_dead")
            if self.tell is not None:
                self.tell(run)
        return run

    @contextmanager
    def executor(self) -> Iterator[Executor]:
        """What runs the handler; afterwards no thread and no process of it is left."""
        executor = self._make_executor(self._stop)
        try:
            yield executor
        finally:
            executor.close()


def at_once(verb: Callable[[], Answer]) -> Answer:
    """Whoever runs tasks by hand hears of storage that is away at once."""
    return verb()
