"""Which broken queues there are, what is wrong with each, and which clauses it must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lowq_conformance.broken.sound import Queue
from lowq_conformance.bundled import FakeTime


@dataclass(frozen=True, slots=True)
class Broken:
    """A broken queue: where its harness is, what is wrong in one sentence, and the clauses that must say so."""

    name: str
    module: str
    fault: str
    clauses: tuple[str, ...]

    @property
    def target(self) -> str:
        """What `lowq check` calls it."""
        return f"{self.module}:{self.name}"


BROKEN: dict[str, Broken] = {}


class Harness(FakeTime):
    """Opens the sound queue; `breaks` makes one of its kind for each broken queue."""

    promises = Queue.promises
    dedupe: str = Queue.dedupe
    _queue = Queue

    def open(self, place: Path, name: str = "default") -> Queue:
        """A client of the queue `name` at `place`."""
        return self._queue(place, name, self.clock(place))


def breaks(*clauses: str) -> Callable[[type[Queue]], type[Harness]]:
    """Register a queue under its name, and put the harness that opens it in its place."""

    def register(queue: type[Queue]) -> type[Harness]:
        fault = queue.__doc__ or ""
        BROKEN[queue.__name__] = Broken(queue.__name__, queue.__module__, fault, clauses)
        return type(
            queue.__name__,
            (Harness,),
            {
                "__doc__": fault,
                "__module__": queue.__module__,
                "_queue": queue,
                "promises": queue.promises,
                "dedupe": queue.dedupe,
            },
        )

    return register
