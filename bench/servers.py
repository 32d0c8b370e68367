"""lowq's queue in a database server beside the bare SQL on the same server: `--help`.

`raw` is what anybody would write by hand, through psycopg: a table with an index for the order and a unique one for
what is equal; a push is an INSERT … ON CONFLICT DO NOTHING, a claim an UPDATE of the first row that FOR UPDATE SKIP
LOCKED gives, an ack a DELETE; each a transaction and a prepared statement. It keeps no strict order, has no
schedule, no states, no headers, and wakes nobody. Everything is measured in one run on one started server with the
same durability, the subjects in turn; a speed is the median over the rounds of raw's time by the subject's.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from hashlib import blake2b
from itertools import count
from typing import Any, Protocol

import psycopg

import lowq
from bench.clockwork import Figures, interleaved, seconds
from bench.report import Report
from bench.works import works
from lowq.testing.servers.postgres import PostgresServer, postgres_server

MINUTE = timedelta(minutes=1)

_numbers = count()


class Client(Protocol):
    """One queue; what `claim` gives goes to `ack`."""

    def push(self, work: Any) -> object: ...
    def push_many(self, new: list[Any]) -> object: ...
    def claim(self) -> Any: ...
    def ack(self, claimed: Any) -> object: ...
    def close(self) -> object: ...


class RawPostgres:
    """The SQL alone."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS raw (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " priority int NOT NULL, work text NOT NULL, digest bytea NOT NULL UNIQUE, leased_until bigint,"
            " token bigint)"
        )
        self._connection.execute("CREATE INDEX IF NOT EXISTS raw_order ON raw (priority, id) WHERE token IS NULL")

    def push(self, work: Any) -> None:
        self._connection.execute(
            "INSERT INTO raw (priority, work, digest) VALUES (0, %s, %s) ON CONFLICT DO NOTHING", _row(work)
        )

    def push_many(self, new: list[Any]) -> None:
        with self._connection.transaction(), self._connection.cursor() as cursor:
            statement = "INSERT INTO raw (priority, work, digest) VALUES (0, %s, %s) ON CONFLICT DO NOTHING"
            cursor.executemany(statement, map(_row, new))

    def claim(self) -> tuple[int, int]:
        token = next(_numbers)
        row = self._connection.execute(
            "UPDATE raw SET token = %s, leased_until = (extract(epoch FROM now()) * 1e6)::bigint + 60000000 WHERE"
            " id = (SELECT id FROM raw WHERE token IS NULL ORDER BY priority, id LIMIT 1 FOR UPDATE SKIP LOCKED)"
            " RETURNING id, work",
            (token,),
        ).fetchone()
        assert row is not None
        json.loads(row[1])
        return row[0], token

    def ack(self, claimed: tuple[int, int]) -> None:
        self._connection.execute("DELETE FROM raw WHERE id = %s AND token = %s", claimed)

    def close(self) -> None:
        self._connection.close()


class Lowq:
    """lowq at a location."""

    def __init__(self, url: str) -> None:
        self.queue = lowq.open_backend(url)
        self.push = self.queue.push
        self.ack = self.queue.ack
        self.close = self.queue.close

    def push_many(self, new: list[Any]) -> None:
        self.queue.push_many(lowq.Item(work) for work in new)

    def claim(self) -> lowq.Lease | None:
        return self.queue.claim(lease_for=MINUTE)


SUBJECTS: dict[str, Callable[[str], Client]] = {
    "raw": RawPostgres,
    "lowq": Lowq,
    "lowq, loose": lambda url: Lowq(f"{url}&order=loose"),
}


