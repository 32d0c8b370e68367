"""Workers that are right with short tasks that succeed, and are not killed: a few lines each on the sound one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from lowq import Lease, LeaseLost
from lowq_conformance.queues.broken.worker import breaks
from lowq_conformance.queues.sound.forked import LEASE, Forked, Retries, Worker
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row


def retries(*clauses: str) -> Callable[[type[Worker]], type[Forked]]:
    """The same of a worker that states how often it tries what fails, and when."""

    def register(worker: type[Worker]) -> type[Forked]:
        harness = breaks(*clauses)(worker)
        harness.attempts = Retries.attempts
        harness.retry_after = Retries.retry_after  # type: ignore[attr-defined]  # a trait, which a harness may have
        return harness

    return register


@breaks("WORKER-8")
class NeverRenews(Worker):
    """A lease is as long as it was at the claim, however long its task takes."""

    def renew(self, queue: Queue, lease: Lease, over: threading.Event) -> None:
        pass


@breaks("WORKER-8")
class RenewsOnce(Worker):
    """A lease is made longer once."""

    def renew(self, queue: Queue, lease: Lease, over: threading.Event) -> None:
        if not over.wait(LEASE.total_seconds() / 4):
            queue.extend(lease, lease_for=LEASE)


@breaks("WORKER-8")
class TakesOneAhead(Worker):
    """A worker takes the next task before it runs the one in hand, and renews the lease of that one only."""

    ahead: Lease | None = None

    def claim(self, queue: Queue) -> Lease | None:
        first = self.ahead or super().claim(queue)
        self.ahead = None if first is None else super().claim(queue)
        return first


@breaks("WORKER-9")
class IsDoneWithAnybodys(Worker):
    """A worker says that the task of that id is done, whoever has it by then."""

    def done(self, queue: Queue, lease: Lease) -> None:
        with queue.alone():
            row = queue.find(lease.id)
            if row is not None:
                queue.remove(row)


@breaks("WORKER-9")
class GivesBackWhatItLost(Worker):
    """A worker that lost its lease has the task wait again, so that it is not lost."""

    def done(self, queue: Queue, lease: Lease) -> None:
        try:
            queue.ack(lease)
        except LeaseLost:
            with queue.alone() as now:
                row = queue.find(lease.id)
                if row is not None:
                    row.token = None
                    queue.wait(row, None, now)


@breaks("WORKER-9")
class RenewsWhatItLost(Worker):
    """A worker that goes on makes its lease longer, though somebody else has the task, and is done with it then."""

    def done(self, queue: Queue, lease: Lease) -> None:
        with queue.alone() as now:
            row = queue.find(lease.id)
            if row is not None:
                row.token, row.due = lease.token, now + LEASE // timedelta(microseconds=1)
                queue.write(row)
        queue.ack(lease)


@retries("WORKER-10")
class TriesOnceMore(Retries):
    """The first attempt is not counted."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts == self.attempts:
            queue.release(lease, not_before=queue.clock.now() + self.retry_after)
        else:
            super().failed(queue, lease, error)


@retries("WORKER-10")
class GivesUpAtOnce(Retries):
    """What fails is set aside, however often it was to be tried."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        queue.dead_letter(lease, reason=str(error))


@retries("WORKER-10")
class SilenceIsSuccess(Retries):
    """What fails without a word is done."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if str(error):
            super().failed(queue, lease, error)
        else:
            queue.ack(lease)


