"""A small proxy between clients and a server, by TCP or a Unix socket, which cuts, stalls, delays and loses.

One thread passes on what comes, piece by piece as it is read. So what happens to a piece is decided by one at a time.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from lowq_conformance.support.sockets import make_pair

Toward = Literal["server", "client"]
How = Literal["reset", "close", "half", "lose", "half-close", "stall", "delay"]

PIECE = 1 << 16
BOUND = 5.0
"""Seconds that a piece may take to be taken."""
DELAY = 0.05
"""Seconds by which a piece is late that is delayed."""
_AT_ONCE = struct.pack("ii", 1, 0)
"""To linger not at all: what is closed is reset."""


class BadAddress(ValueError):
    """No address of a server: neither ``host:port`` nor the path of a Unix socket."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one piece: the `number`-th, from 1, that comes `toward` the server or the client.

    ``reset`` and ``close``: it is not passed on, and both connections end, abruptly or in good order; ``half``: half
    of it is passed on before that. ``lose``: likewise not passed on, which of a reply says that it was executed.
    ``half-close``: it is passed on, and whoever it came from is told that nothing follows. ``stall``: neither it nor
    anything behind it is passed on, and nothing is closed. ``delay``: it is passed on late.
    """

    toward: Toward
    number: int
    how: How

    def __str__(self) -> str:
        what = f"{'request' if self.toward == 'server' else 'reply'} {self.number}"
        return {
            "reset": f"the connection is reset before {what}",
            "close": f"the connection is closed before {what}",
            "half": f"the connection is closed in the middle of {what}",
            "lose": f"{what} is lost, and the connection closed",
            "half-close": f"the connection is half closed behind {what}",
            "stall": f"{what} is held back, and the connection left open",
            "delay": f"{what} comes {DELAY:g} s late",
        }[self.how]


@dataclass(eq=False, slots=True)
class _End:
    """One of the two connections of a pair."""

    socket: socket.socket
    toward: Toward
    """Whom that is passed on to which comes here."""
    other: _End | None = None
    stalled: bool = False


def family_of(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """The family of the address and what a socket connects to. Raises BadAddress."""
    if "/" in address:
        return socket.AF_UNIX, address
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise BadAddress(f"expected host:port, or the path of a socket, got {address!r}")
    host = host.strip("[]") or "127.0.0.1"
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


class Proxy:
    """Passes on what comes to the server at the address that `target` says, whenever somebody connects.

    It listens in the existing `folder` under the name of the server's own socket, or on a port of this machine.
    Raises BadAddress.
    """

    def __init__(self, target: Callable[[], str], folder: str) -> None:
        self._target = target
        family, at = family_of(target())
        self._unix = os.path.join(folder, os.path.basename(str(at))) if family is socket.AF_UNIX else None
        self._listener: socket.socket | None = None
        self._port = 0
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = make_pair()
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._ends: set[_End] = set()
        self._seen: dict[Toward, int] = {"server": 0, "client": 0}
        self._fault: Fault | None = None
        self._over = False
        _living.add(self)
        self.swallows = False
        """Whether nothing is passed on, and nothing closed: every connection is half open."""
        self.happened = False
        """Whether the fault that was planned last has happened."""
        self.up()
        self._thread = threading.Thread(target=self._run, name="lowq-proxy", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return self._unix or f"127.0.0.1:{self._port}"

    def plan(self, fault: Fault | None) -> None:
        """The fault will happen, to pieces counted from now on; None: none will. What was stalled is closed."""
        with self._lock:
            self._seen = {"server": 0, "client": 0}
            self._fault, self.happened = fault, False
            for end in [end for end in self._ends if end.stalled]:
                self._close(end)

    def count(self, toward: Toward) -> int:
        """How many pieces came that way since something was planned."""
        with self._lock:
            return self._seen[toward]

    def waits_for_it(self, seconds: float) -> bool:
        """Whether the fault that was planned happens, within so many seconds."""
        end = time.monotonic() + seconds
        while not self.happened and time.monotonic() < end:
            time.sleep(0.001)
        return self.happened

    def down(self) -> None:
        """Every connection is cut, and nobody can connect."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
                if self._unix is not None:
                    with suppress(FileNotFoundError):
                        os.unlink(self._unix)
        self.cut()

    def up(self) -> None:
        """Whoever likes can connect, at the same address as before."""
        with self._lock:
            if self._listener is not None:
                return
            if self._unix is None:
                listener = socket.create_server(("127.0.0.1", self._port), backlog=128)
                self._port = listener.getsockname()[1]
            else:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(self._unix)
                listener.listen(128)
            listener.setblocking(False)
            self._listener = listener
            self._selector.register(listener, selectors.EVENT_READ)
            self._wake()

    def cut(self, *, abruptly: bool = True) -> None:
        """Every connection ends."""
        with self._lock:
            for end in list(self._ends):
                self._close(end, abruptly=abruptly)

    def close(self) -> None:
        """Nothing is passed on any more, and nothing is left."""
        self._over = True
        self._wake()
        self._thread.join()
        self.down()
        self._selector.close()
        self._bell.close()
        self._ring.close()

    def forget(self) -> None:
        """This process has none of its sockets, being a child of the one whose they are: an end there is one here."""
        for each in (self._listener, self._bell, self._ring, *(end.socket for end in self._ends)):
            if each is not None:
                each.close()

    def _wake(self) -> None:
        with suppress(OSError):
            self._ring.send(b".")

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                with self._lock:
                    if key.fileobj is self._bell:
                        self._bell.recv(PIECE)
                    elif key.fileobj is self._listener:
                        self._accept(self._listener)
                    elif isinstance(key.data, _End) and key.data in self._ends:
                        self._pass_on(key.data)

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            family, at = family_of(self._target())
            server = socket.socket(family)
        except (OSError, BadAddress):
            client.close()
            return
        try:
            server.settimeout(BOUND)
            if not self.swallows:
                server.connect(at)
        except OSError:
            server.close()
            client.close()
            return
        client.settimeout(BOUND)
        ends = _End(client, "server"), _End(server, "client")
        ends[0].other, ends[1].other = ends[1], ends[0]
        if self.swallows:
            ends[0].stalled = ends[1].stalled = True  # it has no server, and never will
            self._ends.update(ends)
            return
        for end in ends:
            self._ends.add(end)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _pass_on(self, end: _End) -> None:
        other = end.other
        assert other is not None
        try:
            piece = end.socket.recv(PIECE)
        except OSError:
            piece = b""
        if end.stalled or other.stalled or self.swallows:
            end.stalled = other.stalled = True
            if not piece:
                self._close(end)
            return
        if not piece:
            self._close(end)
            return
        self._seen[end.toward] += 1
        fault = self._fault
        if fault is None or (fault.toward, fault.number) != (end.toward, self._seen[end.toward]):
            self._send(other, piece)
            return
        self._fault, self.happened = None, True
        self._happen(fault.how, end, other, piece)

    def _happen(self, how: How, end: _End, other: _End, piece: bytes) -> None:
        if how == "stall":
            end.stalled = other.stalled = True
            return
        if how == "delay":
            time.sleep(DELAY)
        if how in ("delay", "half-close"):
            self._send(other, piece)
            if how == "half-close":
                with suppress(OSError):
                    end.socket.shutdown(socket.SHUT_WR)
            return
        if how == "half":
            self._send(other, piece[: max(1, len(piece) // 2)])
        self._close(end, abruptly=how == "reset")

    def _send(self, end: _End, piece: bytes) -> None:
        try:
            end.socket.sendall(piece)
        except OSError:
            self._close(end)

    def _close(self, end: _End, *, abruptly: bool = False) -> None:
        for each in (end, end.other):
            if each is None or each not in self._ends:
                continue
            self._ends.discard(each)
            with suppress(KeyError, ValueError):
                self._selector.unregister(each.socket)
            with suppress(OSError):
                if abruptly and each.socket.family is not socket.AF_UNIX:
                    each.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                each.socket.close()


_living: weakref.WeakSet[Proxy] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for proxy in list(_living):
        proxy.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
