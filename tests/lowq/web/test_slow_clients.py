"""Clients that dawdle: each is given up in the end, and none of them holds up another's push meanwhile."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from serving import Serve

from lowq import Backend, Counts
from lowq.web.server import Limits, _Channel

BOUND = 60
SOON = timedelta(seconds=1)
QUICK = Limits(connections=30, idle=SOON, headers=SOON, window=SOON, slowest=1000)
"""So that a test need not wait for minutes: what trickles at ten bytes a second is too slow."""

HEAD = b"POST /api/v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture
def url(serve: Serve) -> str:
    return serve(limits=QUICK, threads=2)


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(opened: ExitStack, url: str) -> socket.socket:
    at = urlsplit(url)
    return opened.enter_context(socket.create_connection((at.hostname, at.port), timeout=BOUND))


def pushes(url: str, work: object) -> bool:
    """Whether another client's push is answered."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=BOUND)
    try:
        connection.request("POST", "/api/v1/push", json.dumps({"work": work}), {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    finally:
        connection.close()


def trickled_until_closed(client: socket.socket, data: bytes) -> int:
    """How many bytes were sent, one at a time, before the server closed the connection; all, if it never did."""
    client.settimeout(0.1)
    for sent in range(len(data)):
        try:
            client.sendall(data[sent : sent + 1])
            with suppress(TimeoutError):
                if client.recv(1) == b"":
                    return sent
        except OSError:
            return sent
    return len(data)


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"X: " + b"x" * 600,
        HEAD + b"Content-Length: 600\r\n\r\n" + b" " * 600,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n258\r\n" + b" " * 600,
    ],
    ids=["headers", "body", "chunks"],
)
def test_a_request_that_trickles_is_given_up_and_another_clients_push_goes_on(
    url: str, queue: Backend, opened: ExitStack, data: bytes
) -> None:
    trickling = [connected(opened, url) for _ in range(6)]  # three for each thread
    begun = data.index(b"\r\n\r\n") + 5 if b"\r\n\r\n" in data else 20
    for each in trickling:
        each.sendall(data[:begun])

    pushed = pushes(url, "another's")
    sent = trickled_until_closed(trickling[0], data[begun:])

    assert pushed
    assert sent < len(data) - begun
    assert queue.count() == Counts(ready=1)


def test_a_body_that_comes_steadily_is_read_for_as_long_as_it_takes(
    url: str, queue: Backend, opened: ExitStack
) -> None:
    client = connected(opened, url)
    body = b'{"work": 1}' + b" " * 12_000
    client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))

    for start in range(0, len(body), 500):
        client.sendall(body[start : start + 500])
        threading.Event().wait(0.1)

    assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert queue.count() == Counts(ready=1)


def test_a_client_that_reads_its_answer_a_byte_at_a_time_is_given_up_and_others_push(
    url: str, queue: Backend, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = threading.Event()
    close = _Channel.handle_close

    def told(channel: _Channel) -> None:
        close(channel)
        if channel.addr == addresses[0]:  # another's end says nothing about this one's
            given_up.set()

    monkeypatch.setattr(_Channel, "handle_close", told)
    queue.push("x" * 12_000_000)
    clients: list[socket.socket] = []
    addresses: list[object] = []
    for _ in range(3):  # one more than there are threads
        client = socket.socket()
        opened.enter_context(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(BOUND)
        client.connect((urlsplit(url).hostname, urlsplit(url).port))
        client.sendall(b"GET /api/v1/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        addresses.append(client.getsockname())
        assert client.recv(1) == b"H"
        clients.append(client)

    pushed = pushes(url, "another's")
    for _ in range(BOUND * 20):
        clients[0].recv(1)
        if given_up.wait(0.05):
            break
    left = bytearray()
    with suppress(ConnectionResetError):
        while part := clients[0].recv(1 << 20):  # what the kernels held when it was closed
            left += part

    assert pushed
    assert given_up.is_set()
    assert len(left) < 12_000_000
    assert queue.count() == Counts(ready=2)


def test_many_idle_connections_do_not_keep_others_out(url: str, queue: Backend, opened: ExitStack) -> None:
    idle = [connected(opened, url) for _ in range(200)]

    pushed = [pushes(url, number) for number in range(3)]
    closed = [each.recv(1) for each in idle]

    assert pushed == [True] * 3
    assert closed == [b""] * 200
    assert queue.count() == Counts(ready=3)


def test_a_connection_over_which_nothing_comes_is_closed(url: str, opened: ExitStack) -> None:
    assert connected(opened, url).recv(1) == b""
