"""Sound queues that answer late, break off, take back or refuse what others do not, as their promises allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from lowq import BackendUnavailable, InvalidWork, Item, Lease, LeaseLost, SystemClock
from lowq_conformance.contract.refusals import kinds
from lowq_conformance.queues.sound.dead import FreesTheDead
from lowq_conformance.queues.sound.journal import Journal, Queue
from lowq_conformance.queues.sound.rows import Row
from lowq_conformance.queues.sound.strangers import take_back


class Unfenced(Journal):
    """A settle names its task and no more, as where a message is deleted by its id, whoever holds it now."""

    promises = Journal.promises - {"fenced"}

    class _Queue(Queue):
        def held(self, lease: Lease) -> Row:
            row = self.find(lease.id)
            if row is None or row.token is None:
                raise LeaseLost(f"task {lease.id} is in nobody's hand")
            return row

    _queue = _Queue


class UnfencedInRealTime:
    """The same, where nobody moves the clock."""

    promises = Unfenced.promises - {"clock"}
    dedupe = Unfenced.dedupe

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue `name` at `place`."""
        whole = Unfenced()
        whole.clock = lambda _: SystemClock()  # type: ignore[assignment,method-assign,return-value]  # the machine's time
        return whole.open(place, name)


class TakesBack(FreesTheDead):
    """Whoever opens the queue takes all that is in hand back, as where one consumer is started anew."""

    promises = FreesTheDead.promises - {"shared_lease"}

    def open(self, place: Path, name: str = "default") -> Any:
        """A client of the queue; what others had in hand waits again."""
        opened: Queue = super().open(place, name)
        take_back(opened)
        return opened


class Short(Journal):
    """Works, keys and integers are of a size: what is larger, or no key, is refused by name."""

    refuses: ClassVar[set[str]] = {"bigint"}

    class _Queue(Queue):
        def row(self, item: Item) -> Row:
            if item.key == "":
                raise InvalidWork("key: expected one or more characters, got none")
            return super().row(item)

        def encode(self, work: Any) -> str:
            text = super().encode(work)
            if "bigint" in kinds(work):
                raise InvalidWork("work: integers are kept up to 2^53 - 1")
            if len(text) > 5000:
                raise InvalidWork(f"work: expected at most 5,000 characters, got {len(text):,}")
            return text

    _queue = _Queue


class FewPriorities(Journal):
    """Ten priorities, as where each has a list of its own; another one is refused by name."""

    priorities = (0, 9)

    class _Queue(Queue):
        def row(self, item: Item) -> Row:
            if type(item.priority) is int and not 0 <= item.priority <= 9:
                raise InvalidWork(f"priority: expected one from 0 to 9, got {item.priority}")
            return super().row(item)

    _queue = _Queue


class Unhurried(Journal):
    """A claim may find nothing where something is: whoever would know asks for three seconds."""

    promises = Journal.promises - {"prompt"}
    patience = timedelta(seconds=3)


class BreaksOff(Journal):
    """A work is written to its connection piece by piece. Where that fails, nobody knows what the other side has
    read, and the client refuses whatever comes until another one is opened."""

    promises = Journal.promises - {"json"}

    class _Queue(Queue):
        broken_off = False

        def encode(self, work: Any) -> str:
            self.broken_off = True
            text = super().encode(work)
            self.broken_off = False
            return text

        @contextmanager
        def alone(self) -> Iterator[int]:
            if self.broken_off:
                raise BackendUnavailable(
                    "a push failed half-way and the connection was given up: open another client"
                )
            with super().alone() as now:
                yield now

    _queue = _Queue
