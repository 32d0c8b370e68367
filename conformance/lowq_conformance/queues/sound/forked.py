"""A queue with a worker of its own: a forked process that runs the journal's tasks, and goes when there are none.

A worker is the process that holds a record lock on a file, which ends with it, however that ends. Whoever starts one,
and a worker that finds nothing to do, take their turn with another lock: so a worker has gone, or it sees what came.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import Lease, LeaseLost, Pushed
from lowq_conformance.contract.promises import Traits
from lowq_conformance.queues.sound.journal import Journal, Queue

Handler = Callable[[Any], object]
LEASE = Traits().shortest_lease


class Worker:
    """The worker of the queue at a place: what it does, and what starting it does."""

    promises: ClassVar[frozenset[str]] = Journal.promises | {"worker"}

    def __init__(self, place: Path, harness: Journal, handler: Handler) -> None:
        self.place, self.handler, self._harness = place, handler, harness
        self.told_to_stop = False
        self.alive: int | None = None

    @property
    def living(self) -> Path:
        """The file whose lock a living worker holds."""
        return self.place / "alive"

    # in the starter

    def start(self) -> list[int]:
        """A worker runs: one that was forked here, or one that was there."""
        with self.turn():
            return [] if self.is_active() else [self.started()]

    def started(self) -> int:
        """A worker was forked, and is active."""
        ready, says_ready = os.pipe()
        pid = self.fork(says_ready)
        os.close(says_ready)
        os.read(ready, 1)
        os.close(ready)
        return pid

    def fork(self, says_ready: int) -> int:
        """A child lives as a worker and then ends at once, without any clean-up."""
        pid = os.fork()
        if not pid:
            try:
                self.live(says_ready)
            finally:
                self.leave()
        return pid

    def leave(self) -> None:
        """The child ends."""
        os._exit(0)

    def is_active(self) -> bool:
        """Whether somebody holds the lock that a living worker holds."""
        fd = os.open(self.living, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody starts a worker and no worker goes meanwhile."""
        fd = os.open(self.place / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)  # a record lock: what is forked meanwhile does not hold it
            yield
        finally:
            os.close(fd)

    # in the worker

    def live(self, says_ready: int) -> None:
        """Run what there is; it is told when the lock of the living is held."""
        signal.signal(signal.SIGTERM, self.stop)
        self.be_active()
        os.write(says_ready, b".")
        os.close(says_ready)
        queue = Journal.open(self._harness, self.place)
        while (lease := self.next(queue)) is not None:
            self.run(queue, lease)

    def be_active(self) -> None:
        """The lock of the living is held, until the process ends or goes."""
        self.alive = os.open(self.living, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.lockf(self.alive, fcntl.LOCK_EX)

    def next(self, queue: Queue) -> Lease | None:
        """The next task, or None: the worker was told to stop, or there is none, and it is no worker any more."""
        with self.turn():
            lease = None if self.told_to_stop else self.claim(queue)
            if lease is None:
                self.go()
            return lease

    def claim(self, queue: Queue) -> Lease | None:
        """The next task is in hand, or None."""
        return queue.claim(lease_for=LEASE)

    def go(self) -> None:
        """This process is no worker any more."""
        assert self.alive is not None
        os.close(self.alive)

    def run(self, queue: Queue, lease: Lease) -> None:
        """The handler has run the task, which is done, or is set aside where it failed; or went to somebody else."""
        with suppress(LeaseLost):
            try:
                with self.renewing(queue, lease):
                    self.handler(lease.work)
            except Exception as error:
                self.failed(queue, lease, error)
            else:
                self.done(queue, lease)

    def done(self, queue: Queue, lease: Lease) -> None:
        """The task is gone."""
        queue.ack(lease)

    @contextmanager
    def renewing(self, queue: Queue, lease: Lease) -> Iterator[None]:
        """The lease does not end in the block, unless this process stands still."""
        over = threading.Event()
        renewer = threading.Thread(target=self.renew, args=(queue, lease, over))
        renewer.start()
        try:
            yield
        finally:
            over.set()
            renewer.join()

    def renew(self, queue: Queue, lease: Lease, over: threading.Event) -> None:
        """The lease is extended again and again, until the turn is over or somebody else has the task."""
        with suppress(LeaseLost):
            while not over.wait(LEASE.total_seconds() / 4):
                queue.extend(lease, lease_for=LEASE)

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        """The task is set aside."""
        queue.dead_letter(lease, reason=str(error))

    def stop(self, *_: object) -> None:
        """A signal handler: the task in hand is finished, and none is taken after it."""
        self.told_to_stop = True


class Forked(Journal):
    """The journal with a worker."""

    promises = Worker.promises
    attempts: int | None = 1
    _worker = Worker

    def start(self, place: Path, handler: Handler) -> list[int]:
        """The worker's process id, where one was made."""
        return self._worker(place, self, handler).start()


class Retries(Worker):
    """A worker that tries what failed twice more, each time a second later."""

    attempts: ClassVar[int] = 3
    retry_after: ClassVar[timedelta] = timedelta(seconds=1)

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            super().failed(queue, lease, error)
        else:
            queue.release(lease, not_before=queue.clock.now() + self.retry_after)


class Waits(Worker):
    """A worker that goes only when nothing has come for a while."""

    idle: ClassVar[float] = 0.6
    """Seconds."""

    def next(self, queue: Queue) -> Lease | None:
        end = time.monotonic() + self.idle
        while time.monotonic() < end and not self.told_to_stop:
            if (lease := self.claim(queue)) is not None:
                return lease
            time.sleep(0.01)
        return self.last(queue)

    def last(self, queue: Queue) -> Lease | None:
        """What came at the last moment, or None, and it is no worker any more."""
        return super().next(queue)


class Lingering(Forked):
    """The journal with a worker that waits for more before it goes."""

    _worker = Waits


class Retrying(Forked):
    """The journal with a worker that tries again."""

    attempts = Retries.attempts
    retry_after = Retries.retry_after
    _worker = Retries


class Seated(Retries):
    """One of several workers, which takes its time to see to what failed, and holds it meanwhile."""

    seats: ClassVar[int] = 2
    seeing: ClassVar[float] = 0.2
    """Seconds."""

    def __init__(self, place: Path, harness: Journal, handler: Handler, seat: int) -> None:
        super().__init__(place, harness, handler)
        self.seat = seat

    @property
    def living(self) -> Path:
        return self.place / f"alive {self.seat}"

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        with self.renewing(queue, lease):
            time.sleep(self.seeing)
        super().failed(queue, lease, error)


class Pair(Forked):
    """The journal with two workers at once, of which one may still see to what failed while the other goes on."""

    attempts = Retries.attempts
    retry_after = Retries.retry_after
    workers = Seated.seats

    def start(self, place: Path, handler: Handler) -> list[int]:
        """The process ids of those that were made."""
        return [pid for seat in range(self.workers) for pid in Seated(place, self, handler, seat).start()]


class Deletes(Waits, Seated):
    """One of several workers; it deletes a task as it takes it, and runs it a moment later, whatever comes of it."""

    def claim(self, queue: Queue) -> Lease | None:
        if (lease := super().claim(queue)) is not None:
            queue.ack(lease)
        return lease

    def run(self, _: Queue, lease: Lease) -> None:
        time.sleep(self.seeing)
        with suppress(Exception):
            self.handler(lease.work)


class Pusher:
    """A client that leaves claiming to the worker."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def push(self, work: Any, *, priority: int = 0) -> Pushed:
        """The work waits."""
        return self._queue.push(work, priority=priority)

    def close(self) -> None:
        """The client is closed."""
        self._queue.close()


class SlowPusher(Pusher):
    """A push that is answered when the workers have had time to look."""

    def push(self, work: Any, *, priority: int = 0) -> Pushed:
        pushed = super().push(work, priority=priority)
        time.sleep(0.03)
        return pushed


class Pushing(Forked):
    """The same to somebody who only pushes."""

    promises = frozenset("fifo priority json close persistent worker".split())

    def open(self, place: Path, name: str = "default") -> Any:
        """A client that pushes."""
        return Pusher(super().open(place, name))


class AtMostOnce(Pushing):
    """The same with two workers that try a task once: what they have in hand is lost when they are killed."""

    promises = frozenset("json close persistent worker".split())
    dedupe = "off"
    workers = Deletes.seats

    class _Off(Queue):
        dedupe = "off"

    _queue = _Off

    def open(self, place: Path, name: str = "default") -> Any:
        """A client that pushes."""
        return SlowPusher(Forked.open(self, place, name))

    def start(self, place: Path, handler: Handler) -> list[int]:
        """The process ids of those that were made."""
        return [pid for seat in range(self.workers) for pid in Deletes(place, self, handler, seat).start()]
