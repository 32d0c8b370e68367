"""Queues that lose, cut, change, repeat or invent works."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unicodedata import normalize

from lowq import Clock, Counts, Item, Lease, Pushed, Task
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.values import check, each_scalar


@breaks("DELIVER-1")
class CutsAtNul(Queue):
    """Text ends at its first NUL character, as in C."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: v.partition("\0")[0] if isinstance(v, str) else v))


@breaks("DELIVER-1")
class NormalisesText(Queue):
    """Text comes out in Unicode's composed form, whatever it went in as."""

    def encode(self, work: Any) -> str:
        return normalize("NFC", super().encode(work))


@breaks("DELIVER-1")
class EndsLinesAsUnicodeDoes(Queue):
    """Of a text that another client wrote the first line is read, and Unicode has more ends of lines than files."""

    def replay(self, fd: int) -> None:
        known = {id(row) for row in self.rows.values()}
        super().replay(fd)
        for row in [row for row in self.rows.values() if id(row) not in known]:
            self.equals[self.identity(row)].discard(row.number)
            row.text = self.encode(each_scalar(self.decode(row.text), first_line))
            self.keep(row)


def first_line(value: Any) -> Any:
    return value[: len(value.splitlines()[0])] if isinstance(value, str) and value else value


@breaks("DELIVER-1")
class EmptyTextIsNull(Queue):
    """An empty string becomes null, as in Oracle."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: None if v == "" else v))


@breaks("DELIVER-1")
class SixDigits(Queue):
    """Floats are kept to six significant digits."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: float(f"{v:g}") if isinstance(v, float) else v))


@breaks("DELIVER-1")
class WholeFloatsAreInts(Queue):
    """1.0 comes out as 1, as from JavaScript."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: int(v) if isinstance(v, float) and v.is_integer() else v))


@breaks("DELIVER-1")
class ThreeByteText(Queue):
    """Characters outside the basic plane become question marks, as in MySQL's utf8."""

    def encode(self, work: Any) -> str:
        return "".join(character if character < "\U00010000" else "?" for character in super().encode(work))


@breaks("DELIVER-1")
class StripsText(Queue):
    """White space around text is taken off."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: v.strip() if isinstance(v, str) else v))


def each_object(work: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """The work with each object in it changed."""
    if isinstance(work, dict):
        return change({name: each_object(part, change) for name, part in work.items()})
    return [each_object(part, change) for part in work] if isinstance(work, (list, tuple)) else work


@breaks("DELIVER-1", "DEDUPE-3")
class StripsObjectNames(Queue):
    """White space around the names in objects is taken off."""

    def encode(self, work: Any) -> str:
        check(work, "work", 0)
        return super().encode(each_object(work, lambda made: {name.strip(): part for name, part in made.items()}))


@breaks("DELIVER-1", "DEDUPE-3")
class NormalisesObjectNames(Queue):
    """The names in objects are in Unicode's composed form."""

    def encode(self, work: Any) -> str:
        check(work, "work", 0)
        return super().encode(
            each_object(work, lambda made: {normalize("NFC", name): part for name, part in made.items()})
        )


@breaks("DELIVER-1", "DEDUPE-3")
class DropsNulls(Queue):
    """What is null in an object is left out."""

    def encode(self, work: Any) -> str:
        check(work, "work", 0)
        return super().encode(
            each_object(work, lambda made: {name: part for name, part in made.items() if part is not None})
        )


class Counts256(Queue):
    """How many members an object has is kept in a number that begins anew."""

    most = 1 << 8

    def encode(self, work: Any) -> str:
        check(work, "work", 0)
        return super().encode(each_object(work, lambda made: dict(list(made.items())[: len(made) % self.most])))


@breaks("DELIVER-1")
class CountsInOneByte(Counts256):
    """How many members an object has is kept in one byte."""


@breaks("DELIVER-8")
class CountsInTwoBytes(Counts256):
    """How many members an object has is kept in two bytes."""

    most = 1 << 16


