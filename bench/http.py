"""A queue over HTTP: pushes, claims with acks, by one and by eight clients; and pushes beside 1,000 waiting claims.

`.venv/bin/python -m bench.http [--quick] [--beanstalkd PROGRAM]`. The server is `lowq serve` in a process of its own
over an SQLite file, and the clients are threads of `open_backend("http://…")`. The limits beside it are the same
application called as a WSGI function, without a network, and the queue itself. Where a beanstalkd is named, the same
is asked of that server, which keeps its queue in memory and logs it to the disk (`-b`, and `-f0` to sync).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlsplit

from lowq import Backend, open_backend

MINUTE = timedelta(minutes=1)
POLLS = 1000


@contextmanager
def serving(file: str) -> Iterator[str]:
    """The URL of `lowq serve` over the file."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lowq", "serve", file, "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.match(r"(http://\S+)/ ", process.stdout.readline())
        assert found is not None
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


def timed(calls: int, clients: int, prepare: Callable[[], Callable[[int], object]]) -> list[float]:
    """Seconds of each call, made by that many threads at once."""
    spans: list[float] = []

    def run(first: int) -> None:
        call = prepare()
        for number in range(first, calls, clients):
            begun = time.perf_counter()
            call(number)
            spans.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=run, args=(first,)) for first in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return spans


def show(what: str, calls: int, seconds: float, spans: list[float]) -> None:
    """One line of figures."""
    spans = sorted(spans)
    p50, p99 = statistics.median(spans), spans[int(len(spans) * 0.99)]
    print(f"{what:<44} {calls / seconds:8.0f} /s   p50 {p50 * 1000:7.2f} ms   p99 {p99 * 1000:7.2f} ms", flush=True)


def measure(what: str, calls: int, clients: int, prepare: Callable[[], Callable[[int], object]]) -> None:
    """The figures of these calls."""
    begun = time.perf_counter()
    spans = timed(calls, clients, prepare)
    show(what, calls, time.perf_counter() - begun, spans)


def push(queue: Backend) -> Callable[[int], object]:
    """A push of a small work of its own."""
    mark = f"{threading.get_ident()} {time.perf_counter_ns()}"
    return lambda number: queue.push({"mail": number, "of": mark})


def claim_and_ack(queue: Backend) -> Callable[[int], object]:
    """A task taken and done."""

    def call(_: int) -> None:
        lease = queue.claim(lease_for=MINUTE)
        if lease is not None:
            queue.ack(lease)

    return call


def wsgi(file: str) -> Callable[[int], object]:
    """The application, called without a server."""
    from lowq.web import create_app

    client = create_app(location=file).test_client()
    mark = time.perf_counter_ns()
    return lambda number: client.post("/api/v1/push", json={"work": {"mail": number, "of": mark}})


def with_waiting_claims(url: str, calls: int) -> None:
    """Pushes into one queue while 1,000 claims of another wait."""
    address = (urlsplit(url).hostname, urlsplit(url).port)
    body = b'{"lease_seconds": 60}'
    request = (
        b"POST /api/v1/claim?wait_seconds=30&name=idle HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )
    waiting = []
    for _ in range(POLLS):
        connection = socket.create_connection(address)
        connection.sendall(request)
        waiting.append(connection)
    queue = open_backend(url)
    measure(f"push, 1 client, {POLLS} claims waiting", calls, 1, lambda: push(queue))
    queue.close()
    for connection in waiting:
        connection.close()


class Beanstalk:
    """One connection to a beanstalkd."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")

    def _ask(self, command: bytes) -> list[bytes]:
        self._socket.sendall(command)
        return self._stream.readline().split()

    def push(self, number: int) -> None:
        """A small work is kept."""
        work = json.dumps({"mail": number, "of": "beanstalk"}).encode()
        said = self._ask(b"put 0 0 60 %d\r\n%s\r\n" % (len(work), work))
        assert said[0] == b"INSERTED", said

    def claim_and_ack(self, _: int) -> None:
        """A task taken and done."""
        said = self._ask(b"reserve-with-timeout 5\r\n")
        assert said[0] == b"RESERVED", said
        json.loads(self._stream.read(int(said[2]) + 2))
        assert self._ask(b"delete %s\r\n" % said[1]) == [b"DELETED"]


@contextmanager
def beanstalkd(program: str, folder: str) -> Iterator[int]:
    """The port of a beanstalkd that syncs each push."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-b", folder, "-f0"])
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def beside(program: str, folder: str, calls: int) -> None:
    """The figures of beanstalkd."""
    with beanstalkd(program, folder) as port:
        for clients in (1, 8):
            who = f"beanstalkd, {clients} client{'s' if clients > 1 else ''}"
            measure(f"push, {who}", calls, clients, lambda: Beanstalk(port).push)
            measure(f"claim and ack, {who}", calls, clients, lambda: Beanstalk(port).claim_and_ack)


def main() -> None:
    """Everything, a line each."""
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few calls")
    parser.add_argument("--beanstalkd", metavar="PROGRAM", help="the same with this server")
    choices = parser.parse_args()
    calls = 300 if choices.quick else 2000
    with tempfile.TemporaryDirectory() as folder:
        if choices.beanstalkd:
            os.mkdir(os.path.join(folder, "beanstalkd"))
            beside(choices.beanstalkd, os.path.join(folder, "beanstalkd"), calls)
        direct = open_backend(os.path.join(folder, "direct.db"))
        measure("push, the queue itself", calls, 1, lambda: push(direct))
        measure("claim and ack, the queue itself", calls, 1, lambda: claim_and_ack(direct))
        direct.close()
        measure("push, the WSGI application", calls, 1, lambda: wsgi(os.path.join(folder, "wsgi.db")))
        with serving(os.path.join(folder, "served.db")) as url:
            for clients in (1, 8):
                queue = open_backend(url)
                who = f"HTTP, {clients} client{'s' if clients > 1 else ''}"
                measure(f"push, {who}", calls, clients, lambda: push(queue))  # noqa: B023  called at once
                measure(f"claim and ack, {who}", calls, clients, lambda: claim_and_ack(queue))  # noqa: B023
                queue.close()
            with_waiting_claims(url, calls // 2)


if __name__ == "__main__":
    main()