@retries("WORKER-11")
class WaitsOnce(Retries):
    """The first retry comes when it is due, and the next one at once."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts == 1:
            super().failed(queue, lease, error)
        elif lease.task.attempts < self.attempts:
            queue.release(lease)
        else:
            queue.dead_letter(lease, reason=str(error))


@retries("WORKER-10")
class WaitsWithAll(Retries):
    """While something that failed waits for its next attempt, the worker waits, too."""

    def next(self, queue: Queue) -> Lease | None:
        while any(row.state == "scheduled" and row.attempts for row in queue.rows.values()) and not self.told_to_stop:
            time.sleep(0.002)
            queue.count()
        return super().next(queue)


class Remembers(Retries):
    """A worker takes what failed out of the queue, and puts it back at its time, or when it goes."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.later: list[Row] = []

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            return super().failed(queue, lease, error)
        with queue.alone() as now:
            row = queue.held(lease)
            self.later.append(replace(row, due=now + self.retry_after // timedelta(microseconds=1), token=None))
            queue.remove(row)
        return None

    def claim(self, queue: Queue) -> Lease | None:
        self.put_back(queue)
        return super().claim(queue)

    def put_back(self, queue: Queue, *, early: bool = False) -> None:
        """What has come to its time waits again; `early`: the rest waits for its time."""
        with queue.alone() as now:
            for row in [row for row in self.later if early or (row.due or 0) <= now]:
                self.later.remove(row)
                row.number = queue.last + 1
                queue.wait(row, row.due, now)

    def go(self) -> None:
        self.put_back(Journal.open(self._harness, self.place), early=True)
        super().go()


@retries("WORKER-10")
class RemembersWhatFailed(Remembers):
    """A worker takes what failed out of the queue, and lives until it has put it back."""

    def next(self, queue: Queue) -> Lease | None:
        while self.later and not queue.count().ready and not self.told_to_stop:
            time.sleep(0.002)
            self.put_back(queue)
        return super().next(queue)


@retries("WORKER-10")
class RemembersWhileItIsBusy(Remembers):
    """A worker takes what failed out of the queue, and puts it back when it has nothing else to do."""


@retries("WORKER-10")
class RetriesInTwoSteps(Retries):
    """What failed is taken out in one step, and waits for its retry in the next."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            super().failed(queue, lease, error)
            return
        with queue.alone():
            row = queue.held(lease)
            queue.remove(row)
        with queue.alone() as now:
            row.token = None
            queue.wait(row, now + self.retry_after // timedelta(microseconds=1), now)


@retries("WORKER-10")
class KeepsEqualsAway(Retries):
    """What was tried often enough stands in the way of equal works, as though it would be tried again."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            queue.release(lease, not_before=queue.clock.now() + timedelta(days=9999))
        else:
            super().failed(queue, lease, error)


@retries("WORKER-11")
class RetriesInWholeSeconds(Retries):
    """The time of the next attempt is cut to whole seconds."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            super().failed(queue, lease, error)
        else:
            queue.release(lease, not_before=(queue.clock.now() + self.retry_after).replace(microsecond=0))


@retries("WORKER-11")
class RetriesAtOnce(Retries):
    """What fails is tried again as soon as nothing else waits."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            super().failed(queue, lease, error)
        else:
            queue.release(lease)


@retries("WORKER-11")
class RetriesSinceItsStart(Retries):
    """The time until the next attempt counts in units of a tenth of what is stated."""

    def failed(self, queue: Queue, lease: Lease, error: Exception) -> None:
        if lease.task.attempts >= self.attempts:
            super().failed(queue, lease, error)
        else:
            queue.release(lease, not_before=queue.clock.now() + self.retry_after / 10)


@breaks("WORKER-12")
class RunsTwoAtOnce(Worker):
    """A worker takes two tasks, and runs them in two threads."""

    def run(self, queue: Queue, lease: Lease) -> None:
        second = queue.claim(lease_for=LEASE)
        if second is None:
            return super().run(queue, lease)
        other = threading.Thread(target=super().run, args=(queue, second))
        other.start()
        super().run(queue, lease)
        other.join()
        return None


@breaks("WORKER-14")
class RunsAheadOfTime(Worker):
    """A worker that finds nothing due runs what is scheduled, to have it done."""

    def claim(self, queue: Queue) -> Lease | None:
        lease = super().claim(queue)
        if lease is None:
            with queue.alone() as now:
                for row in queue.rows_in("scheduled"):
                    queue.wait(row, None, now)
            lease = super().claim(queue)
        return lease


@breaks("WORKER-14")
class TakesTimesIntoMemory(Worker):
    """A worker takes what is scheduled out of the queue, and puts it back when it goes, if nobody kills it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.taken: list[Row] = []

    def claim(self, queue: Queue) -> Lease | None:
        with queue.alone() as now:
            for row in queue.rows_in("scheduled"):
                self.taken.append(replace(row))
                queue.remove(row)
            for row in [row for row in self.taken if (row.due or 0) <= now]:
                self.taken.remove(row)
                row.number = queue.last + 1
                queue.wait(row, None, now)
        return super().claim(queue)

    def go(self) -> None:
        queue = Journal.open(self._harness, self.place)
        with queue.alone() as now:
            for row in self.taken:
                row.number = queue.last + 1
                queue.wait(row, row.due, now)
        super().go()


@breaks("WORKER-14", "WORKER-4")
class MovesInTwoSteps(Worker):
    """The next task is taken out of the queue in one step, and is written down as being in hand in the next."""

    def claim(self, queue: Queue) -> Lease | None:
        with queue.alone():
            row = queue.first()
            taken = None if row is None else replace(row)
            if row is not None:
                queue.remove(row)
        if taken is not None:
            with queue.alone() as now:
                queue.wait(taken, None, now)
        return super().claim(queue)


@breaks("WORKER-15")
class DoneBlocks(Worker):
    """What is done stays in the queue as leased for ever, so that an equal work is refused."""

    def done(self, queue: Queue, lease: Lease) -> None:
        with queue.alone() as now:
            row = queue.held(lease)
            row.state, row.due = "leased", now + timedelta(days=3650) // timedelta(microseconds=1)
            queue.write(row)


@breaks("WORKER-15")
class RemembersWhatItRan(Worker):
    """A worker has a list of what it ran, and takes what is in it for done."""

    def run(self, queue: Queue, lease: Lease) -> None:
        ran = self.place / "ran"
        text = json.dumps(lease.work)
        if text in (ran.read_text().splitlines() if ran.exists() else []):
            queue.ack(lease)
            return
        super().run(queue, lease)
        with open(ran, "a") as file:
            file.write(text + "\n")
