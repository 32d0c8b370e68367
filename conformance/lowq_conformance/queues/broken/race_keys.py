"""Queues that mix up keys, headers or room where several clients meet, and never with one alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from lowq import Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue


@breaks("RACE-3")
class HeadersOnASlip(Queue):
    """The headers of a push lie on a slip, one for all clients, until the task is written."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.slip = place / "slip"

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        self.slip.write_text(json.dumps([dict(row.headers) for row in rows]))
        with self.alone() as now:
            for row, headers in zip(rows, json.loads(self.slip.read_text()), strict=False):
                row.headers = headers
            return [self.add(row, now) for row in rows]


@breaks("RACE-3")
class GivesBackWithoutHeaders(Queue):
    """A release gives the task back in one step and its headers in the next."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            headers, row.headers = row.headers, {}
            self.write(row)
        super().release(lease, not_before=not_before)
        with self.alone():
            if row.number in self.rows:
                self.rows[row.number].headers = headers
                self.write(self.rows[row.number])
