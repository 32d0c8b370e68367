"""lowq's queue in a directory beside its own system calls, and beside other queues that keep files: `--help`.

`raw` makes the system calls that a queue of one file a task cannot do without, and nothing else: it takes a lock,
writes the file and renames it to a name that has the order, renames it when it is claimed, reads it, and unlinks it
when it is acked. With `--durability power` it syncs the file and the directory of a push, and the directory of an
ack. It keeps the order in memory and serves one process. Everything is measured in one run, the subjects in turn; a
speed is the median over the rounds of raw's time by the subject's.

persist-queue, huey and kombu never sync what they push (persist-queue syncs each hundredth), whatever is asked for:
beside them `--durability process` compares like with like.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import lowq
from bench.clockwork import Figures, folder, interleaved, seconds
from bench.report import Report
from bench.works import works

MINUTE = timedelta(minutes=1)


class Client(Protocol):
    """One queue; what `claim` gives goes to `ack`."""

    def push(self, work: Any) -> object: ...
    def claim(self) -> Any: ...
    def ack(self, claimed: Any) -> object: ...
    def close(self) -> object: ...


class Raw:
    """The system calls alone."""

    def __init__(self, place: Path, power: bool) -> None:
        self._power = power
        self._folder = os.open(place, os.O_RDONLY)
        self._lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT)
        self._place = str(place)
        self._waiting: deque[str] = deque()
        self._number = 0

    def push(self, work: Any) -> None:
        self._number += 1
        name = f"{self._place}/ready-2147483647-{self._number:016}"
        new = os.open(f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.write(new, json.dumps(work).encode())
        if self._power:
            os.fsync(new)
        os.close(new)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(f"{name}.tmp", name)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._waiting.append(name)
        if self._power:
            os.fsync(self._folder)

    def claim(self) -> str:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        name = self._waiting.popleft()
        leased = name.replace("ready", "leased-20261126T150405.123456Z")
        file = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        json.loads(os.read(file, 65536))
        os.close(file)
        os.rename(name, leased)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return leased

    def ack(self, claimed: str) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.unlink(claimed)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        if self._power:
            os.fsync(self._folder)

    def close(self) -> None:
        os.close(self._folder)
        os.close(self._lock)


class Lowq:
    """lowq at a location."""

    def __init__(self, location: str, power: bool) -> None:
        self.queue = lowq.open_backend(location, durability="power" if power else "process")
        self.push = self.queue.push
        self.ack = self.queue.ack
        self.close = self.queue.close

    def push_many(self, new: list[Any]) -> None:
        self.queue.push_many(lowq.Item(work) for work in new)

    def claim(self) -> lowq.Lease | None:
        return self.queue.claim(lease_for=MINUTE)


class Huey:
    """huey's FileStorage, without its messages around a task; taking one deletes it."""

    def __init__(self, place: Path, _: bool) -> None:
        from huey.storage import FileStorage

        self._storage = FileStorage("bench", str(place / "huey"))

    def push(self, work: Any) -> None:
        self._storage.enqueue(json.dumps(work).encode())

    def claim(self) -> Any:
        return json.loads(self._storage.dequeue())

    def ack(self, claimed: Any) -> None: ...
    def close(self) -> None: ...


class PersistQueue:
    """persist-queue's Queue: chunks of a hundred tasks in a file, for threads; `task_done` is the ack."""

    def __init__(self, place: Path, _: bool) -> None:
        import persistqueue
        from persistqueue.serializers import json as as_json

        (place / "tmp").mkdir()
        self._queue = persistqueue.Queue(str(place / "queue"), tempdir=str(place / "tmp"), serializer=as_json)
        self.push = self._queue.put

    def claim(self) -> Any:
        return self._queue.get(block=False)

    def ack(self, _: Any) -> None:
        self._queue.task_done()

    def close(self) -> None: ...


class Kombu:
    """kombu's transport ``filesystem://`` by its SimpleQueue: a file a message, in the folder of the queue."""

    def __init__(self, place: Path, _: bool) -> None:
        import kombu

        messages = place / "messages"
        messages.mkdir()
        options = {
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "control_folder": str(place / "control"),
        }
        self._connection = kombu.Connection("filesystem://", transport_options=options)
        self._queue = self._connection.SimpleQueue(f"bench-{place.name}")
        self.push = self._queue.put

    def claim(self) -> Any:
        message = self._queue.get(block=True, timeout=10)
        message.payload  # noqa: B018  which decodes it
        return message

    def ack(self, claimed: Any) -> None:
        claimed.ack()

    def close(self) -> None:
        self._queue.close()
        self._connection.close()


SUBJECTS: dict[str, tuple[Callable[[Path, bool], Any], str]] = {
    "raw": (Raw, "the system calls alone"),
    "lowq, files": (
        lambda place, power: Lowq(f"files://{place / 'q'}", power),
        f"{lowq.__version__}: dedupe, priority, schedule, lease with token, many processes",
    ),
    "lowq, sqlite": (
        lambda place, power: Lowq(str(place / "q.db"), power),
        f"{lowq.__version__}: the same in SQLite",
    ),
    "huey": (Huey, f"{version('huey')} FileStorage: priority; no dedupe, no ack (taking deletes), no sync"),
    "persist-queue": (PersistQueue, f"{version('persist-queue')} Queue: for threads; no lease, a sync each hundred"),
    "kombu": (Kombu, f"{version('kombu')} filesystem://: no order, no dedupe, no lease, no sync"),
}


