"""For packages that say one queue object is to be used per path: the clients of a place share it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Shared:
    """The queue object of each place, while a client has it open; clients may come and go in any thread."""

    def __init__(self, make: Callable[[Path], Any], close: Callable[[Any, Path], object]) -> None:
        self._make, self._close = make, close
        self._queues: dict[Path, Any] = {}
        self._clients: dict[Path, int] = {}
        self._lock = threading.Lock()

    def open(self, place: Path) -> Any:
        """The queue object of the place, made where no client has one."""
        with self._lock:
            if place not in self._queues:
                self._queues[place] = self._make(place)
            self._clients[place] = self._clients.get(place, 0) + 1
            return self._queues[place]

    def close(self, place: Path) -> None:
        """A client let go of the queue object, and the last one closed it."""
        with self._lock:
            self._clients[place] -= 1
            if not self._clients[place]:
                self._close(self._queues.pop(place), place)


class Client:
    """A client of the queue object of its place."""

    def __init__(self, shared: Shared, place: Path) -> None:
        self.queue = shared.open(place)
        self._shared, self._place = shared, place

    def close(self) -> None:
        """The last client of the place closes the queue object."""
        self._shared.close(self._place)


__all__ = ["Client", "Shared"]
