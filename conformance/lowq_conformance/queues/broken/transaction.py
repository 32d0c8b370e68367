"""Broken queues: pushes in the application's own transaction."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowq import Item
from lowq_conformance.queues.broken.register import enter
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.transactional import Transaction, Transactional
from lowq_conformance.support.processes import is_gone

FAR = datetime(9999, 1, 1, tzinfo=UTC)


class _KeepsAll(Transaction):
    def roll_back(self) -> None:
        self.commit()


class KeepsWhatIsRolledBack(Transactional):
    """A transaction that is rolled back leaves its pushes."""

    _transaction = _KeepsAll


class _Reserves(Transaction):
    def __init__(self, queue: Queue, place: Path) -> None:
        super().__init__(queue, place)
        self.reserved: list[str] = []

    def push(self, work: Any, **given: Any) -> None:
        super().push(work, **given)
        pushed = self.queue.push(work, not_before=FAR)
        if pushed.added:
            self.reserved.append(pushed.id)

    def commit(self) -> None:
        for id in self.reserved:
            self.queue.cancel(id)
        super().commit()


class ReservesForGood(Transactional):
    """A work that was pushed in a transaction that is rolled back is refused as a duplicate ever after."""

    _transaction = _Reserves


class _AtOnce(Transaction):
    def __init__(self, queue: Queue, place: Path) -> None:
        super().__init__(queue, place)
        self.pushed: list[str] = []

    def push(self, work: Any, **given: Any) -> None:
        self.pushed.append(self.queue.push(work, **given).id)

    def commit(self) -> None:
        pass

    def roll_back(self) -> None:
        for id in self.pushed:
            self.queue.cancel(id)


class PushesBeforeTheCommit(Transactional):
    """A push in a transaction is there at once, and taken out again where that is rolled back."""

    _transaction = _AtOnce


class _Backwards(Transaction):
    def commit(self) -> None:
        self.queue.push_many(reversed(self.items))


class CommitsBackwards(Transactional):
    """What was pushed in one transaction comes out the other way round."""

    _transaction = _Backwards


class _Last(Transaction):
    def commit(self) -> None:
        self.queue.push_many(self.items[-1:])


class KeepsTheLast(Transactional):
    """Of a transaction the last push alone is kept."""

    _transaction = _Last


class _First(Transaction):
    def commit(self) -> None:
        with self.queue.alone() as now:
            for item in reversed(self.items):
                row = self.queue.row(item)
                row.number = min([0, *self.queue.rows]) - 1
                self.queue.wait(row, row.not_before, now)


class OvertakesWhatWaits(Transactional):
    """What is committed comes out before all that waited at the commit."""

    _transaction = _First


class _Written(Transaction):
    @property
    def file(self) -> Path:
        return self.place / "transaction.json"

    def push(self, work: Any, **given: Any) -> None:
        super().push(work, **given)
        self.file.write_text(json.dumps([os.getpid(), [item.work for item in self.items]]))

    def commit(self) -> None:
        self.file.unlink(missing_ok=True)
        super().commit()

    def roll_back(self) -> None:
        self.file.unlink(missing_ok=True)
        super().roll_back()


class RecoversWhatNobodyCommitted(Transactional):
    """What was written before the commit is taken for committed once its program has died."""

    _transaction = _Written

    def open(self, place: Path, name: str = "default") -> Queue:
        queue = super().open(place, name)
        file = place / "transaction.json"
        if file.exists():
            pid, works = json.loads(file.read_text())
            if is_gone(pid):
                queue.push_many(Item(work) for work in works)
                file.unlink()
        return queue


enter(KeepsWhatIsRolledBack, ("TX-1",))
enter(ReservesForGood, ("TX-1",))
enter(PushesBeforeTheCommit, ("TX-2",))
enter(CommitsBackwards, ("TX-3",))
enter(KeepsTheLast, ("TX-3",))
enter(OvertakesWhatWaits, ("TX-3",))
enter(RecoversWhatNobodyCommitted, ("TX-4",))
