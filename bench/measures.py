"""What is measured of a queue."""

from __future__ import annotations

import multiprocessing
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

from bench.clockwork import Figures, folder, interleaved, seconds
from bench.peers import PEERS, Client, Lowq, Peer, Twin
from bench.works import works
from lowq.rules.entry import entry

_PEERS = {peer.name: peer for peer in PEERS}
_context = multiprocessing.get_context("spawn")


def push(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    figures = Figures("push, one by one", "µs a task")
    with _opened(place, full) as clients:
        for name in interleaved(list(clients), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(_push, clients[name], new)) / amount * 1e6)
    return figures


def above_statement(place: Path, rounds: int, amount: int) -> Figures:
    """What a push costs beside its one SQL statement, which a neighbour runs in turn with it, with its values ready.

    A round's figure is the median of its differences; nothing is synced, since a disk's time would hide them. `codec`
    is what it costs to check a work and to make text and digest of it, which is a part of the others.
    """
    figures = Figures("push, what it costs above its statement", "µs a task")
    with ExitStack() as stack:
        bare, twin = (Twin(stack.enter_context(folder(place)), False) for _ in range(2))
        ours = Lowq(stack.enter_context(folder(place)), False)
        for client in (bare, twin, ours):
            stack.callback(client.close)
        base = "the statement"
        rows = iter(list(map(bare.row, works(rounds * amount))))
        calls: dict[str, Callable[[Any], object]] = {
            base: lambda _: bare.insert(next(rows)),
            "lowq": ours.push,
            "the same, by hand": twin.push,
            "codec": lambda work: entry(work, None, 0, None, None),
        }
        for _ in range(rounds):
            spent: dict[str, list[float]] = {name: [] for name in calls}
            for name, work in zip(interleaved(list(calls), amount), works(len(calls) * amount), strict=True):
                spent[name].append(seconds(partial(calls[name], work)) * 1e6)
            for name, values in spent.items():
                less = [0.0] * amount if name in (base, "codec") else spent[base]
                figures.add(name, median(map(float.__sub__, values, less)))
    return figures


def push_many(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    figures = Figures(f"push, {amount} in one transaction", "µs a task")
    with _opened(place, full) as clients:
        able: dict[str, Any] = {name: client for name, client in clients.items() if hasattr(client, "push_many")}
        for name in interleaved(list(able), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(able[name].push_many, new)) / amount * 1e6)
    return figures


