"""Queues that merge what differs, or keep equals apart."""

# ruff: noqa: ARG002  what a queue does not look at is what is wrong with it

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from glob import escape
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar
from unicodedata import normalize
from zlib import adler32, crc32

from lowq import Clock, Dedupe, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks, breaks_in
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.remembering import Remembering, RemembersForEver
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.values import check

breaks_remembering = partial(breaks_in, RemembersForEver)


@breaks("DEDUPE-1")
class DedupesNothing(Queue):
    """Equal works are all added."""

    def standing(self, row: Row) -> Row | None:
        return None


@breaks("DEDUPE-1")
class NeverSaysDuplicate(Queue):
    """A refused push says that it added its work."""

    def add(self, row: Row, now: int) -> Pushed:
        return replace(super().add(row, now), added=True)


@breaks("DEDUPE-2")
class DedupesBySpelling(Queue):
    """Objects with the same fields in another order count as different."""

    def encode(self, work: Any) -> str:
        check(work, "work", 0)
        return json.dumps(work, allow_nan=False)


@breaks("DEDUPE-3")
class DedupesByStr(Queue):
    """Works whose str() is the same are merged: 1 and "1"."""

    def identity(self, row: Row) -> Hashable:
        return str(json.loads(row.text)) if row.key is None else ("key", row.key)


@breaks("DEDUPE-3")
class WorksAreLike(Queue):
    """Equal works are looked for by a pattern, as LIKE does: "ab" is found under "a%"."""

    def standing(self, row: Row) -> Row | None:
        pattern = escape(row.text).replace("%", "*").replace("_", "?")
        for each in self.rows.values():
            if row.key is None and each.state != "dead" and fnmatchcase(each.text, pattern):
                return each
        return super().standing(row)


@breaks_remembering("DEDUPE-3")
class RemembersByCRC(Remembering):
    """Of works that have ended it remembers the CRC-32, and refuses others for them."""

    def keep(self, row: Row) -> None:
        super().keep(row)
        if row.state == "gone":
            self.past[crc32(row.text.encode())] = row.number

    def add(self, row: Row, now: int) -> Pushed:
        number = self.past.get(crc32(row.text.encode()))
        return super().add(row, now) if number is None else Pushed(f"{self.name}/{number}", added=False)


@breaks_remembering("DEDUPE-1")
class RemembersNothingButTheEnded(Remembering):
    """What has ended refuses an equal work, and what waits does not."""

    def standing(self, row: Row) -> Row | None:
        return None


@breaks("DEDUPE-3", "DEDUPE-4")
class DedupesByCRC(Queue):
    """Works and keys whose CRC-32 is the same are merged."""

    def identity(self, row: Row) -> Hashable:
        return row.key is None, crc32((row.text if row.key is None else row.key).encode())


@breaks("DEDUPE-3", "DEDUPE-4")
class DedupesByTwentyBits(Queue):
    """Works and keys are compared by the first five digits of a hash."""

    def identity(self, row: Row) -> Hashable:
        text = row.text if row.key is None else row.key
        return row.key is None, sha256(text.encode()).hexdigest()[:5]


@breaks("DEDUPE-3", "DEDUPE-4")
class DedupesByAdler(Queue):
    """Works and keys whose Adler-32 is the same are merged."""

    def identity(self, row: Row) -> Hashable:
        return row.key is None, adler32((row.text if row.key is None else row.key).encode())


@breaks("DEDUPE-3")
class DedupesByTheBeginning(Queue):
    """Works that begin with the same 4,096 characters are merged."""

    def identity(self, row: Row) -> Hashable:
        return row.text[:4096] if row.key is None else ("key", row.key)


@breaks("DEDUPE-3")
class DedupesByEquality(Queue):
    """Works that Python calls equal are merged: 1, 1.0 and true."""

    def identity(self, row: Row) -> Hashable:
        work = json.loads(row.text)
        return work if row.key is None and isinstance(work, Hashable) else super().identity(row)


@breaks("DEDUPE-3")
class DedupesNormalised(Queue):
    """Composed and decomposed é are merged."""

    def identity(self, row: Row) -> Hashable:
        return normalize("NFC", row.text) if row.key is None else ("key", row.key)


@breaks("DEDUPE-3")
class DedupesWithoutCase(Queue):
    """Works that differ in upper and lower case only are merged, as by a database's default collation."""

    def identity(self, row: Row) -> Hashable:
        return row.text.casefold() if row.key is None else ("key", row.key)


