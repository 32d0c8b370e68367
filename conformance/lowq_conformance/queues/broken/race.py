"""Queues that are right for one client at a time, and wrong when several threads or processes meet."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from lowq import Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.dedupe import breaks_remembering
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.remembering import Remembering
from lowq_conformance.queues.sound.rows import Row


@breaks("DEDUPE-9", "RACE-3")
class LooksBeforeItPushes(Queue):
    """A push looks for an equal task in one transaction and adds its own in the next: check, then insert."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone():
            standing = [self.standing(row) for row in rows]
        if any(standing) or len(rows) != 1:
            return super().push_many(items)
        with self.alone() as now:
            rows[0].number, rows[0].pushed = self.last + 1, now
            self.wait(rows[0], rows[0].not_before, now)
            return [Pushed(self.id(rows[0]), added=True)]


@breaks_remembering("DEDUPE-9", "RACE-3")
class LooksBeforeItRemembers(Remembering):
    """The same of a queue that also refuses what has ended."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone():
            known = [self.standing(row) or self.identity(row) in self.past for row in rows]
        if any(known) or len(rows) != 1:
            return super().push_many(items)
        with self.alone() as now:
            rows[0].number, rows[0].pushed = self.last + 1, now
            self.wait(rows[0], rows[0].not_before, now)
            return [Pushed(self.id(rows[0]), added=True)]


@breaks("RACE-1", "DELIVER-3", "RACE-3")
class SelectsThenUpdates(Queue):
    """A claim selects the first task in one transaction and marks it in the next, whoever took it in between."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone() as now:
            until, row = self.until(now, lease_for), self.first()
        if row is None:
            return None
        with self.alone():
            if row.number in self.rows:
                row = self.rows[row.number]
            self.hold(row, until)
            return self.lease(row)


@breaks("RACE-1", "DELIVER-3")
class ClaimsFromMemory(Queue):
    """A claim looks at what this client has read before, and reads on only when it knows of nothing."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        known = self.first()
        with self.alone() as now:
            until = self.until(now, lease_for)
            row = known or self.first()
            if row is None:
                return None
            self.hold(row, until)
            return self.lease(row)


@breaks("LEASE-12")
class TakesOverTwice(Queue):
    """A lease that ran out is found in one transaction and taken over in the next, also by whoever else found it."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            found = self.first()
        late = found if found is not None and found.token is not None else None
        with self.alone() as now:
            until = self.until(now, lease_for)
            row = self.first() if late is None else self.rows.get(late.number)
            if row is None:
                return None
            self.hold(row, until)
            return self.lease(row)


@breaks("RACE-2", "RACE-3")
class OneNumberForTwo(Queue):
    """The number of a new task is chosen before the lock is taken: of two that get the same, one is overwritten."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone():
            number = self.last
        with self.alone() as now:
            answers = []
            for row in rows:
                standing = self.standing(row)
                if standing is None:
                    number += 1
                    self.equals.get(self.identity(self.rows[number]), set()).discard(
                        number
                    ) if number in self.rows else None
                    row.number, row.pushed = number, now
                    self.wait(row, row.not_before, now)
                answers.append(Pushed(self.id(standing or row), added=standing is None))
            return answers


@breaks("RACE-3")
class LateAcksCount(Queue):
    """An ack looks at the task alone: a holder slower than its lease removes what somebody else works on."""

    def held(self, lease: Lease) -> Row:
        row = self.find(lease.id)
        return super().held(lease) if row is None or row.token is None else row


@breaks("RACE-3")
class LateReleasesCount(Queue):
    """A release looks at the task alone: a holder slower than its lease gives away what somebody else works on."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.find(lease.id)
            now = lease if row is None or row.token is None or row.due is None else self.lease(row)
        super().release(now, not_before=not_before)


