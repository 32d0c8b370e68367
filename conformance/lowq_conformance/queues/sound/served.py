"""A queue that a small server of its own keeps, and whose clients ask by lines of JSON over TCP.

A client numbers what it asks, and asks it again where no answer came, until its patience is over: the server does it
once.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import lowq_conformance
from lowq import Item, LeaseLost, LowqError, Pushed, QueueClosed
from lowq_conformance.contract.promises import BrokenHarness
from lowq_conformance.queues.lines.server import ADDRESS, LineServer
from lowq_conformance.queues.sound.forked import Handler, Worker
from lowq_conformance.support.processes import is_gone

DAY = timedelta(days=1)
NOW = timedelta(0)
PATIENCE = timedelta(seconds=0.7)
TRIES = 3
"""A server that is silent is given up after this part of the patience, and asked again over another connection."""
PAUSE = 0.01
BOUND = 30.0
SUITE = str(Path(lowq_conformance.__file__).parent.parent)
MICROSECOND = timedelta(microseconds=1)


class ServerAway(LowqError):
    """The server did not answer within the client's patience; whether it did what was asked is not known."""


@dataclass(frozen=True, slots=True)
class ServedTask:
    """A task in hand."""

    id: int
    work: Any
    token: int
    attempts: int


class Connection:
    """A connection to the server, and the name under which its requests are numbered."""

    def __init__(self, address: str, seconds: float) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self._rest = b""

    def ask(self, request: dict[str, Any], seconds: float | None) -> dict[str, Any]:
        """The answer. Raises OSError where none comes in time; None: it may take as long as it likes."""
        self.socket.settimeout(seconds)
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            while b"\n" not in self._rest:
                piece = self.socket.recv(1 << 16)
                if not piece:
                    raise ConnectionAbortedError("the server closed the connection")
                self._rest += piece
            line, _, self._rest = self._rest.partition(b"\n")
            answer: dict[str, Any] = json.loads(line)
            if answer["number"] == request["number"]:
                return answer

    def close(self) -> None:
        """The connection is closed, also to who waits for an answer in another thread."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class ServedQueue:
    """A client; each thread of it has a connection of its own."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False
        self.connections: dict[tuple[int, int], Connection] = {}
        self._names: dict[tuple[int, int], str] = {}
        self._number = 0
        self._lock = threading.Lock()
        self.greet(time.monotonic() + PATIENCE.total_seconds())

    def greet(self, end: float) -> None:
        """There is a connection. Raises ServerAway."""
        while True:
            try:
                self.connect(PATIENCE.total_seconds() / TRIES)
            except OSError as error:
                self.give_up(error, end)
                time.sleep(PAUSE)
            else:
                return

    def push(self, work: Any) -> Pushed:
        """The work waits."""
        return Pushed(str(self.call("push", works=[work])["ids"][0]), True)

    def push_many(self, items: Iterable[Item]) -> list[Pushed]:
        """The works of the items wait, all or none."""
        works = [item.work for item in items]
        return [Pushed(str(id), True) for id in self.call("push", works=works)["ids"]]

    def claim(self, *, lease_for: timedelta = DAY, wait: timedelta = NOW) -> ServedTask | None:
        """The first task that nobody has, within that time, or None."""
        if lease_for <= NOW:
            raise ValueError(f"lease_for: expected more than zero, got {lease_for}")
        end = time.monotonic() + wait.total_seconds()
        while True:
            left = max(NOW, timedelta(seconds=end - time.monotonic()))
            answer = self.call("claim", lease=lease_for // MICROSECOND, wait=left // MICROSECOND)
            if "task" in answer:
                return ServedTask(*answer["task"])
            if time.monotonic() >= end:
                return None

    def ack(self, task: ServedTask) -> None:
        """The task is gone."""
        self.call("ack", id=task.id, token=task.token)

    def release(self, task: ServedTask) -> None:
        """The task waits again."""
        self.call("release", id=task.id, token=task.token)

    def extend(self, task: ServedTask, *, lease_for: timedelta) -> ServedTask:
        """The task is held for that long from now."""
        self.call("extend", id=task.id, token=task.token, lease=lease_for // MICROSECOND)
        return task

    def close(self) -> None:
        """No connection is left."""
        self.closed = True
        with self._lock:
            while self.connections:
                self.connections.popitem()[1].close()

    def call(self, verb: str, **asked: Any) -> dict[str, Any]:
        """The answer to a request of the next number. Raises LeaseLost, ServerAway and QueueClosed."""
        if self.closed:
            raise QueueClosed("the client is closed; open the queue again")
        wait = asked.get("wait", 0) / 1e6
        end = time.monotonic() + PATIENCE.total_seconds() + wait
        request = self.request(verb, asked)
        while True:
            try:
                answer = self.ask(request, PATIENCE.total_seconds() / TRIES)
            except OSError as error:
                self.drop()
                if self.closed:
                    raise QueueClosed("the client was closed while it waited") from error
                self.give_up(error, end)
                time.sleep(PAUSE)
                request = self.again(request, end)
            except BaseException:
                self.drop()  # what it is answered is nobody's
                raise
            else:
                if "refused" in answer:
                    raise LeaseLost(answer["refused"])
                return answer

    def request(self, verb: str, asked: dict[str, Any]) -> dict[str, Any]:
        """What the server is asked, under the next number of this thread."""
        with self._lock:
            self._number += 1
            client = self._names.setdefault(self.me, secrets.token_hex(8))
            return {"client": client, "number": self._number, "do": verb, **asked}

    def again(self, request: dict[str, Any], end: float) -> dict[str, Any]:
        """What is asked where no answer came: the same under the same number; who waits has less time left."""
        if request.get("wait"):
            left = end - PATIENCE.total_seconds() - time.monotonic()
            return {**request, "wait": max(0, int(left * 1e6))}
        return request

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to the request, over this thread's connection. Raises OSError."""
        return self.connect(seconds).ask(request, seconds + request.get("wait", 0) / 1e6)

    def give_up(self, error: OSError, end: float) -> None:
        """Raise ServerAway where patience is over, with the error that came last."""
        if time.monotonic() >= end:
            seconds = PATIENCE.total_seconds()
            raise ServerAway(f"{self.address} did not answer within {seconds:g} s: {error}") from error

    @property
    def me(self) -> tuple[int, int]:
        """This thread of this process."""
        return os.getpid(), threading.get_ident()

    def connect(self, seconds: float) -> Connection:
        """This thread's connection. Raises OSError."""
        connection = self.connections.get(self.me)
        if connection is None:
            connection = Connection(self.address, seconds)
            with self._lock:
                self.connections[self.me] = connection
        return connection

    def drop(self) -> None:
        """This thread has no connection."""
        with self._lock:
            connection = self.connections.pop(self.me, None)
        if connection is not None:
            connection.close()


class ServedWorker(Worker):
    """A worker that waits for its server, however long that is away."""

    promises: ClassVar[frozenset[str]] = frozenset()

    def live(self, says_ready: int) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        self.be_active()
        os.write(says_ready, b".")
        os.close(says_ready)
        queue: Any = self._harness.open(self.place)
        while (lease := self.next(queue)) is not None:
            self.run(queue, lease)

    def next(self, queue: Any) -> Any:
        while True:
            with suppress(ServerAway):
                return super().next(queue)

    def done(self, queue: Any, lease: Any) -> None:
        while True:
            with suppress(ServerAway):
                super().done(queue, lease)
                return

    def failed(self, queue: Any, lease: Any, error: Exception) -> None:  # noqa: ARG002  # it is not kept
        self.done(queue, lease)

    def renew(self, queue: Any, lease: Any, over: threading.Event) -> None:
        while not over.is_set():
            with suppress(ServerAway):
                super().renew(queue, lease, over)
                return


class OwnServer:
    """The server of one place, a process that may be killed."""

    def __init__(self, place: Path, kind: type[LineServer]) -> None:
        self._place, self._kind = place, kind

    @property
    def address(self) -> str:
        """Where it is reached."""
        return self._told()[0]

    def start(self) -> None:
        """It answers, under the address that it had, if it had one. Raises BrokenHarness."""
        with open(self._place / "starting", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_alive():
                return
            told = self._told()
            port = told[0].rpartition(":")[2] if told else "0"
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", self._program(), str(self._place), port],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            end = time.monotonic() + BOUND
            while not self.is_alive():  # perhaps one whose starter was killed
                if time.monotonic() > end or process.poll():
                    raise BrokenHarness("the server of lines does not start")
                time.sleep(0.002)
            if self.pid == process.pid:
                _started[process.pid] = process
            else:
                process.wait(BOUND)

    def _program(self) -> str:
        kind = self._kind
        found = f"import sys; sys.path.insert(0, {SUITE!r}); from {kind.__module__} import {kind.__name__} as kind"
        return f"{found}; from {LineServer.__module__} import serve; serve(kind)"

    def restart(self) -> None:
        """It was told to end, unless it was killed, and answers again."""
        self.end(signal.SIGTERM)
        self.start()

    def kill(self) -> None:
        """It was killed."""
        self.end(signal.SIGKILL)

    def freeze(self) -> None:
        """It stands still."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._told()[1])

    def is_alive(self) -> bool:
        """Whether it runs."""
        return bool(self._told()) and not is_gone(self.pid)

    def end(self, number: signal.Signals) -> None:
        """It was sent the signal and has ended."""
        if not self._told():
            return
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        if (process := _started.pop(self.pid, None)) is not None:
            process.wait(BOUND)
        while self.is_alive():
            time.sleep(0.002)

    def _told(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self._place / ADDRESS).read_text().split()
        return []


_started: dict[int, subprocess.Popen[bytes]] = {}


class Served:
    """The harness: each place has a server of its own, which whoever comes first has started."""

    promises = frozenset(
        "fifo lease fenced shared_lease extend release batch wait prompt close persistent threads processes crash"
        " worker server".split()
    )
    patience = PATIENCE
    _queue: type[ServedQueue] = ServedQueue
    _worker: type[ServedWorker] = ServedWorker
    _server: type[LineServer] = LineServer

    def server(self, place: Path) -> OwnServer:
        """The server of the place, which answers."""
        own = OwnServer(place, self._server)
        own.start()
        return own

    def open(self, place: Path, *, address: str | None = None) -> ServedQueue:
        """A client; its server was started where there is none, unless it was stopped to see what comes of it."""
        if address is None:
            own = OwnServer(place, self._server)
            if not (place / ADDRESS).exists():
                own.start()
            address = own.address
        return self._queue(address)

    def pass_time(self, place: Path, how_long: timedelta) -> None:
        """The server's clock stands so much later."""
        queue = ServedQueue(self.open(place).address)
        try:
            queue.call("pass", by=how_long // MICROSECOND)
        finally:
            queue.close()

    def start(self, place: Path, handler: Handler) -> list[int]:
        """The worker's process id, where one was made."""
        return self._worker(place, self, handler).start()  # type: ignore[arg-type]  # it is opened as a journal is

    def close_place(self, place: Path) -> None:
        """The server is gone."""
        OwnServer(place, self._server).end(signal.SIGKILL)
