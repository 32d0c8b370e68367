"""Queues that hand out tasks in another order than they say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from heapq import heappop, heappush
from pathlib import Path
from struct import pack, unpack
from typing import Any

from lowq import Clock, Item, Lease, Pushed
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("ORDER-1")
class LIFO(Queue):
    """The task pushed last comes out first."""

    def order(self, row: Row) -> Any:
        return -row.priority, -row.number


@breaks("ORDER-1")
class AnyOrder(Queue):
    """Waiting tasks come out at random, as from a set."""

    def order(self, row: Row) -> Any:
        return -row.priority, random.random()


@breaks("ORDER-1")
class NumbersAsText(Queue):
    """Numbers are compared as text: the tenth task comes out before the second."""

    def order(self, row: Row) -> Any:
        return -row.priority, str(row.number)


@breaks("ORDER-1")
class FirstAndLast(Queue):
    """Claims take the oldest task and the newest in turn."""

    turn = 1

    def first(self) -> Row | None:
        self.turn = -self.turn
        return min(self.rows_in("ready"), key=lambda row: (-row.priority, self.turn * row.number), default=None)


@breaks("ORDER-2")
class OwnTasksFirst(Queue):
    """A client takes what it pushed itself before what others pushed."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.own: set[int] = set()

    def add(self, row: Row, now: int) -> Pushed:
        pushed = super().add(row, now)
        if pushed.added:
            self.own.add(row.number)
        return pushed

    def order(self, row: Row) -> Any:
        return -row.priority, row.number not in self.own, row.number


@breaks("ORDER-3")
class SmallestFirst(Queue):
    """ORDER BY priority ASC: the lowest priority comes out first."""

    def order(self, row: Row) -> Any:
        return row.priority, row.number


@breaks("ORDER-3")
class IgnoresPriority(Queue):
    """Priorities are kept and never looked at."""

    def order(self, row: Row) -> Any:
        return row.number


@breaks("ORDER-3")
class PriorityAsText(Queue):
    """Priorities are compared as text: "10" is less than "9"."""

    def order(self, row: Row) -> Any:
        return [-ord(character) for character in str(row.priority)], row.number


@breaks("ORDER-3")
class TwoLanes(Queue):
    """There are two lines, one for priorities above zero and one for all others."""

    def order(self, row: Row) -> Any:
        return row.priority <= 0, row.number


