"""Queues that see to what they hand to a claim that waits in another way than to what is claimed at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from lowq import Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks, breaks_in
from lowq_conformance.queues.sound.bounded import Bounded, Full, WithRoom
from lowq_conformance.queues.sound.journal import DAY
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.waiting import NOW, Waiting


class HandsOver(Waiting):
    """What comes while a claim waits is handed to it, and seen to in another way than what is claimed at once."""

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is not None or wait <= NOW:
            return lease
        lease = super().claim(lease_for=lease_for, wait=wait)
        return None if lease is None else self.handed(lease)

    def handed(self, lease: Lease) -> Lease:
        """The claim that waited has it."""
        with self.alone():
            row = self.held(lease)
            self.change(row)
            self.write(row)
            return self.lease(row)

    def change(self, row: Row) -> None:
        """What is wrong with it."""


@breaks("LEASE-2")
class HandsOverForADay(HandsOver):
    """What is handed to a claim that waited is in its hand for a day more than was asked for."""

    def change(self, row: Row) -> None:
        assert row.due is not None
        row.due += DAY // timedelta(microseconds=1)


@breaks("LEASE-3")
class HandsOverUncounted(HandsOver):
    """What is handed to a claim that waited is no attempt."""

    def change(self, row: Row) -> None:
        row.attempts -= 1


@breaks("HEADERS-1")
class HandsOverWithoutHeaders(HandsOver):
    """What is handed to a claim that waited comes without its headers."""

    def change(self, row: Row) -> None:
        row.headers = {}


@breaks("DEDUPE-6")
class HandsOverWithoutKey(HandsOver):
    """What is handed to a claim that waited refuses no equal work."""

    def change(self, row: Row) -> None:
        row.reason = "handed over"

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        return None if standing is not None and standing.reason == "handed over" else standing


@breaks("ORDER-3")
class HandsOverTheFirst(HandsOver):
    """Who waits is handed what is the first of a batch, whatever its priority."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        if len(items) > 1 and os.listdir(self.pipes):
            items = [replace(items[0], priority=2**31 - 1), *items[1:]]
        return super().push_many(items)


class WaitsWithRoom(WithRoom):
    """The harness of a queue with room for so many tasks, whose claims wait."""

    promises = WithRoom.promises | {"wait"}


@breaks_in(WaitsWithRoom, "BATCH-1")
class HandsOverBeforeAllFit(Bounded, Waiting):
    """A batch is handed item by item to who waits, before it is known whether there is room for all of it."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        try:
            return super().push_many(items)
        except Full:
            if len(items) > 1 and os.listdir(self.pipes):
                super().push_many(items[:1])
            raise
