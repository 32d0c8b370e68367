"""Servers of lowq over an SQLite queue, each in a process of its own, which may be killed and started again.

They are forked from one process that has loaded all that a server needs, so that one starts in a moment; it ends with
its starter, and they with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from lowq import FakeClock
from lowq_conformance.contract.promises import BrokenHarness

_FILE = "server"
_PROGRAM = "from lowq_conformance.queues.http_server import fork_servers; fork_servers()"
_parents: list[Parent] = []


def make_server(place: Path, port: int = 0) -> Any:
    """A server over the queue at the place, whose clock is the place's, on that port or one that is free."""
    from lowq.web import create_app
    from lowq.web.server import Server

    folder = place / "queue"
    folder.mkdir(exist_ok=True)
    clock = FakeClock(path=place / "clock")
    # Its own queue has a name that no client uses, so that theirs are made by them, with their own dedupe.
    return Server(create_app(location=str(folder / "queue.db"), name="the server's own", clock=clock), port=port)


class Parent:
    """The process that forks servers when it is told to."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,  # it ends when this pipe does, however its user ends
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def ask(self, **told: Any) -> Any:
        """What it answers. Raises BrokenHarness."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(told) + "\n")
                self._process.stdin.flush()
                return json.loads(self._process.stdout.readline())
            except (OSError, ValueError) as error:
                raise BrokenHarness("lowq's HTTP server does not start; is lowq[web] installed?") from error


class StoppableServer:
    """The server of one place."""

    def __init__(self, parent: Parent, place: Path) -> None:
        self._parent, self._place = parent, place
        self._pid, self._port = 0, 0
        self._start()
        self.address = f"127.0.0.1:{self._port}"
        (place / _FILE).write_text(self.address, encoding="utf-8")

    def restart(self) -> None:
        """It was told to end, unless it was killed, and answers again on the same port."""
        self.end(signal.SIGTERM)
        self._start()

    def kill(self) -> None:
        """It was killed."""
        self.end(signal.SIGKILL)

    def freeze(self) -> None:
        """It stands still."""
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self._pid, signal.SIGCONT)

    def end(self, number: signal.Signals) -> None:
        """It was sent the signal, and has ended."""
        if self._pid:
            self._parent.ask(end=self._pid, by=int(number))
            self._pid = 0

    def _start(self) -> None:
        self._pid, self._port = self._parent.ask(start=str(self._place), port=self._port)


_servers: dict[Path, StoppableServer] = {}


def server_of(place: Path) -> StoppableServer:
    """The server of that place, which was not opened yet, and is on no other. Raises BrokenHarness."""
    if not _parents:
        _parents.append(Parent())
    if place not in _servers:
        _servers[place] = StoppableServer(_parents[0], place)
    return _servers[place]


def address_of(place: Path) -> str | None:
    """The address of the place's own server, in whichever process that was asked for; None: it has none."""
    with suppress(FileNotFoundError):
        return (place / _FILE).read_text(encoding="utf-8")
    return None


def close_server(place: Path) -> None:
    """The place has no server of its own any more."""
    if (server := _servers.pop(place, None)) is not None:
        server.end(signal.SIGKILL)


def fork_servers() -> None:
    """Do what is told on standard input until that ends, and leave no server."""
    from lowq.web import create_app
    from lowq.web.server import Server

    del create_app, Server  # what is loaded here is not loaded by each server
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    alive, ends = os.pipe()
    for line in sys.stdin:
        told = json.loads(line)
        if "start" in told:
            answer: Any = _fork(Path(told["start"]), told["port"], alive, ends)
        else:
            os.kill(told["end"], told["by"])
            os.waitpid(told["end"], 0)
            answer = None
        print(json.dumps(answer), flush=True)  # noqa: T201  its answer to who started it


def _fork(place: Path, port: int, alive: int, ends: int) -> tuple[int, int]:
    """The process of a server that answers, and its port."""
    told, tells = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(told)
            os.close(ends)
            os.close(0)
            os.close(1)
            server = make_server(place, port)
            signal.signal(signal.SIGTERM, server.stop)
            threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
            os.write(tells, server.url.rpartition(":")[2].encode())
            os.close(tells)
            server.run()
            server.close()
        finally:
            os._exit(0)
    os.close(tells)
    with open(told, "rb") as said:
        return pid, int(said.read() or 0)


def _end_with(alive: int) -> None:
    """This process ends when nobody has the other end of that pipe any more."""
    os.read(alive, 1)
    os._exit(0)