@breaks("DEDUPE-3")
class DedupesByThePrefix(Queue):
    """Works whose first 255 characters are the same are merged, as by an index on a prefix."""

    def identity(self, row: Row) -> Hashable:
        return row.text[:255] if row.key is None else ("key", row.key)


@breaks("DEDUPE-3")
class DedupesWithoutSpace(Queue):
    """Works are compared with the spaces taken out, inside strings too."""

    def identity(self, row: Row) -> Hashable:
        return row.text.replace(" ", "") if row.key is None else ("key", row.key)


@breaks("DEDUPE-5")
class RemembersForever(Queue):
    """What was pushed once is refused for ever, done or not."""

    def keep(self, row: Row) -> None:
        super().keep(row)
        self.equals[self.identity(row)].add(row.number)

    def standing(self, row: Row) -> Row | None:
        numbers = self.equals.get(self.identity(row), set())
        return replace(row, number=min(numbers)) if numbers else None


@breaks("DEDUPE-6")
class ForgetsTheRunning(Queue):
    """It says until_done, but an equal work is added while one runs."""

    windows = Queue.windows | {"until_done": ("scheduled", "ready")}


@breaks("DEDUPE-6")
class RefusesWhileOneRuns(Queue):
    """It says until_claimed, but refuses an equal work while one runs."""

    dedupe: ClassVar[Dedupe] = "until_claimed"
    windows = Queue.windows | {"until_claimed": ("scheduled", "ready", "leased")}


@breaks("DEDUPE-6")
class AnyNumberWhileOneRuns(Queue):
    """While a work runs, every equal one is added, not one."""

    dedupe: ClassVar[Dedupe] = "until_claimed"

    def standing(self, row: Row) -> Row | None:
        numbers = self.equals.get(self.identity(row), set())
        if any(self.rows[number].state == "leased" for number in numbers):
            return None
        return super().standing(row)


@breaks("DEDUPE-7")
class DeadBlocks(Queue):
    """A dead task keeps an equal work from being pushed."""

    windows = Queue.windows | {"until_done": ("scheduled", "ready", "leased", "dead")}


@breaks("DEDUPE-7")
class CancelledBlocks(Queue):
    """A cancelled task keeps an equal work from being pushed."""

    def cancel(self, id: str) -> bool:
        row = self.rows.get(int(id.rpartition("/")[2]))
        cancelled = super().cancel(id)
        if cancelled and row is not None:
            self.equals[self.identity(row)].add(row.number)
        return cancelled

    def standing(self, row: Row) -> Row | None:
        for number in self.equals.get(self.identity(row), set()):
            if number not in self.rows:
                return replace(row, number=number)
        return super().standing(row)


@breaks("DEDUPE-10")
class DedupesInMemory(Queue):
    """Only what this client has pushed is known to it as standing."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.seen: set[Hashable] = set()

    def standing(self, row: Row) -> Row | None:
        known = self.identity(row) in self.seen
        self.seen.add(self.identity(row))
        return super().standing(row) if known else None


@breaks("DEDUPE-11")
class BatchIsNotDeduped(Queue):
    """Works of one batch are compared with the queue but not with each other."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        rows = [self.row(item) for item in items]
        with self.alone() as now:
            known = [self.standing(row) for row in rows]
            for row, one in zip(rows, known, strict=True):
                if one is None:
                    row.number, row.pushed = self.last + 1, now
                    self.wait(row, row.not_before, now)
            return [Pushed(self.id(one or row), one is None) for row, one in zip(rows, known, strict=True)]


@breaks("DEDUPE-11")
class LastOfABatch(Queue):
    """Of equal works in a batch the last is kept, as a dict built from them does."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        return list(reversed(super().push_many(reversed(list(items)))))


@breaks("DEDUPE-12")
class ForgetsTheRunOut(Queue):
    """The key is freed when a task is claimed: when its lease ran out, an equal work is added beside it."""

    def standing(self, row: Row) -> Row | None:
        standing = super().standing(row)
        return None if standing and standing.state == "ready" and standing.attempts else standing


@breaks("DEDUPE-12")
class ReleasedIsMerged(Queue):
    """A task released beside a waiting equal is dropped."""

    dedupe: ClassVar[Dedupe] = "until_claimed"

    def release(self, lease: Lease, *, not_before: Any = None) -> None:
        with self.alone():
            row = self.held(lease)
            if self.standing(row) is not None:
                self.remove(row)
                return
        super().release(lease, not_before=not_before)
