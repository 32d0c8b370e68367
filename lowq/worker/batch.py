"""A loop that claims many tasks at once, runs them one after another, and settles those that are done together.

A claim and an ack are a transaction or a round trip each; for many tasks at once they cost hardly more. The price: a
worker that is killed may leave up to a batch of tasks that are done and run again; a more urgent task waits until the
batch is through; and for up to 50 ms a task that is done still counts as leased, so that an equal push is refused.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any

from lowq import kernel
from lowq.backend import NOW, Backend, BackendUnavailable, Lease, LeaseLost, LowqError
from lowq.clock import Clock
from lowq.run import Run
from lowq.worker import program_log
from lowq.worker.executor import Executor
from lowq.worker.loop import SLICE, Loop, Patiently, at_once
from lowq.worker.renewal import renewal_pause, start_thread

LATE = timedelta(milliseconds=50)
"""What is done is settled at the latest after this long, whatever the task in hand does."""


class BatchLoop(Loop):
    """As Loop, with up to `batch` tasks in hand: claimed together, run in order, settled with the next claim."""

    def __init__(self, *arguments: Any, batch: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._batch = batch

    def drain(self) -> list[Run]:
        """As Loop.drain."""
        runs: list[Run] = []
        with self.executor() as executor:
            hand = _Hand(self.backend, self._lease_for, self.clock)
            try:
                self._drain(executor, hand, runs)
            finally:
                self._put_down(hand, at_once, runs)
        return runs

    def serve(self, expects: Callable[[], bool] | None = None, *, parent: int | None = None) -> None:
        """As Loop.serve; what is in hand and not begun is given back when it was told to stop."""
        with self._stop.on_signals(child=parent is not None), self.executor() as executor:
            hand = _Hand(self.backend, self._lease_for, self.clock)
            try:
                self._serve_in_hand(executor, hand, expects, parent)
            finally:
                self._put_down(hand, self._patience, [])

    def _drain(self, executor: Executor, hand: _Hand, runs: list[Run]) -> None:
        while (lease := self._following(hand, at_once, runs)) is not None:
            runs += self._run(executor, lease, hand, at_once)

    def _serve_in_hand(
        self, executor: Executor, hand: _Hand, expects: Callable[[], bool] | None, parent: int | None
    ) -> None:
        wait = NOW
        while not self._stop.requested:
            if parent is not None and kernel.getppid() != parent:
                return
            lease = self._next_in_hand(hand) or self._next(wait)
            if lease is not None:
                self._run(executor, lease, hand, self._patience)
            elif expects is not None and not expects():
                return
            else:
                wait = SLICE

    def _run(self, executor: Executor, lease: Lease, hand: _Hand, patiently: Patiently) -> list[Run]:
        """The task was run, and is settled or in hand as done; the runs that were settled meanwhile."""
        run = self._begin(executor, lease, patiently)
        if run is None:
            hand.settle_soon(lease)
        return [*self._tell_settled(hand), *([] if run is None else [run])]

    def _next_in_hand(self, hand: _Hand) -> Lease | None:
        try:
            return self._following(hand, self._patience, [])
        except BackendUnavailable:
            if self._stop.requested:
                return None
            raise

    def _following(self, hand: _Hand, patiently: Patiently, runs: list[Run]) -> Lease | None:
        """The next task in hand; where there is none, what is done was settled, and a batch claimed with it."""
        if not hand.waiting:
            self._lease_left = self.clock.countdown(self._lease_for)
            hand.settle(patiently, claim=self._batch)
            self._tell_claimed(*hand.waiting)
            runs += self._tell_settled(hand)
        return hand.take()

    def _put_down(self, hand: _Hand, patiently: Patiently, runs: list[Run]) -> None:
        """Nothing is in hand: what is done was settled, what was not begun was given back."""
        try:
            hand.close()
            hand.settle(patiently)
        finally:
            while (lease := hand.take()) is not None:
                with suppress(LeaseLost):
                    self._return(lease, patiently)
        runs += self._tell_settled(hand)

    def _tell_settled(self, hand: _Hand) -> list[Run]:
        return [self._tell(lease, "lost" if lost else "done") for lease, lost in hand.take_settled()]


class _Hand:
    """What a worker has claimed and not settled: leases that wait for their turn, and those that are done.

    A thread beside the worker settles what is done where the task in hand takes long, and renews what waits.
    """

    def __init__(self, backend: Backend, lease_for: timedelta, clock: Clock) -> None:
        self.waiting: deque[Lease] = deque()
        self._backend = backend
        self._lease_for = lease_for
        self._clock = clock
        self._lock = threading.Lock()
        self._done: list[Lease] = []
        self._settled: list[tuple[Lease, bool]] = []
        self._left: Callable[[], timedelta] = clock.countdown(LATE)
        """How long the first of those that are done may still wait."""
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asleep = True
        self._closed = False
        self._thread: threading.Thread | None = None

    def take(self) -> Lease | None:
        """The next lease that waits."""
        return self.waiting.popleft() if self.waiting else None

    def settle_soon(self, lease: Lease) -> None:
        """The task is done, and settled within LATE."""
        with self._lock:
            if not self._done:
                self._left = self._clock.countdown(LATE)
            self._done.append(lease)
        self._rouse()

    def settle(self, patiently: Patiently, *, claim: int = 0) -> None:
        """What is done was settled, and up to `claim` more wait."""
        with self._lock:
            done, self._done = self._done, []
        if not done and not claim:
            return
        try:
            if done:
                answer = patiently(lambda: self._backend.ack_many(done, claim=claim, lease_for=self._lease_for))
                lost, claimed = answer.lost, list(answer.claimed)
            else:
                lost, claimed = (), patiently(lambda: self._backend.claim_many(claim, lease_for=self._lease_for))
        except BaseException:
            with self._lock:
                self._done = done + self._done
            raise
        with self._lock:
            self._settled += [(lease, told is not None) for lease, told in zip(done, lost, strict=True)]
        self.waiting.extend(claimed)
        if len(claimed) > 1:
            self._rouse()

    def take_settled(self) -> list[tuple[Lease, bool]]:
        """What was settled since this was last asked, and whether it was lost."""
        with self._lock:
            settled, self._settled = self._settled, []
        return settled

    def close(self) -> None:
        """The thread has ended."""
        self._closed = True
        self._wake.put(None)
        if self._thread is not None:
            self._thread.join()

    def _rouse(self) -> None:
        if self._asleep:
            self._asleep = False
            if self._thread is None:
                self._thread = start_thread(self._look_after, "lowq-batch")
            self._wake.put(None)

    def _look_after(self) -> None:
        pause = renewal_pause(self._lease_for)
        renewal_left = self._clock.countdown(pause)
        while not self._closed:
            if not self._done and not self.waiting:
                self._asleep = True
                if not self._done and not self.waiting:  # looked at again: `done` reads `_asleep` after it appended
                    self._wake.get()
                    renewal_left = self._clock.countdown(pause)
                    continue
                self._asleep = False
            self._clock.wait(self._woken, min(LATE / 2, max(renewal_left(), NOW)))
            if self._done and self._left() <= LATE / 2:
                self._settle_late()
            if renewal_left() <= NOW:
                self._renew()
                renewal_left = self._clock.countdown(pause)

    def _woken(self, seconds: float) -> bool:
        with suppress(Empty):
            while not self._closed:
                self._wake.get(timeout=seconds)
        return self._closed

    def _settle_late(self) -> None:
        try:
            self.settle(at_once)
        except LowqError as error:
            program_log.warn("tasks that are done wait to be settled: %s", error)

    def _renew(self) -> None:
        for lease in self.waiting.copy():
            try:
                self._backend.extend(lease, lease_for=self._lease_for)
            except LeaseLost:
                pass  # its turn comes, and shows it
            except LowqError as error:
                program_log.warn("the lease on task %s was not renewed: %s", lease.id, error)
