"""Sound queues that do with the dead, be they clients or tasks, what their promises allow and lowq's never do."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowq import Lease
from lowq_conformance.contract.promises import Redriven
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.support.processes import is_gone


class FreesTheDead(Journal):
    """A claim has no end but its client's: whoever opens the queue takes back what those had in hand who are dead."""

    promises = Journal.promises - {"lease", "extend"}

    class _Queue(Queue):
        promises = Queue.promises - {"lease", "extend"}

        def hold(self, row: Row, until: int) -> None:
            super().hold(row, until)
            row.token, row.due = f"{os.getpid()} {row.token}", None
            self.write(row)

        def lease(self, row: Row) -> Lease:
            assert row.token is not None
            return Lease(self.shown(row), row.token, datetime.max.replace(tzinfo=UTC))

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue; what the dead had in hand waits again."""
        opened: Queue = super().open(place, name)
        with opened.alone() as now:
            for row in opened.rows_in("leased"):
                if row.token is not None and is_gone(int(row.token.split()[0])):
                    row.token = None
                    opened.wait(row, None, now)
        return opened

    _queue = _Queue


class NobodyRedrives(Journal):
    """What is set aside stays there, and nobody can ask that it waits again."""

    class _Queue(Queue):
        redrive = None  # type: ignore[assignment]  # the method that may be missing

    _queue = _Queue


class RedrivingBeside(Queue):
    """A dead task is put back without a look at whether its work was pushed again meanwhile."""

    def redrive(self, id: str) -> bool:
        """As Queue.redrive, but for that look."""
        with self.alone() as now:
            row = self.find(id)
            if row is None or row.state != "dead":
                return False
            row.attempts = 0
            self.wait(row, None, now)
            return True


class RedrivesAsNew(Journal):
    """A dead task is put back as a new one, which has an id of its own and stands behind all others."""

    class _Queue(Queue):
        def redrive(self, id: str) -> bool:
            with self.alone() as now:
                row = self.find(id)
                if row is None or row.state != "dead" or self.standing(row) is not None:
                    return False
                self.remove(row)
                self.add(replace(row, attempts=0, reason=None), now)
                return True

    _queue = _Queue


class RedrivesBeside(Journal):
    """A dead task is put back whether or not its work was pushed again meanwhile, as a person may ask for."""

    redriven: Redriven = "any"

    _queue = RedrivingBeside