class Impatient(Queue):
    """What happens when somebody else is at the file."""

    tries = 1

    def busy(self) -> None:
        """Somebody else is."""
        raise BlockingIOError("database is locked")

    @contextmanager
    def alone(self) -> Iterator[int]:
        for _ in range(self.tries):
            if self.fd is None or self.free(self.fd):
                break
            time.sleep(0.0005)
        else:
            self.busy()
        with super().alone() as now:
            yield now

    def free(self, fd: int) -> bool:
        """Whether nobody else is at the file now."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        return True


@breaks("RACE-4")
class SaysLocked(Impatient):
    """Who meets another one at the file gets "database is locked" for an answer."""


@breaks("RACE-4")
class SaysLockedInTheEnd(Impatient):
    """Who has met others at the file three times in a row gets "database is locked" for an answer."""

    tries = 3


@breaks("DELIVER-6", "RACE-3")
class BusyIsEmpty(Impatient):
    """A claim that meets another client at the file answers that there is nothing to do."""

    def busy(self) -> None:
        """Nothing: the lock is waited for."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        if self.fd is not None and not self.free(self.fd):
            return None
        return super().claim(lease_for=lease_for)


@breaks("DELIVER-6")
class LosesTheRaceAndGivesUp(Queue):
    """A claim whose task somebody else took meanwhile answers that there is nothing to do."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            found = self.first()
        if found is None:
            return None
        with self.alone() as now:
            if self.rows.get(found.number) is None or found.number not in self.by_state["ready"]:
                return None
            row = self.rows[found.number]
            self.hold(row, self.until(now, lease_for))
            return self.lease(row)


@breaks("RACE-5")
class TwoLocks(Queue):
    """There are two locks, and a push takes them in another order than a claim."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.second = os.open(self.file(place).with_suffix(".second"), os.O_RDWR | os.O_CREAT)

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        fcntl.flock(self.second, fcntl.LOCK_EX)
        try:
            return super().push_many(items)
        finally:
            fcntl.flock(self.second, fcntl.LOCK_UN)

    def hold(self, row: Row, until: int) -> None:
        fcntl.flock(self.second, fcntl.LOCK_EX)
        try:
            super().hold(row, until)
        finally:
            fcntl.flock(self.second, fcntl.LOCK_UN)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.second)
        super().close()


@breaks("ORDER-2")
class NumbersInAdvance(Queue):
    """Each client takes ten numbers in advance, so that a later push of another one may come out first."""

    mine: range = range(0)

    def add(self, row: Row, now: int) -> Pushed:
        standing = self.standing(row)
        if standing is not None:
            return Pushed(self.id(standing), added=False)
        if not self.mine:
            self.mine = range(self.last + 1, self.last + 11)
            self.last += 10
            self.write(Row("null", "reserved", 0, None, number=self.last, state="gone"))
        row.number, self.mine = self.mine[0], self.mine[1:]
        row.pushed = now
        self.wait(row, row.not_before, now)
        return Pushed(self.id(row), added=True)


@breaks("RACE-6")
class ClosingCompacts(Queue):
    """Who closes writes the file anew, without what is gone, and the others go on with the old one."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.path = self.file(place)

    def close(self) -> None:
        if self.fd is not None:
            with self.alone():
                rows = [vars(row) for row in self.rows.values()]
            new = self.path.with_suffix(f".{os.getpid()}-{id(self)}")
            new.write_text("".join(f"{line}\n" for line in lines(rows)))
            os.replace(new, self.path)
        super().close()


def lines(rows: list[dict[str, object]]) -> Iterator[str]:
    """One line for each row."""
    import json

    for row in rows:
        yield json.dumps([row])


@breaks("RACE-7")
class ForkSharesTheLock(Queue):
    """A child of a fork goes on with its parent's client, and with its lock: it is held by both at once."""

    @contextmanager
    def alone(self) -> Iterator[int]:
        self.pid = os.getpid()
        with super().alone() as now:
            yield now


@breaks("RACE-1", "RACE-3")
class TidiesUpInTwoSteps(Queue):
    """With every sixty-fourth task its ack reads what waits in one transaction, and writes it anew in the next."""

    def ack(self, lease: Lease) -> None:
        super().ack(lease)
        if int(lease.id.rpartition("/")[2]) % 64 == 0:
            with self.alone():
                waiting = [replace(row) for row in self.rows_in("ready")]
            with self.alone():
                for row in waiting:
                    self.write(row)