def main() -> int:
    choices = _arguments()
    rounds, amount = (3, 20) if choices.quick else (15, 200)
    with postgres_server(settings={"fsync": "on" if choices.durability == "power" else "off"}) as server:
        version = server.address.run("SHOW server_version")[0][0]
        report = Report(as_json=choices.json, durability=choices.durability, server=f"PostgreSQL {version}")
        report.say(f"PostgreSQL {version}, fsync for {choices.durability}")
        measures: dict[str, Callable[[], Figures]] = {
            "push": lambda: _push(server, rounds, amount),
            "batch": lambda: _batch(server, rounds, 50 if choices.quick else 1_000),
            "claim": lambda: _claim_and_ack(server, rounds, amount, workers=1),
            "workers": lambda: _claim_and_ack(server, rounds, amount, workers=8),
            "backlog": lambda: _backlog(server, rounds, *((200, 2_000) if choices.quick else (1_000, 1_000_000))),
        }
        for name, measure in measures.items():
            if choices.only and name not in choices.only:
                continue
            figures = measure()
            base = next(iter(figures.samples))
            speeds = {subject: figures.speed(subject, base) for subject in figures.samples}
            report.add(name, figures, _table(figures, speeds, base), speed=speeds)
    report.end()
    return 0


def _push(server: PostgresServer, rounds: int, amount: int) -> Figures:
    figures = Figures("push, one by one", "µs a task")
    with _opened(server) as clients:
        for name in interleaved(list(clients), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(_push_each, clients[name][0], new)) / amount * 1e6)
            _consume(clients[name][0], amount)
    return figures


def _batch(server: PostgresServer, rounds: int, amount: int) -> Figures:
    figures = Figures(f"push, {amount:,} in one transaction", "µs a task")
    with _opened(server) as clients:
        for name in interleaved(list(clients), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(clients[name][0].push_many, new)) / amount * 1e6)
            _consume(clients[name][0], amount)
    return figures


def _claim_and_ack(server: PostgresServer, rounds: int, amount: int, *, workers: int) -> Figures:
    figures = Figures(f"claim, then ack, {workers} at once", "µs a task")
    with _opened(server, workers) as clients:
        for name in interleaved(list(clients), rounds):
            clients[name][0].push_many(works(amount * workers))
            taken = seconds(partial(_consume_together, clients[name], amount))
            figures.add(name, taken / (amount * workers) * 1e6)
    return figures


def _backlog(server: PostgresServer, rounds: int, few: int, many: int) -> Figures:
    """The cost of a claim and ack of lowq's among few and among many."""
    figures = Figures(f"claim, then ack, among {few:,} and {many:,}", "µs a task")
    with ExitStack() as stack:
        clients = {}
        for size in (few, many):
            clients[f"{size:,}"] = client = Lowq(server.url(server.fresh()))
            stack.callback(client.close)
            for start in range(0, size, 10_000):
                client.push_many(works(min(10_000, size - start)))
        for name in interleaved(list(clients), rounds):
            figures.add(name, seconds(partial(_consume, clients[name], 50)) / 50 * 1e6)
            clients[name].push_many(works(50))
    return figures


@contextmanager
def _opened(server: PostgresServer, each: int = 1) -> Iterator[dict[str, list[Client]]]:
    with ExitStack() as stack:
        url = server.url(server.fresh())
        clients: dict[str, list[Client]] = {}
        for name, make in SUBJECTS.items():
            clients[name] = [make(url) for _ in range(each)]
            for client in clients[name]:
                stack.callback(client.close)
                for _ in range(5):  # so that its statements are prepared
                    client.push(works(1)[0])
                    client.ack(client.claim())
        yield clients


def _row(work: Any) -> tuple[str, bytes]:
    text = json.dumps(work, sort_keys=True)
    return text, blake2b(text.encode(), digest_size=20).digest()


def _push_each(client: Client, new: list[Any]) -> None:
    for work in new:
        client.push(work)


def _consume(client: Client, amount: int) -> None:
    for _ in range(amount):
        client.ack(client.claim())


def _consume_together(clients: list[Client], amount: int) -> None:
    threads = [threading.Thread(target=_consume, args=(client, amount)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _table(figures: Figures, speeds: dict[str, float], base: str) -> str:
    lines = ["", f"{figures.title} ({figures.unit})"]
    for subject, values in figures.samples.items():
        spread = f"{min(values):9.1f} to {max(values):.1f}"
        lines.append(f"  {subject:16}{figures.median(subject):10.1f}  {speeds[subject]:6.2f} of {base:8} {spread}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.servers", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small queues")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--durability", choices=("power", "process"), default="power", help="synced, or not")
    parser.add_argument(
        "--only", action="append", metavar="MEASURE", help="push, batch, claim, workers, backlog; repeatable"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
