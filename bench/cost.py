"""What a call costs the processor, here and on the server, by the same SQL or Lua by hand: `python -m bench.cost`.

Time on a clock says little where others use the machine; the processor's time of this process and of the server's,
as Linux counts it, says what would be left on an idle one. Subjects take turns in an order drawn anew for each round,
since who comes behind another finds colder caches; the least of each is shown, which others have disturbed least.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.server_clients import MINUTE, Lowq, RawPostgres, RawValkey
from bench.works import works
from lowq.testing.servers.postgres import postgres_server
from lowq.testing.servers.valkey import valkey_server

RAW = "by hand"
Cost = tuple[float, float]
"""Microseconds of this process and of the server's."""


def main() -> int:
    choices = _arguments()
    for server in choices.server or SERVERS:
        with SERVERS[server]() as (clients, spent):
            costs: dict[str, dict[str, list[Cost]]] = {}
            for _ in range(choices.rounds):
                for name in random.sample(list(clients), len(clients)):
                    for verb, cost in _round(clients[name], choices.tasks, spent).items():
                        costs.setdefault(verb, {}).setdefault(name, []).append(cost)
        for verb, of in costs.items():
            print(f"\n{server}: {verb} (µs of the processor a task)")
            hand = min(map(sum, of[RAW]))
            for name, values in of.items():
                here, there = map(min, zip(*values, strict=True))
                print(
                    f"  {name:14} here {here:6.1f}  server {there:6.1f}  {hand / min(map(sum, values)):5.2f} of {RAW}"
                )
    return 0


def _round(client: Any, amount: int, spent: Callable[[], Cost]) -> dict[str, Cost]:
    """What each verb cost for a task."""
    claimed: list[Any] = []
    verbs: dict[str, Callable[[], None]] = {
        "push": partial(_each, client.push, works(amount)),
        "claim": lambda: claimed.extend(client.claim() for _ in range(amount)),
        "ack": partial(_each, client.ack, claimed),
        "ack and the next claim": partial(_chain, client),
    }
    costs = {}
    for verb, call in verbs.items():
        if call is verbs["ack and the next claim"]:
            _each(client.push, works(amount))
        before = spent()
        call()
        here, there = spent()
        costs[verb] = (here - before[0]) / amount, (there - before[1]) / amount
    return costs


def _each(call: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        call(value)


def _chain(client: Any) -> None:
    claimed = client.claim()
    while claimed is not None:
        if isinstance(client, Lowq):
            claimed = client.queue.ack(claimed, claim_for=MINUTE)
        else:
            client.ack(claimed)
            claimed = client.claim()


Started = tuple[dict[str, Any], Callable[[], Cost]]
"""The clients, and what they and the server have spent so far."""


@contextmanager
def _postgresql() -> Iterator[Started]:
    with postgres_server(settings={"fsync": "off"}) as server:
        url = server.url(server.fresh())
        clients = {RAW: RawPostgres(url), "lowq": Lowq(url), "lowq, loose": Lowq(f"{url}&order=loose")}
        for client in clients.values():
            _warm_up(client)
        yield clients, partial(_spent, [each for each in _children(server.pid) if b"[local]" in _command(each)])


@contextmanager
def _valkey() -> Iterator[Started]:
    with valkey_server(settings={"appendfsync": "everysec"}) as server:
        url = server.fresh()
        clients = {RAW: RawValkey(url), "lowq": Lowq(url)}
        for client in clients.values():
            _warm_up(client)
        yield clients, partial(_spent, [server.pid])


SERVERS = {"postgresql": _postgresql, "valkey": _valkey}


def _warm_up(client: Any) -> None:
    for work in works(20):
        client.push(work)
    _chain(client)


def _spent(processes: list[int]) -> Cost:
    there = sum(int(Path(f"/proc/{each}/schedstat").read_text().split()[0]) for each in processes)
    return time.process_time_ns() / 1e3, there / 1e3


def _children(parent: int) -> list[int]:
    stats = [(each.parent.name, each.read_text()) for each in Path("/proc").glob("[0-9]*/stat") if each.exists()]
    return [int(name) for name, stat in stats if int(stat.rpartition(")")[2].split()[1]) == parent]


def _command(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__.split("\n\n")[0])
    parser.add_argument("--server", action="append", choices=SERVERS, help="repeatable")
    parser.add_argument("--rounds", type=int, default=40, help="how often each takes its turn")
    parser.add_argument("--tasks", type=int, default=60, help="tasks in each turn")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