def claim_and_ack(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    figures = Figures("claim, then ack", "µs a task")
    with _opened(place, full) as clients:
        for name in interleaved(list(clients), rounds):
            load(clients[name], amount)
            figures.add(name, seconds(partial(_consume, clients[name], amount)) / amount * 1e6)
    return figures


def ack_with_next_claim(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    figures = Figures("ack and the next claim in one transaction", "µs a task")
    with _opened(place, full) as clients:
        able = [name for name, client in clients.items() if hasattr(client, "ack_and_claim")]
        for name in interleaved(able, rounds):
            load(clients[name], amount)
            figures.add(name, seconds(partial(_consume_chained, clients[name])) / amount * 1e6)
    return figures


def two_processes(place: Path, full: bool, rounds: int, amount: int) -> Figures:
    """`amount` tasks, taken by two processes at once; a queue that hands a task to both says so in its note."""
    figures = Figures("claim, then ack, by two processes", "µs a task")
    for name in interleaved([peer.name for peer in PEERS], rounds):
        with folder(place) as home:
            client = _PEERS[name].open(home, full)
            load(client, amount)
            client.close()
            pool = _Pair(name, home, full)
            taken, spent, faults = pool.run()
        figures.add(name, spent / amount * 1e6)
        if faults:
            figures.notes[name] = faults[0]
        elif taken != amount:
            figures.notes[name] = f"{amount} tasks were handed out {taken} times"
    return figures


def backlog(place: Path, full: bool, rounds: int, amount: int, sizes: dict[str, list[int]]) -> list[Figures]:
    """The cost of a claim alone with that many tasks waiting; every size of every queue in turn."""
    figures = {
        size: Figures(f"claim, {size:,} waiting", "µs a task") for size in sorted(set().union(*sizes.values()))
    }
    with ExitStack() as stack:
        clients: dict[str, Client] = {}
        for name, its_sizes in sizes.items():
            for size in its_sizes:
                client = _PEERS[name].open(stack.enter_context(folder(place)), full)
                stack.callback(client.close)
                load(client, size)
                clients[f"{name} {size}"] = client
        for subject in interleaved(list(clients), rounds):
            name, _, waiting = subject.rpartition(" ")
            spent = 0.0
            for _ in range(amount):
                start = time.perf_counter()
                claimed = clients[subject].claim()
                spent += time.perf_counter() - start
                clients[subject].ack(claimed)
            load(clients[subject], amount)
            figures[int(waiting)].add(name, spent / amount * 1e6)
    return list(figures.values())


def fixture(place: Path, full: bool, rounds: int) -> Figures:
    figures = Figures("a new queue, opened and closed", "ms")
    for name in interleaved([peer.name for peer in PEERS], rounds):
        with folder(place) as home:
            figures.add(name, seconds(partial(_open_and_close, _PEERS[name], home, full)) * 1e3)
    return figures


def load(client: Client, amount: int) -> None:
    """Fill the queue without measuring: by batches where there are, without waiting for the disk otherwise."""
    if hasattr(client, "push_many"):
        while amount > 0:
            client.push_many(works(min(amount, 20_000)))
            amount -= 20_000
        return
    connection = client.connection()
    level = connection.execute("PRAGMA synchronous").fetchone()[0]
    connection.execute("PRAGMA synchronous = OFF")
    for work in works(amount):
        client.push(work)
    connection.execute(f"PRAGMA synchronous = {level}")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _opened(place: Path, full: bool, peers: tuple[Peer, ...] = PEERS) -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        clients = {}
        for peer in peers:
            clients[peer.name] = client = peer.open(stack.enter_context(folder(place)), full)
            stack.callback(client.close)
            client.push(works(1)[0])
            client.ack(client.claim())
        yield clients


def _push(client: Client, new: list[Any]) -> None:
    for work in new:
        client.push(work)


def _open_and_close(peer: Peer, home: Path, full: bool) -> None:
    peer.open(home, full).close()


def _consume(client: Client, amount: int) -> None:
    for _ in range(amount):
        client.ack(client.claim())


def _consume_chained(client: Any) -> None:
    claimed = client.claim()
    while claimed is not None:
        claimed = client.ack_and_claim(claimed)


class _Pair:
    """Two processes that empty one queue."""

    def __init__(self, name: str, home: Path, full: bool) -> None:
        self.results: Any = _context.Queue()
        self.start = _context.Barrier(2)
        self.processes = [
            _context.Process(target=_empty, args=(name, home, full, self.start, self.results)) for _ in range(2)
        ]

    def run(self) -> tuple[int, float, list[str]]:
        """How many tasks were taken, in how many seconds, and what went wrong."""
        for process in self.processes:
            process.start()
        answers = [self.results.get(timeout=60) for _ in self.processes]
        for process in self.processes:
            process.join(30)
        begin, end = min(answer[1] for answer in answers), max(answer[2] for answer in answers)
        return sum(answer[0] for answer in answers), end - begin, [answer[3] for answer in answers if answer[3]]


def _empty(name: str, home: Path, full: bool, start: Barrier, results: Any) -> None:
    client = _PEERS[name].open(home, full)
    start.wait(60)
    taken, begin, fault = 0, time.monotonic(), ""
    try:
        while (claimed := client.claim()) is not None:
            taken += 1
            client.ack(claimed)
    except sqlite3.Error as error:
        fault = f"{type(error).__name__}: {error}"
    end = time.monotonic()
    client.close()
    results.put((taken, begin, end, fault))
