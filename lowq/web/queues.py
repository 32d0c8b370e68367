"""The queues of one location, each opened once and shared by the threads of the server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from lowq.backend import Backend, Counts, Dedupe, InvalidLocation
from lowq.clock import Clock
from lowq.location import locate, open_backend
from lowq.rules.names import check_name

MAX_OPEN = 1000
"""Clients that are kept open at most, one a name."""


class Queues:
    """The queues of `location`, by name."""

    def __init__(self, location: str, clock: Clock | None, *, create: bool = True) -> None:
        self.location = locate(location)
        self._clock = clock
        self._create = create
        self._open: dict[str, Backend] = {}
        self._lock = threading.Lock()

    def get(self, name: str, *, dedupe: Dedupe | None = None, create: bool = True) -> Backend:
        """The queue of this name; made where it is new, unless `create` is False or the server makes none.

        Raises InvalidLocation where there is none, or where it was made with another `dedupe`.
        """
        check_name(name)
        found = self._open.get(name)
        if found is None:
            found = self._open_queue(name, dedupe, create=create and self._create)
        if dedupe not in (None, found.dedupe):
            raise InvalidLocation(f"the queue {name!r} was made with dedupe={found.dedupe!r}, not {dedupe!r}")
        return found

    def names(self) -> list[str]:
        """The names of the queues of the location, as far as its kind of queue can tell; else those in use here."""
        with self._lock:
            opened = list(self._open.items())
        for _, backend in opened:
            tell = cast("Callable[[], list[str]] | None", getattr(backend, "names", None))
            if tell is not None:
                return sorted(tell())
        return sorted(name for name, _ in opened)

    def counts(self) -> list[tuple[str, Counts]]:
        """How many tasks are in each state, for every name."""
        return [(name, self.get(name, create=False).count()) for name in self.names()]

    def close(self) -> None:
        """Every client is closed."""
        with self._lock:
            opened, self._open = self._open, {}
        for each in opened.values():
            each.close()

    def _open_queue(self, name: str, dedupe: Dedupe | None, *, create: bool) -> Backend:
        with self._lock:
            if name in self._open:
                return self._open[name]
            if len(self._open) >= MAX_OPEN:
                raise InvalidLocation(f"this server serves {MAX_OPEN} names at most; it does not open {name!r}")
            options: dict[str, Any] = {} if self.location.scheme == "memory" else {"create": create}
            backend = open_backend(self.location, name=name, dedupe=dedupe, clock=self._clock, **options)
            self._open[name] = backend
            return backend
