"""JSON lines over a socket between two processes."""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any


class Channel:
    """One end of a socket on which both sides tell events. Several threads may tell."""

    def __init__(self, own: socket.socket) -> None:
        self._own = own
        self._telling = threading.Lock()
        self._rest = b""
        self._heard: deque[Any] = deque()

    def fileno(self) -> int:
        """For select."""
        return self._own.fileno()

    def close(self) -> None:
        """The other side hears that this one is gone."""
        self._own.close()

    def limit(self, seconds: float) -> None:
        """From now on whoever listens for longer gets TimeoutError."""
        self._own.settimeout(seconds)

    def tell(self, event: Any) -> bool:
        """The event was told; False where nobody listens any more."""
        return self.send(json.dumps(event).encode() + b"\n")

    def send(self, data: bytes) -> bool:
        """These bytes were sent; False where nobody listens any more."""
        try:
            with self._telling:
                self._own.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def hear(self) -> list[Any] | None:
        """The events that one reading brought, which may be none yet; None when the other side is gone."""
        try:
            data = self._own.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        return list(read_events(whole))

    def next(self) -> Any | None:
        """The next event, waited for; None when the other side is gone."""
        while not self._heard:
            if (heard := self.hear()) is None:
                return None
            self._heard.extend(heard)
        return self._heard.popleft()


def read_events(whole: bytes) -> Iterator[Any]:
    """The events in whole lines."""
    for line in whole.split(b"\n"):
        if line:
            yield json.loads(line)
