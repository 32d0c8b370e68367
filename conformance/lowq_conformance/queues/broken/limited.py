"""Queues that say after how many claims they set a task aside, and do it too early, or lose it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar

from lowq import Lease
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Journal, Queue
from lowq_conformance.queues.sound.limited import SettingAside
from lowq_conformance.queues.sound.rows import Row

LIMIT = SettingAside.limit


def breaks_at_limit(*clauses: str, **traits: Any) -> Callable[[type[Queue]], type[Journal]]:
    """As `breaks`, with a harness that states the limit, too."""
    return breaks(*clauses, **{"max_deliveries": LIMIT, **traits})


@breaks_at_limit("LEASE-2")
class SetsAsideTooSoon(SettingAside):
    """A task is set aside when it comes back for the last time but one."""

    limit = LIMIT - 1


@breaks_at_limit("RELEASE-1")
class ReleaseCountsTwice(SettingAside):
    """A task that is given back is counted twice, as claimed and as given back."""

    def release(self, lease: Lease, **given: Any) -> None:
        with self.alone():
            row = self.held(lease)
            row.lost += 1
            if row.attempts + row.lost >= LIMIT:
                self.set_aside(row)
                return
        Queue.release(self, lease, **given)


@breaks_at_limit("RELEASE-1", counts_release=False)
class CountsWhatIsGivenBack(SettingAside):
    """It says that giving back is not counted, and counts it."""


@breaks_at_limit("LEASE-8")
class ExtendCounts(SettingAside):
    """To hold a task for longer is counted as claiming it."""

    def is_spent(self, row: Row) -> bool:
        return row.attempts + row.lost > LIMIT

    def extend(self, lease: Lease, *, lease_for: timedelta) -> Lease:
        longer = super().extend(lease, lease_for=lease_for)
        with self.alone():
            self.held(longer).lost += 1
            self.write(self.held(longer))
        return longer


@breaks_at_limit("LEASE-2")
class CountsByWork(SettingAside):
    """Claims are counted by the work, so that one that was done often is set aside when it first comes back."""

    counted: ClassVar[dict[Any, int]] = {}

    def hold(self, row: Row, until: int) -> None:
        at = self.clock, self.identity(row)
        self.counted[at] = self.counted.get(at, 0) + 1
        super().hold(row, until)

    def is_spent(self, row: Row) -> bool:
        return self.counted.get((self.clock, self.identity(row)), 0) > LIMIT


@breaks_at_limit("DEAD-2", max_deliveries=1)
class LosesWhatItSetsAside(SettingAside):
    """What comes back is gone, though it says that it sets that aside, and tasks are dead by promise."""

    limit = 1

    def set_aside(self, row: Row) -> None:
        self.remove(row)


@breaks_at_limit("DEAD-3")
class SetsAsideForGood(SettingAside):
    """What it has set aside by itself cannot be redriven."""

    def redrive(self, id: str) -> bool:
        with self.alone():
            row = self.find(id)
            if row is None or row.attempts >= LIMIT:
                return False
        return super().redrive(id)


@breaks_at_limit("DEAD-3")
class SetsAsideWhatWasRedriven(Queue):
    """A redriven task keeps its count, and is set aside again at the claim that meets it."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            for row in self.rows_in("ready"):
                if row.lost >= LIMIT:
                    row.state, row.due, row.token, row.reason = "dead", None, None, "too often"
                    self.write(row)
        return super().claim(lease_for=lease_for)

    def hold(self, row: Row, until: int) -> None:
        row.lost += 1
        super().hold(row, until)


@breaks_at_limit("DELIVER-6")
class AnswersNoneForWhatItSetsAside(Queue):
    """A claim that meets a task that was handed out too often sets it aside, and says that the queue is empty."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        with self.alone():
            row = self.first()
            if row is not None and row.attempts >= LIMIT:
                row.state, row.due, row.token, row.reason = "dead", None, None, "too often"
                self.write(row)
                return None
        return super().claim(lease_for=lease_for)
