"""Another server answers in the place of the one that died, and has nothing of it: every verb says so by name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Protocol

import pytest
from processes import BOUND
from scenes import verbs_of

from lowq import Counts, QueueGone, open_backend
from lowq.testing.servers.postgres import postgres_server
from lowq.testing.servers.valkey import valkey_server

MINUTE = timedelta(minutes=1)
LONG = timedelta(seconds=BOUND)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Pair(Protocol):
    """Where clients find the server that answers just then, and the change from the one to the other."""

    url: str

    def fail_over(self) -> None:
        """The first server is dead, and the other, which is empty, answers."""


class PostgresPair:
    """Two servers at addresses of their own, of which libpq takes the first that answers."""

    def __init__(self, stack: ExitStack) -> None:
        ports = free_port(), free_port()
        self._first, self._second = (
            stack.enter_context(postgres_server(port=port, settings={"fsync": "off"})) for port in ports
        )
        self._name = self._first.fresh()
        for server in (self._first, self._second):
            server.address.run("CREATE ROLE eve SUPERUSER LOGIN PASSWORD 'secret'")
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"postgresql://eve:secret@{hosts}/{self._name}"

    def fail_over(self) -> None:
        """As Pair.fail_over: the other has a database of that name, with lowq's tables."""
        assert self._second.fresh() == self._name
        self._first.kill()


class ValkeyPair:
    """Two servers, the one at the other's address when that is dead."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack, self._port = stack, free_port()
        self._first = stack.enter_context(valkey_server(port=self._port))
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def fail_over(self) -> None:
        """As Pair.fail_over."""
        self._first.kill()
        self._stack.enter_context(valkey_server(port=self._port))


@pytest.fixture(params=[PostgresPair, ValkeyPair])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield request.param(stack)


def test_a_server_that_has_nothing_of_the_queue_is_told_from_one_that_has(pair: Pair) -> None:
    with closing(open_backend(pair.url, patience=LONG)) as queue:
        queue.push("acknowledged")
        lease = queue.claim(lease_for=timedelta(hours=1))
        assert lease is not None
        waited = in_thread(lambda: queue.claim(lease_for=MINUTE, wait=LONG))

        pair.fail_over()

        for verb in verbs_of(queue, lease):
            with pytest.raises(QueueGone):
                verb()
        assert waited() is QueueGone
        with closing(open_backend(pair.url)) as again:
            assert again.count() == Counts()
            assert again.push("acknowledged").added
            for verb in verbs_of(queue, lease):
                with pytest.raises(QueueGone):
                    verb()
            assert again.count() == Counts(ready=1)


def in_thread(call: Callable[[], object]) -> Callable[[], type[BaseException] | None]:
    """The call was begun in another thread; what is given waits for it and says what it raised."""
    raised: list[type[BaseException]] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()

    def outcome() -> type[BaseException] | None:
        thread.join(BOUND)
        return raised[0] if raised else None

    return outcome
