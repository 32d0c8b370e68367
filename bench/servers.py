"""lowq's queues in PostgreSQL and Valkey beside the bare SQL or Lua and beside other queues, on one server: `--help`.

Everything is measured in one run on one started server with the same durability, the subjects in turn; a speed is the
median over the rounds of the time by hand by the subject's in the same round. The first lines say what each does and
does not; what is not installed is named.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from typing import Any

from bench import postgres_peers, valkey_peers
from bench.clockwork import Figures, interleaved, seconds
from bench.report import Report
from bench.server_clients import Client, Lowq, RawPostgres, RawValkey, Subject
from bench.works import works
from lowq.testing.servers.postgres import postgres_server
from lowq.testing.servers.valkey import valkey_server

RAW = "by hand"
BATCHES = (10, 100)


@dataclass(slots=True)
class Seat:
    """A client, and the thread that alone uses it."""

    client: Any
    thread: ThreadPoolExecutor

    def do(self, call: Callable[[], Any]) -> Any:
        """What the call answers, in that thread."""
        return self.thread.submit(call).result(600)


@dataclass(slots=True)
class Bench:
    """A server that runs, and what is measured on it."""

    url: Callable[[], str]
    subjects: list[Subject]
    rounds: int
    amount: int

    def push(self) -> Figures:
        figures = Figures("push, one by one", "µs a task")
        with self._opened() as seats:
            for name in interleaved(list(seats), self.rounds):
                push = partial(_push_each, seats[name][0].client, works(self.amount))
                figures.add(name, seats[name][0].do(partial(seconds, push)) / self.amount * 1e6)
                self._empty(seats[name][0])
        return figures

    def batch(self, size: int) -> Figures:
        figures = Figures(f"push, {size:,} in one transaction", "µs a task")
        with self._opened(having="push_many") as seats:
            for name in interleaved(list(seats), self.rounds):
                push = partial(seats[name][0].client.push_many, works(size))
                figures.add(name, seats[name][0].do(partial(seconds, push)) / size * 1e6)
                self._empty(seats[name][0])
        return figures

    def claim(self, *, workers: int) -> Figures:
        """Each worker is a thread with a client of its own."""
        figures = Figures(f"claim, then ack, {workers} at once", "µs a task")
        with self._opened(workers, having="claim") as seats:
            for name in interleaved(list(seats), self.rounds):
                _load(seats[name][0], self.amount * workers)
                start = Barrier(workers + 1)
                taken = [seat.thread.submit(_consume, seat.client, self.amount, start) for seat in seats[name]]
                spent = seconds(partial(_finish, start, taken))
                figures.add(name, spent / (self.amount * workers) * 1e6)
        return figures

    def backlog(self, sizes: Sequence[int]) -> list[Figures]:
        """The cost of a claim and ack of lowq's, and by hand, among that many."""
        figures = {size: Figures(f"claim, then ack, among {size:,}", "µs a task") for size in sizes}
        with ExitStack() as stack:
            seats = {}
            for size in sizes:
                for subject in self.subjects[:2]:
                    seats[f"{subject.name} {size}"] = seat = _sit(stack, subject, self.url())
                    _load(seat, size)
            for each in interleaved(list(seats), self.rounds):
                name, _, size_ = each.rpartition(" ")
                spent = seats[each].do(partial(seconds, partial(_consume, seats[each].client, 50)))
                figures[int(size_)].add(name, spent / 50 * 1e6)
                _load(seats[each], 50)
        return list(figures.values())

    def start(self) -> Figures:
        """From before the push to when a client that waited idly has the task; its ack is not in it."""
        figures = Figures("push to start, idle", "ms")
        with self._opened(2, having="wait") as seats:
            for turn, name in enumerate(interleaved(list(seats), 5 * self.rounds)):
                pushing, waiting = seats[name]
                started = waiting.thread.submit(_wait, waiting.client)
                time.sleep(0.02 + 0.001 * (turn % 17))
                (work,) = works(1)
                begun = time.monotonic()
                pushing.do(partial(pushing.client.push_and_wake, work))
                figures.add(name, (started.result(60) - begun) * 1e3)
        return figures

    def worker(self) -> Figures:
        """What waits is run by each queue's own worker, one task at a time."""
        figures = Figures("a worker's no-op tasks, end to end", "µs a task")
        amount = 3 * self.amount  # a worker that begins and ends for them does so once
        with self._opened(having="drain") as seats, ExitStack() as stack:
            url = self.url()
            for size in BATCHES:
                batched = Subject(f"lowq, batch={size}", partial(Lowq, batch=size))
                seats[batched.name] = [_sit(stack, batched, url)]
            for name in interleaved(list(seats), self.rounds):
                _load(seats[name][0], amount)
                begun = time.perf_counter()
                ended = seats[name][0].do(seats[name][0].client.drain) or time.perf_counter()
                figures.add(name, (ended - begun) / amount * 1e6)
        return figures

    @contextmanager
    def _opened(self, each: int = 1, having: str = "push") -> Iterator[dict[str, list[Seat]]]:
        """So many clients of each queue that has such a call, in one fresh database."""
        with ExitStack() as stack:
            url = self.url()
            seats: dict[str, list[Seat]] = {}
            for subject in self.subjects:
                mine = [_sit(stack, subject, url) for _ in range(each)]
                if hasattr(mine[0].client, having):
                    seats[subject.name] = mine
                    for seat in mine:
                        seat.do(partial(_warm_up, seat.client))
            yield seats

    def _empty(self, seat: Seat) -> None:
        """Nothing waits: what was pushed is run, by the call that is fastest."""
        if hasattr(seat.client, "drain"):
            seat.do(seat.client.drain)


