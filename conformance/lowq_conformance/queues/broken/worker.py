"""Workers that are right while nobody meets them at the wrong moment: a few lines each on the sound one."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from lowq import Lease
from lowq_conformance.queues.broken.register import enter
from lowq_conformance.queues.sound.forked import Forked, Waits, Worker
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.limited import SettingAside

PATIENCE = timedelta(seconds=0.3)
"""Less than a sound queue asks for, so that what a broken one never does is not waited for as long."""


def breaks(*clauses: str) -> Callable[[type[Worker]], type[Forked]]:
    """Register a worker under its name, and put the harness that starts it in its place."""

    def register(worker: type[Worker]) -> type[Forked]:
        enter(worker, clauses)
        names = {"__doc__": worker.__doc__, "__module__": worker.__module__, "patience": PATIENCE, "_worker": worker}
        return type(worker.__name__, (Forked,), names)

    return register


@breaks("WORKER-1")
class GoesAfterTen(Worker):
    """A worker goes when it has run ten tasks, and waits for somebody to start another one."""

    ran = 0

    def claim(self, queue: Queue) -> Lease | None:
        self.ran += 1
        return None if self.ran > 10 else super().claim(queue)


@breaks("WORKER-1")
class SkipsTheFalsy(Worker):
    """A task whose work is falsy is taken for none, and is done without being run."""

    def run(self, queue: Queue, lease: Lease) -> None:
        if lease.work:
            super().run(queue, lease)
        else:
            queue.ack(lease)


@breaks("WORKER-2")
class EmptyAndThenGone(Worker):
    """A worker finds nothing in one step and goes in the next; whoever starts in between relies on it."""

    def next(self, queue: Queue) -> Lease | None:
        lease = self.claim(queue)
        if lease is None:
            with self.turn():
                self.go()
        return lease


@breaks("WORKER-2")
class GoesAsItEnds(Worker):
    """A worker counts as active until its process has ended, and does not look again on its way there."""

    def go(self) -> None:
        pass


@breaks("WORKER-2")
class WaitsAndThenGoes(Waits):
    """A worker for which nothing came for a while goes, whatever came as it made up its mind."""

    def last(self, queue: Queue) -> Lease | None:  # noqa: ARG002
        with self.turn():
            self.go()
        return None


@breaks("WORKER-5")
class UnlocksAndLooks(Waits):
    """A worker for which nothing came for a while lets its lock go and looks once more: it runs what it finds."""

    def last(self, queue: Queue) -> Lease | None:
        with self.turn():
            self.go()
            return None if self.told_to_stop else self.claim(queue)

    def go(self) -> None:
        if self.alive is not None:
            super().go()
            self.alive = None


@breaks("WORKER-3")
class EndsOfAFailure(Worker):
    """What a task raises ends the worker."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        super().failed(queue, lease, error)
        self.leave()


@breaks("WORKER-3")
class TriesForEver(Worker):
    """A task that failed is tried again before any other, and again."""

    def failed(self, queue: Queue, lease: Lease, _: Exception) -> None:
        queue.release(lease)


@breaks("WORKER-3")
class DiesOfWhatItWrites(Worker):
    """A worker writes down why a task failed, and ends where that cannot be written as it is."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        super().failed(queue, lease, Exception(str(error).encode().decode()))


@breaks("WORKER-4")
class SaysThatItRuns(Worker):
    """A worker is active while a file says so, which a kill leaves behind."""

    def is_active(self) -> bool:
        return (self.place / "active").exists()

    def be_active(self) -> None:
        (self.place / "active").touch()

    def go(self) -> None:
        (self.place / "active").unlink()


@breaks("WORKER-4")
class HoldsForEver(Worker):
    """What a killed worker had in hand belongs to it for ten years."""

    def claim(self, queue: Queue) -> Lease | None:
        return queue.claim(lease_for=timedelta(days=3650))


@breaks("WORKER-5")
class EachStartStarts(Worker):
    """A worker is started whenever somebody asks for one."""

    def is_active(self) -> bool:
        return False

    def be_active(self) -> None:
        pass

    def go(self) -> None:
        pass


@breaks("WORKER-5")
class LooksAndThenStarts(Worker):
    """Whoever sees no worker starts one, and so does whoever looks before that one is there."""

    def start(self) -> list[int]:
        return [] if self.is_active() else [self.started()]

    def be_active(self) -> None:
        self.alive = os.open(self.place / "alive", os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(OSError):  # another one has it
            fcntl.lockf(self.alive, fcntl.LOCK_EX | fcntl.LOCK_NB)


@breaks("WORKER-6")
class AcksAndThenRuns(Worker):
    """A task is done as soon as it is taken, and SIGTERM ends the worker at once."""

    def run(self, queue: Queue, lease: Lease) -> None:
        queue.ack(lease)
        self.handler(lease.work)

    def stop(self, *_: object) -> None:
        self.leave()


@breaks("WORKER-6")
class TakesNoOrders(Worker):
    """A worker waits for more to do when there is nothing, and disregards SIGTERM."""

    def next(self, queue: Queue) -> Lease | None:
        while (lease := self.claim(queue)) is None:
            time.sleep(0.01)
        return lease

    def stop(self, *_: object) -> None:
        pass


@breaks("WORKER-6")
class HearsOfItsEndTooLate(Worker):
    """A thread runs what is done as soon as it is taken; only when that is started, SIGTERM is seen to, as by huey's
    consumer."""

    def live(self, says_ready: int) -> None:
        self.be_active()
        os.write(says_ready, b".")
        os.close(says_ready)
        runner = threading.Thread(target=self.run_all, args=(Journal.open(self._harness, self.place),))
        runner.start()
        signal.signal(signal.SIGTERM, self.stop)
        runner.join()

    def run_all(self, queue: Queue) -> None:
        while (lease := self.next(queue)) is not None:
            queue.ack(lease)
            with suppress(Exception):
                self.handler(lease.work)


@breaks("WORKER-7")
class LeavesByException(Worker):
    """A worker leaves by SystemExit, through everything that its starter meant to do at its own end."""

    def leave(self) -> None:
        raise SystemExit(0)


@breaks("WORKER-7")
class FlushesWhatItInherits(Worker):
    """A worker writes out the buffered output that its starter will write out too."""

    def leave(self) -> None:
        sys.stdout.flush()
        super().leave()


class OneKillIsOneTooMany(Forked):
    """A task comes out twice at least, says the queue, and is set aside when the first worker of it is killed."""

    class _Queue(SettingAside):
        limit = 1

    patience = PATIENCE
    max_deliveries = 2
    _queue = _Queue


enter(OneKillIsOneTooMany, ("WORKER-4",))
