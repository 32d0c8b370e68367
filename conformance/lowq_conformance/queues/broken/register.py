"""Which broken queues there are, what is wrong with each, and which clauses it must fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lowq_conformance.queues.sound.journal import Journal, Queue


@dataclass(frozen=True, slots=True)
class BrokenQueue:
    """A broken queue: where its harness is, what is wrong in one sentence, and the clauses that must say so."""

    name: str
    module: str
    fault: str
    clauses: tuple[str, ...]

    @property
    def target(self) -> str:
        """What `lowq check` calls it."""
        return f"{self.module}:{self.name}"


BROKEN: dict[str, BrokenQueue] = {}


def enter(broken: type, clauses: tuple[str, ...]) -> None:
    """What is broken stands in BROKEN under its name; its first line says what is wrong.

    Raises ValueError where another one has that name and would be hidden.
    """
    if broken.__name__ in BROKEN:
        raise ValueError(f"{broken.__name__}: {BROKEN[broken.__name__].module} has a broken queue of that name")
    BROKEN[broken.__name__] = BrokenQueue(broken.__name__, broken.__module__, broken.__doc__ or "", clauses)


def breaks_in(harness: type[Any], *clauses: str) -> Callable[[type[Queue]], type[Any]]:
    """Register a queue under its name, and put that harness, which opens it, in its place."""

    def register(queue: type[Queue]) -> type[Any]:
        enter(queue, clauses)
        names = {"__doc__": queue.__doc__, "__module__": queue.__module__, "_queue": queue}
        return type(queue.__name__, (harness,), names)

    return register


def breaks(*clauses: str, **traits: Any) -> Callable[[type[Queue]], type[Journal]]:
    """Register a queue under its name, and put the harness that opens it, and states these traits, in its place."""

    def register(queue: type[Queue]) -> type[Journal]:
        enter(queue, clauses)
        return type(
            queue.__name__,
            (Journal,),
            {
                "__doc__": queue.__doc__,
                "__module__": queue.__module__,
                "_queue": queue,
                "promises": queue.promises,
                "dedupe": queue.dedupe,
                **traits,
            },
        )

    return register
