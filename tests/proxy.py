"""A small TCP proxy between a client and a server, which cuts connections where a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

BOUND = 60


class Proxy:
    """Passes what comes to the server at `url` on. `lose` loses the next answers, after they were made."""

    def __init__(self, url: str) -> None:
        self._target = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._to_lose = 0
        self.lost = 0
        self.swallow = False
        """Whether nothing is passed on, and nothing closed: a connection that is half open."""
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, answers: int) -> None:
        """The next so many answers are read from the server, and the connections cut instead of passing them on."""
        with self._lock:
            self._to_lose += answers

    def lose_one(self) -> None:
        """The next answer is lost, and not more than that."""
        with self._lock:
            self._to_lose = 1

    def cut(self) -> None:
        """Every connection is cut."""
        with self._lock:
            opened, self._open = self._open, []
        for each in opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nothing is passed on any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=BOUND)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
            for source, sink, keep in ((client, server, lambda: True), (server, client, self._keep)):
                threading.Thread(target=self._pass, args=(source, sink, keep), daemon=True).start()

    def _keep(self) -> bool:
        with self._lock:
            if self._to_lose == 0:
                return True
            self._to_lose -= 1
            self.lost += 1
            return False

    def _pass(self, source: socket.socket, sink: socket.socket, keep: Callable[[], bool]) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if self.swallow:
                    continue
                if not keep():
                    break
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def between(url: str) -> Iterator[Proxy]:
    """A proxy before the server at this URL."""
    proxy = Proxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
