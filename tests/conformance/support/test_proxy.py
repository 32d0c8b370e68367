"""The proxy between clients and a server does to each piece what it was told, and leaves nothing behind."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lowq_conformance.support.proxy import BadAddress, Fault, How, Proxy, Toward, family_of

BOUND = 30


class Echo:
    """A server that answers each piece with the same in capitals, and counts what it did."""

    def __init__(self, address: str) -> None:
        family, at = family_of(address)
        self.listener = socket.socket(family)
        self.listener.bind(at if family is socket.AF_UNIX else ("127.0.0.1", 0))
        self.listener.listen()
        named = self.listener.getsockname()
        self.address = named if isinstance(named, str) else f"127.0.0.1:{named[1]}"
        self.did: list[bytes] = []
        self.heard = threading.Event()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.threads.append(threading.Thread(target=self.answer, args=(client,)))
            self.threads[-1].start()

    def answer(self, client: socket.socket) -> None:
        with client:
            try:
                while piece := client.recv(1000):
                    self.did.append(piece)
                    client.sendall(piece.upper())
            except OSError:
                pass
            self.heard.set()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(BOUND)


@pytest.fixture(params=["tcp", "unix"])
def echo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Echo]:
    server = Echo(str(tmp_path / "s") if request.param == "unix" else "127.0.0.1:1")
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo, tmp_path: Path) -> Iterator[Proxy]:
    folder = tmp_path / "p"
    folder.mkdir()
    proxy = Proxy(lambda: echo.address, str(folder))
    yield proxy
    proxy.close()


def connect(proxy: Proxy) -> socket.socket:
    family, at = family_of(proxy.address)
    client = socket.socket(family)
    client.settimeout(BOUND)
    try:
        client.connect(at)
    except OSError:
        client.close()
        raise
    return client


def ask(client: socket.socket, said: bytes) -> bytes:
    """What came back: an answer, or b"" where the connection ended."""
    try:
        client.sendall(said)
        return client.recv(1000)
    except ConnectionError:
        return b""


def test_what_nobody_plans_is_passed_on(proxy: Proxy) -> None:
    with connect(proxy) as client:
        answers = [ask(client, b"a"), ask(client, b"b")]

    assert answers == [b"A", b"B"]
    assert (proxy.count("server"), proxy.count("client")) == (2, 2)


@pytest.mark.parametrize(
    ("toward", "how", "did", "came"),
    [
        ("server", "reset", [b"one"], b""),
        ("server", "close", [b"one"], b""),
        ("server", "half", [b"one", b"tw"], b""),
        ("server", "delay", [b"one", b"twos"], b"TWOS"),
        ("client", "lose", [b"one", b"twos"], b""),
        ("client", "reset", [b"one", b"twos"], b""),
        ("client", "half", [b"one", b"twos"], b"TW"),
        ("client", "delay", [b"one", b"twos"], b"TWOS"),
    ],
)
def test_the_piece_that_was_meant_meets_its_fault(
    echo: Echo, proxy: Proxy, toward: Toward, how: How, did: list[bytes], came: bytes
) -> None:
    with connect(proxy) as client:
        assert ask(client, b"one") == b"ONE"
        proxy.plan(Fault(toward, 1, how))
        answer = ask(client, b"twos")
        if answer == b"":
            echo.heard.wait(BOUND)  # the server has seen its connection end

    assert answer == came
    assert echo.did == did
    assert proxy.waits_for_it(BOUND)


def test_a_fault_happens_once_and_the_next_connection_is_whole(proxy: Proxy) -> None:
    proxy.plan(Fault("client", 1, "lose"))
    with connect(proxy) as client:
        assert ask(client, b"a") == b""
    with connect(proxy) as client:
        assert ask(client, b"a") == b"A"


def test_behind_a_half_close_the_server_has_done_it(echo: Echo, proxy: Proxy) -> None:
    proxy.plan(Fault("server", 1, "half-close"))
    with connect(proxy) as client:
        client.sendall(b"a")
        assert client.recv(1000) == b""
        echo.heard.wait(BOUND)

    assert echo.did == [b"a"]


def test_what_is_stalled_is_neither_answered_nor_closed_until_something_is_planned(proxy: Proxy) -> None:
    proxy.plan(Fault("client", 1, "stall"))
    with connect(proxy) as client:
        client.sendall(b"a")
        assert proxy.waits_for_it(BOUND)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1000)
        client.settimeout(BOUND)
        proxy.plan(None)
        assert client.recv(1000) == b""


def test_what_is_swallowed_is_half_open_old_connections_and_new_ones(echo: Echo, proxy: Proxy) -> None:
    with connect(proxy) as before:
        assert ask(before, b"a") == b"A"
        proxy.swallows = True
        with connect(proxy) as after:
            for client in (before, after):
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    ask(client, b"b")
            proxy.swallows = False
            proxy.plan(None)
            for client in (before, after):
                client.settimeout(BOUND)
                assert ask(client, b"") == b""

    assert echo.did == [b"a"]


def test_while_it_is_down_nobody_is_there_and_afterwards_the_address_is_the_same(proxy: Proxy) -> None:
    address = proxy.address
    with connect(proxy) as client:
        assert ask(client, b"a") == b"A"
        proxy.down()
        assert ask(client, b"b") == b""
        with pytest.raises(OSError, match=r"refused|No such file"):
            connect(proxy)
    proxy.up()

    assert proxy.address == address
    with connect(proxy) as client:
        assert ask(client, b"c") == b"C"


def test_a_child_keeps_no_connection_open(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"a") == b"A"
        told, tells = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(tells)
            client.close()
            os.read(told, 1)
            os._exit(0)
        os.close(told)
        try:
            proxy.cut(abruptly=False)
            assert client.recv(1000) == b""
        finally:
            os.close(tells)
            os.waitpid(child, 0)


def test_nothing_is_left_when_it_is_closed(echo: Echo, tmp_path: Path) -> None:
    threads = threading.active_count()
    folder = tmp_path / "other"
    folder.mkdir()
    proxy = Proxy(lambda: echo.address, str(folder))
    proxy.close()

    assert threading.active_count() == threads
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", "localhost:x", "localhost:0", "localhost:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BadAddress, match="expected host:port, or the path of a socket"):
        family_of(address)