Started = tuple[str, Callable[[], str], list[Subject]]
"""What a server is, the URL of a fresh database in it, and what is measured there."""


@contextmanager
def _postgresql(full: bool) -> Iterator[Started]:
    with postgres_server(settings={"fsync": "on" if full else "off"}) as server:
        loose = Subject("lowq, loose", lambda url: Lowq(f"{url}&order=loose"))
        subjects = [Subject(RAW, RawPostgres), Subject("lowq", Lowq), loose, *postgres_peers.PEERS]
        says = f"PostgreSQL {server.address.run('SHOW server_version')[0][0]}, fsync {'on' if full else 'off'}"
        yield says, lambda: server.url(server.fresh()), subjects


@contextmanager
def _valkey(full: bool) -> Iterator[Started]:
    fsync = "always" if full else "everysec"
    with valkey_server(settings={"appendfsync": fsync}) as server:
        said = dict(line.split(":", 1) for line in server.ask("INFO server").splitlines() if ":" in line)
        says = f"Valkey {said.get('valkey_version', said.get('redis_version'))}, appendfsync {fsync}"
        yield says, server.fresh, [Subject(RAW, RawValkey), Subject("lowq", Lowq), *valkey_peers.PEERS]


SERVERS: dict[str, Callable[[bool], AbstractContextManager[Started]]] = {"postgresql": _postgresql, "valkey": _valkey}


def main() -> int:
    choices = _arguments()
    full = choices.durability == "power"
    report = Report(as_json=choices.json, durability=choices.durability)
    for server in choices.server or SERVERS:
        with SERVERS[server](full) as (says, url, subjects):
            report.say(f"\n{says}")
            _measure(report, server, Bench(url, _installed(report, subjects), *_sizes(choices)), choices)
    report.end()
    return 0


def _measure(report: Report, server: str, bench: Bench, choices: argparse.Namespace) -> None:
    measures: dict[str, Callable[[], list[Figures]]] = {
        "push": lambda: [bench.push()],
        "batch": lambda: [bench.batch(100 if choices.quick else 1_000)],
        "claim": lambda: [bench.claim(workers=1)],
        "workers": lambda: [bench.claim(workers=8)],
        "backlog": lambda: bench.backlog((1_000, 10 * 1_000 if choices.quick else choices.waiting)),
        "start": lambda: [bench.start()],
        "worker": lambda: [bench.worker()],
    }
    for name, measure in measures.items():
        if not choices.only or name in choices.only:
            for figures in measure():
                speeds = {each: figures.speed(each, RAW) for each in figures.samples}
                report.add(f"{server} {name}", figures, _table(figures, speeds), speed=speeds)


def _installed(report: Report, subjects: list[Subject]) -> list[Subject]:
    """Those that can be measured; each is told of."""
    for each in subjects:
        if each.distribution:
            report.say(f"  {each.name:16} {each.version or 'is not installed'}  {each.says if each.version else ''}")
    return [each for each in subjects if each.version is not None]


def _sizes(choices: argparse.Namespace) -> tuple[int, int]:
    """Rounds, and tasks in each."""
    return (3, 20) if choices.quick else (choices.rounds, 100)


def _sit(stack: ExitStack, subject: Subject, url: str) -> Seat:
    thread = ThreadPoolExecutor(1)
    stack.callback(thread.shutdown)
    client: Client = thread.submit(subject.make, url).result(60)
    stack.callback(lambda: thread.submit(client.close).result(60))
    return Seat(client, thread)


def _warm_up(client: Any) -> None:
    """Its statements are prepared, and its scripts known to the server."""
    for _ in range(6):
        client.push(works(1)[0])
        if hasattr(client, "claim"):
            client.ack(client.claim())
    if not hasattr(client, "claim"):
        client.drain()


def _load(seat: Seat, amount: int) -> None:
    """So many tasks wait; by batches where there are."""
    if not hasattr(seat.client, "push_many"):
        seat.do(partial(_push_each, seat.client, works(amount)))
        return
    for start in range(0, amount, 10_000):
        seat.do(partial(seat.client.push_many, works(min(10_000, amount - start))))


def _push_each(client: Client, new: list[Any]) -> None:
    for work in new:
        client.push(work)


def _consume(client: Client, amount: int, start: Barrier | None = None) -> None:
    if start is not None:
        start.wait(60)
    for _ in range(amount):
        client.ack(client.claim())


def _finish(start: Barrier, taken: list[Future[None]]) -> None:
    start.wait(60)
    for each in taken:
        each.result(600)


def _wait(client: Any) -> float:
    """When it had a task for which it waited."""
    claimed = client.wait()
    begun = time.monotonic()
    client.ack(claimed)
    return begun


def _table(figures: Figures, speeds: dict[str, float]) -> str:
    lines = ["", f"{figures.title} ({figures.unit})"]
    for subject, values in figures.samples.items():
        spread = f"{min(values):9.1f} to {max(values):.1f}"
        lines.append(f"  {subject:18}{figures.median(subject):10.1f}  {speeds[subject]:6.2f} of {RAW:8} {spread}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small queues")
    parser.add_argument("--rounds", type=int, default=15, help="how often each takes its turn")
    parser.add_argument("--waiting", type=int, default=100_000, help="tasks in the longest backlog")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--durability", choices=("power", "process"), default="power", help="synced, or not")
    parser.add_argument("--server", action="append", choices=SERVERS, help="repeatable")
    parser.add_argument(
        "--only",
        action="append",
        metavar="MEASURE",
        help="push, batch, claim, workers, backlog, start, worker; repeatable",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