@breaks("DELIVER-1", "DELIVER-2")
class ListIsManyTasks(Queue):
    """A list that is pushed becomes one task for each of its elements."""

    def push(
        self,
        work: Any,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Pushed:
        if isinstance(work, list) and work:
            return self.push_many([Item(each, key, priority, not_before, headers or {}) for each in work])[0]
        return super().push(work, key=key, priority=priority, not_before=not_before, headers=headers)


@breaks("DELIVER-2")
class HoldsATestTask(Queue):
    """A new queue already holds the task with which its tables were tried out."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        if not self.file(place).stat().st_size:
            self.push({"ping": 1})


@breaks("DELIVER-3")
class ClaimOnlyLooks(Queue):
    """A claimed task stays first in line until it is acked."""

    promises = Queue.promises - {"lease", "fenced", "shared_lease", "extend"}

    def hold(self, row: Row, until: int) -> None:
        super().hold(row, until)
        row.state = "ready"
        self.write(row)

    def lease(self, row: Row) -> Lease:
        return super().lease(row)


@breaks("DELIVER-4")
class AcksInMemory(Queue):
    """Acks are never written down, so that done tasks come back when the queue is opened again."""

    def remove(self, row: Row) -> None:
        row.state = "gone"
        self.keep(row)


@breaks("DELIVER-4")
class AckReturnsIt(Queue):
    """An acked task goes back to the line."""

    def ack(self, lease: Lease) -> None:
        self.release(lease)


@breaks("DELIVER-4")
class AckWaitsForTheLease(Queue):
    """Acking only forgets the holder: when the lease has run out, the task is claimed again."""

    def ack(self, lease: Lease) -> None:
        with self.alone():
            row = self.held(lease)
            row.token = None
            self.write(row)


@breaks("DELIVER-5")
class EmptyRaises(Queue):
    """An empty queue raises queue.Empty."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is None:
            raise queue.Empty
        return lease


@breaks("DELIVER-5")
class EmptyBlocks(Queue):
    """An empty queue lets its caller wait for three seconds."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        if lease is None:
            time.sleep(3)
        return lease


@breaks("DELIVER-6")
class RemembersEmpty(Queue):
    """For a second after an empty answer it answers empty without looking."""

    empty_until = 0

    def first(self) -> Row | None:
        now = self.micros(self.clock.now())
        if now < self.empty_until:
            return None
        row = super().first()
        if row is None:
            self.empty_until = now + 1_000_000
        return row


@breaks("DELIVER-7")
class FalsyIsEmpty(Queue):
    """A work of 0, "", false, null, [] or {} is taken for an empty queue."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        return lease if lease and lease.work else None


@breaks("DELIVER-7")
class FalsyIsNoArgument(Queue):
    """A falsy work is taken for one that was not given and becomes {}."""

    def encode(self, work: Any) -> str:
        return super().encode(work or {})


@breaks("DELIVER-8")
class CutsAt64KiB(Queue):
    """Text is cut at 65,535 characters, as in MySQL's TEXT."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: v[:65535] if isinstance(v, str) else v))


@breaks("DELIVER-8")
class DecodesInPieces(Queue):
    """Each 65,536 bytes are decoded by themselves, and a character at their end is lost."""

    def encode(self, work: Any) -> str:
        return super().encode(each_scalar(work, lambda v: in_pieces(v) if isinstance(v, str) else v))


def in_pieces(text: str) -> str:
    """The text, whose pieces were decoded one by one."""
    data = text.encode(errors="surrogatepass")
    pieces = (data[start : start + 65536] for start in range(0, len(data), 65536))
    return "".join(piece.decode(errors="ignore") for piece in pieces)


@breaks("DELIVER-1")
class TakesFullPagesForMore(Queue):
    """Text that fills its pages of 4,096 bytes is cut, as what comes behind it is waited for."""

    def encode(self, work: Any) -> str:
        text = super().encode(work)
        full = isinstance(work, str) and len(text) % 4096 == 0
        return super().encode(work[:-1]) if full else text


@breaks("DELIVER-9")
class KeepsTheObject(Queue):
    """The client that pushed an object hands out that very object."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.objects: dict[str, Any] = {}

    def encode(self, work: Any) -> str:
        text = super().encode(work)
        self.objects[text] = work
        return text

    def decode(self, text: str) -> Any:
        return self.objects[text] if text in self.objects else super().decode(text)


@breaks("DELIVER-10")
class CountsTheDead(Queue):
    """Dead tasks count as ready."""

    def count(self) -> Counts:
        counts = super().count()
        return Counts(counts.scheduled, counts.ready + counts.dead, counts.leased, counts.dead)


@breaks("DELIVER-10")
class CountsOnce(Queue):
    """What was counted first is answered ever after."""

    counted: Counts | None = None

    def count(self) -> Counts:
        self.counted = self.counted or super().count()
        return self.counted


@breaks("DELIVER-10")
class HidesTheScheduled(Queue):
    """What is not due yet is missing from the listing."""

    def tasks(self, *, state: str | None = None) -> list[Task]:
        return [task for task in super().tasks(state=state) if task.state != "scheduled"]


@breaks("DELIVER-1", "ORDER-1")
class HoldsAHundred(Queue):
    """When a hundred tasks wait, the next push drops the oldest one, as deque(maxlen=100) does."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        answers = super().push_many(items)
        with self.alone():
            for row in sorted(self.rows_in("ready"), key=self.order)[:-100]:
                self.remove(row)
        return answers