@breaks("ORDER-3")
class GapInTheHeap(Queue):
    """The line is a heap, and a cancellation puts its last entry into the gap and leaves it there."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.line: list[tuple[int, int]] = []

    def add(self, row: Row, now: int) -> Pushed:
        pushed = super().add(row, now)
        if pushed.added:
            heappush(self.line, (-row.priority, row.number))
        return pushed

    def cancel(self, id: str) -> bool:
        done = super().cancel(id)
        if done:
            gap, last = [f"{self.name}/{number}" for _, number in self.line].index(id), self.line.pop()
            self.line[gap : gap + 1] = [last] if gap < len(self.line) else []
        return done

    def first(self) -> Row | None:
        while self.line and self.line[0][1] not in self.by_state["ready"]:
            heappop(self.line)
        return self.rows[self.line[0][1]] if self.line else super().first()


@breaks("ORDER-4")
class HeapOfWorks(Queue):
    """Within a priority the least work comes out first, as from a heap of (priority, work)."""

    def order(self, row: Row) -> Any:
        return -row.priority, row.text


@breaks("ORDER-4")
class NewestOfAPriority(Queue):
    """Within a priority that is not zero, the newest task comes out first."""

    def order(self, row: Row) -> Any:
        return -row.priority, -row.number if row.priority else row.number


@breaks("ORDER-4")
class OneNumberForBoth(Queue):
    """Priority and number are one float, which has too few bits for the numbers beside a large priority."""

    def order(self, row: Row) -> Any:
        return -row.priority * 2.0**31 + row.number, str(row.number)


@breaks("ORDER-5")
class UnsignedPriority(Queue):
    """A negative priority is read as a large one."""

    def order(self, row: Row) -> Any:
        return -(row.priority & 0xFFFFFFFF), row.number


@breaks("ORDER-5")
class PriorityInTwoBytes(Queue):
    """Priorities keep their lowest 16 bits."""

    def order(self, row: Row) -> Any:
        return -((row.priority + 0x8000) % 0x10000), row.number


@breaks("ORDER-5")
class PriorityAsFloat32(Queue):
    """Priorities are floats of four bytes, in which 2**31 - 1 and 2**31 - 2 are one."""

    def order(self, row: Row) -> Any:
        return -unpack("f", pack("f", row.priority))[0], row.number


@breaks("ORDER-5")
class NegativeIsZero(Queue):
    """Negative priorities are as good as zero."""

    def order(self, row: Row) -> Any:
        return -max(row.priority, 0), row.number


@breaks("ORDER-5")
class ZeroIsDefault(Queue):
    """A priority of zero is taken for none and becomes the default, ten."""

    def order(self, row: Row) -> Any:
        return -(row.priority or 10), row.number


@breaks("ORDER-6")
class ReleasedToTheEnd(Queue):
    """It says that a released task keeps its place, and sends it to the end of the line."""

    def release(self, lease: Lease, *, not_before: datetime | None = None) -> None:
        with self.alone():
            row = self.held(lease)
            self.remove(row)
            row.number = self.last + 1
            self.hold_again(row)
        super().release(lease, not_before=not_before)

    def hold_again(self, row: Row) -> None:
        row.state = "leased"
        self.write(row)

    def held(self, lease: Lease) -> Row:
        return next((row for row in self.rows.values() if row.token == lease.token), None) or super().held(lease)


@breaks("ORDER-7")
class RunOutToTheEnd(Queue):
    """It says that a task whose lease ran out keeps its place, and sends it to the end of the line."""

    def order(self, row: Row) -> Any:
        return -row.priority, row.token is not None, row.number


@breaks("ORDER-8")
class OrderInMemory(Queue):
    """The order is kept in memory: opened again, the queue hands tasks out by what they hold."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.pushed_here: set[int] = set()

    def add(self, row: Row, now: int) -> Pushed:
        pushed = super().add(row, now)
        self.pushed_here.add(row.number)
        return pushed

    def order(self, row: Row) -> Any:
        known = row.number in self.pushed_here
        return -row.priority, known, row.number if known else int(blake2b(row.text.encode()).hexdigest(), 16)


@breaks("ORDER-9")
class SortedByTimestamp(Queue):
    """The line is ordered by the wall clock at the push."""

    def order(self, row: Row) -> Any:
        return -row.priority, row.pushed, row.number


@breaks("ORDER-9")
class DueNoMore(Queue):
    """When the clock steps back, what was due is not due any more."""

    def promote(self, now: int) -> None:
        super().promote(now)
        for row in self.rows_in("ready"):
            if row.not_before is not None and row.not_before > now:
                row.state, row.due = "scheduled", row.not_before
                self.write(row)


@breaks("ORDER-10")
class BatchReversed(Queue):
    """A batch is pushed from its end."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        return super().push_many(list(items)[::-1])[::-1]


@breaks("ORDER-10")
class BatchSorted(Queue):
    """A batch goes through a sorted set."""

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        items = list(items)
        order = sorted(range(len(items)), key=lambda index: json.dumps(items[index].work, default=str))
        answers = dict(zip(order, super().push_many([items[index] for index in order]), strict=True))
        return [answers[index] for index in range(len(items))]


@breaks("ORDER-11")
class StampsOfAMillisecond(Queue):
    """Tasks are named by the millisecond and random digits, and sorted by name."""

    def order(self, row: Row) -> Any:
        return -row.priority, row.pushed // 1000, blake2b(str(row.number).encode(), digest_size=8).digest()


@breaks("ORDER-11")
class ThreeDigits(Queue):
    """Tasks are numbered within a millisecond by three digits, which wrap."""

    def order(self, row: Row) -> Any:
        return -row.priority, row.pushed // 1000, row.number % 1000
