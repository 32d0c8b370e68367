"""A queue in a cluster: the node that has it is found, by way of any other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import Any

import pytest
from processes import BOUND

from lowq import Counts, Item, open_backend
from lowq.clock import SystemClock
from lowq.testing.servers.valkey import ValkeyServer, valkey_server

MINUTE = timedelta(minutes=1)
NAMES = [f"q{number}" for number in range(8)]


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [each.getsockname()[1] for each in held]


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[ValkeyServer]]:
    """Two nodes, each of which has one half of the keys."""
    one, other, bus, other_bus = free_ports(4)
    settings = {"appendonly": "no", "cluster-enabled": "yes", "databases": "1"}
    with (
        valkey_server(port=one, settings={**settings, "cluster-port": str(bus)}) as first,
        valkey_server(port=other, settings={**settings, "cluster-port": str(other_bus)}) as second,
    ):
        first.ask("CLUSTER ADDSLOTSRANGE 0 8191")
        second.ask("CLUSTER ADDSLOTSRANGE 8192 16383")
        first.ask(f"CLUSTER MEET 127.0.0.1 {other} {other_bus}")
        clock = SystemClock()
        left = clock.countdown(timedelta(seconds=BOUND))
        while not all("cluster_state:ok" in each.ask("CLUSTER INFO") for each in (first, second)):
            assert left() > timedelta(0)
            clock.sleep(timedelta(milliseconds=20))
        yield [first, second]


def test_each_queue_is_found_on_its_node(nodes: list[ValkeyServer]) -> None:
    homes = set()
    for name in NAMES:
        queue: Any = open_backend(f"redis://127.0.0.1:{nodes[0].port}", name=name, dedupe="until_claimed")
        with closing(queue):
            queue.push_many([Item(number) for number in range(3)])
            lease = queue.claim(lease_for=MINUTE)
            lease = queue.ack(lease, claim_for=MINUTE)
            assert lease.work == 1
            assert queue.claim(lease_for=MINUTE, wait=MINUTE).work == 2
            assert queue.count() == Counts(leased=2)
            homes.add(queue._server.address.port)

    assert homes == {node.port for node in nodes}
    with closing(open_backend(f"redis://127.0.0.1:{nodes[1].port}", name=NAMES[0])) as queue:
        assert queue.names() == NAMES
        assert queue.count() == Counts(leased=2)
