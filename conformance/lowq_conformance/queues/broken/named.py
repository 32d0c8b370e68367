"""Queues in which names that differ are one, or one name sees, ends or brings back what is in another."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from unicodedata import normalize

from lowq import Clock, Counts, Lease
from lowq_conformance.queues.broken.register import breaks
from lowq_conformance.queues.sound.journal import DAY, Queue
from lowq_conformance.queues.sound.rows import Row


@breaks("NAMES-2")
class NamesAreNormalised(Queue):
    """A composed and a decomposed é are one name."""

    def file(self, place: Path) -> Path:
        return place / f"{normalize('NFC', self.name).encode().hex()}.jsonl"


@breaks("NAMES-2")
class NamesAreStripped(Queue):
    """Spaces around a name are taken off."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name.strip(), clock)


@breaks("NAMES-2")
class NamesAreCut(Queue):
    """A name is its first 64 characters, as in a column of that length."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name[:64], clock)


class Aware(Queue):
    """A client that knows of the other names in its place."""

    def __init__(self, place: Path, name: str, clock: Clock) -> None:
        super().__init__(place, name, clock)
        self.folder = place

    def of(self, name: str) -> closing[Queue]:
        """A sound client of that name in the same place."""
        return closing(Queue(self.folder, name, self.clock))


@breaks("NAMES-2")
class CountsAllNames(Aware):
    """What is counted is in the place, under whatever name."""

    def count(self) -> Counts:
        names = [bytes.fromhex(file.stem).decode() for file in self.folder.glob("*.jsonl")]
        counts = Counts()
        for name in names:
            with self.of(name) as queue:
                more = queue.count()
            counts = Counts(**{state: getattr(counts, state) + getattr(more, state) for state in self.by_state})
        return counts


@breaks("NAMES-2")
class NamesArePatterns(Aware):
    """Where nothing waits under a name, it is looked for as a pattern: under "mail*" a task of "mail-1" is found."""

    def claim(self, *, lease_for: timedelta = DAY) -> Lease | None:
        lease = super().claim(lease_for=lease_for)
        names = [bytes.fromhex(file.stem).decode() for file in self.folder.glob("*.jsonl")]
        for name in names if lease is None else []:
            if name != self.name and fnmatchcase(name, self.name):
                with self.of(name) as queue:
                    lease = lease or queue.claim(lease_for=lease_for)
        return lease


class Ends(Aware):
    """What ends by itself, of all names, stands in one file: the name, the time and the text of the latest."""

    ending = "leased"

    def write(self, row: Row) -> None:
        super().write(row)
        if row.state == self.ending:
            (self.folder / "ends").write_text(json.dumps([self.name, row.due, row.text]))

    def promote(self, now: int) -> None:
        super().promote(now)
        ends = self.folder / "ends"
        if ends.exists():
            name, due, text = json.loads(ends.read_text())
            if due <= now and name != self.name:
                ends.unlink()
                self.add(Row(text, None, 0, None), now)


@breaks("NAMES-2")
class RunsOutIntoItsOwnName(Ends):
    """Whoever meets a lease that ran out, of whatever name, lets the task wait in the queue of his own."""


@breaks("NAMES-2")
class FallsDueIntoItsOwnName(Ends):
    """Whoever meets a task that fell due, of whatever name, lets it wait in the queue of his own."""

    ending = "scheduled"