def main() -> int:
    choices = _arguments()
    power = choices.durability == "power"
    rounds, amount = (3, 20) if choices.quick else (15, 100)
    with tempfile.TemporaryDirectory(prefix="lowq-bench-", dir=choices.folder) as home:
        place = Path(home)
        told = {name: says for name, (_, says) in SUBJECTS.items()}
        report = Report(as_json=choices.json, durability=choices.durability, subjects=told)
        for name, says in told.items():
            report.say(f"{name:16} {says}")
        measures: dict[str, Callable[[], Iterator[Figures]]] = {
            "push": lambda: _push(place, power, rounds, amount),
            "claim": lambda: _claim_and_ack(place, power, rounds, amount),
            "backlog": lambda: _backlog(place, power, rounds, *((200, 2_000) if choices.quick else (1_000, 100_000))),
        }
        for name, measure in measures.items():
            if choices.only and name not in choices.only:
                continue
            for figures in measure():
                base = next(iter(figures.samples))
                speeds = {subject: figures.speed(subject, base) for subject in figures.samples}
                report.add(name, figures, _table(figures, speeds, base), speed=speeds)
    report.end()
    return 0


def _push(place: Path, power: bool, rounds: int, amount: int) -> Iterator[Figures]:
    figures = Figures("push, one by one", "µs a task")
    with _opened(place, power) as clients:
        for name in interleaved(list(clients), rounds):
            new = works(amount)
            figures.add(name, seconds(partial(_push_each, clients[name], new)) / amount * 1e6)
            _consume(clients[name], amount)
    yield figures


def _claim_and_ack(place: Path, power: bool, rounds: int, amount: int) -> Iterator[Figures]:
    figures = Figures("claim, then ack", "µs a task")
    with _opened(place, power) as clients:
        for name in interleaved(list(clients), rounds):
            _push_each(clients[name], works(amount))
            figures.add(name, seconds(partial(_consume, clients[name], amount)) / amount * 1e6)
    yield figures


def _backlog(place: Path, power: bool, rounds: int, few: int, many: int) -> Iterator[Figures]:
    """The cost of a claim of lowq's directory among few and among many; of an open client, and of one just opened."""
    open_client = Figures(f"claim among {few:,} and {many:,}", "µs a claim")
    new_client = Figures(f"open a client, and its first claim, among {few:,} and {many:,}", "µs")
    with ExitStack() as stack:
        clients = {}
        for size in (few, many):
            where = stack.enter_context(folder(place))
            clients[f"{size:,}"] = client = Lowq(f"files://{where / 'q'}", power)
            stack.callback(client.close)
            for start in range(0, size, 10_000):
                client.push_many(works(min(10_000, size - start)))
        for name in interleaved(list(clients), rounds):
            client = clients[name]
            taken: list[Any] = []
            open_client.add(name, seconds(lambda: taken.extend(client.claim() for _ in range(20))) / 20 * 1e6)  # noqa: B023
            for lease in taken:
                client.queue.release(lease)

            def fresh(name: str = name) -> None:
                other = Lowq(f"files://{clients[name].queue._folder.root}", power)  # type: ignore[attr-defined]
                lease: Any = other.claim()
                other.ack(lease)
                other.close()

            new_client.add(name, seconds(fresh) * 1e6)
            client.push_many(works(1))
    yield open_client
    yield new_client


@contextmanager
def _opened(place: Path, power: bool) -> Iterator[dict[str, Client]]:
    with ExitStack() as stack:
        clients: dict[str, Client] = {}
        for name, (make, _) in SUBJECTS.items():
            clients[name] = client = make(stack.enter_context(folder(place)), power)
            stack.callback(client.close)
            client.push(works(1)[0])
            client.ack(client.claim())
        yield clients


def _push_each(client: Client, new: list[Any]) -> None:
    for work in new:
        client.push(work)


def _consume(client: Client, amount: int) -> None:
    for _ in range(amount):
        client.ack(client.claim())


def _table(figures: Figures, speeds: dict[str, float], base: str) -> str:
    lines = ["", f"{figures.title} ({figures.unit})"]
    for subject, values in figures.samples.items():
        spread = f"{min(values):9.1f} to {max(values):.1f}"
        lines.append(f"  {subject:16}{figures.median(subject):10.1f}  {speeds[subject]:6.2f} of {base:8} {spread}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.files", description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, small queues")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; the tables go to standard error")
    parser.add_argument("--durability", choices=("power", "process"), default="power", help="synced, or not")
    parser.add_argument("--folder", help="where the queues are kept: another disk than the temporary folder's")
    parser.add_argument("--only", action="append", metavar="MEASURE", help="push, claim, backlog; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
