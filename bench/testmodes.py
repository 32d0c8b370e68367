"""What the makers of queues offer for tests, each as its documentation shows it, behind the same two calls.

Each is entered fresh, and gives a function that pushes one work and has run it when it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

from bench.raw import RawQueue
from lowq.testing import fake_clock, inline, temp_queue

Run: TypeAlias = Callable[[Any], object]


def nothing(work: Any) -> None:
    """The task of every subject."""


@dataclass(frozen=True, slots=True)
class TestMode:
    """One subject: what it needs installed, what it does for a task, and how it is entered in an empty folder."""

    name: str
    packages: tuple[str, ...]
    says: str
    enter: Callable[[Path], AbstractContextManager[Run]]

    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for package in self.packages if _version(package) is None]

    def title(self) -> str:
        """The name with the versions that are measured."""
        return ", ".join([self.name, *(f"{package} {_version(package)}" for package in self.packages)])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextmanager
def _raw(folder: Path) -> Iterator[Run]:
    """lowq's statements by hand, in a file of the same tables, also not waiting for the disk."""
    queue = RawQueue(folder / "raw.db", full=False)
    queue.db.execute("PRAGMA synchronous = OFF")

    def run(work: Any) -> None:
        queue.push(work)
        claimed = queue.claim()
        if claimed is not None:
            nothing(claimed[2])
            queue.ack(claimed)

    try:
        yield run
    finally:
        queue.close()


@contextmanager
def _raw_copied(folder: Path) -> Iterator[Run]:
    """As `_raw`, the file written as a copy of an empty one, which is how lowq makes a new one in a test."""
    path = folder / "raw.db"
    path.write_bytes(_empty(folder))
    with _raw(folder) as run:
        yield run


_copy: list[bytes] = []


def _empty(folder: Path) -> bytes:
    if not _copy:
        RawQueue(folder / "empty.db", full=False).close()
        _copy.append((folder / "empty.db").read_bytes())
    return _copy[0]


@contextmanager
def _lowq(folder: Path) -> Iterator[Run]:
    with temp_queue(folder) as store, inline(store):
        store.handle("bench.db", nothing)
        yield store.backend("bench.db").push


@contextmanager
def _lowq_on_a_fake_clock(folder: Path) -> Iterator[Run]:
    with fake_clock(path=folder / "clock", patch="none"), _lowq(folder) as run:
        yield run


@contextmanager
def _huey(_: Path) -> Iterator[Run]:
    yield import_module("huey").MemoryHuey(immediate=True).task()(nothing)


@contextmanager
def _celery(_: Path) -> Iterator[Run]:
    app = import_module("celery").Celery("bench", set_as_current=False)
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    yield app.task(nothing, name="bench.nothing").delay


@contextmanager
def _dramatiq(_: Path) -> Iterator[Run]:
    dramatiq, stub = import_module("dramatiq"), import_module("dramatiq.brokers.stub")
    broker = stub.StubBroker()
    broker.emit_after("process_boot")
    actor = dramatiq.actor(nothing, broker=broker, actor_name="nothing")
    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=1)
    worker.start()

    def run(work: Any) -> None:
        actor.send(work)
        broker.join(actor.queue_name)
        worker.join()

    try:
        yield run
    finally:
        worker.stop()
        broker.close()


@contextmanager
def _rq(_: Path) -> Iterator[Run]:
    connection = import_module("fakeredis").FakeStrictRedis(server=import_module("fakeredis").FakeServer())
    queue = import_module("rq").Queue(is_async=False, connection=connection)
    try:
        yield lambda work: queue.enqueue(nothing, work)
    finally:
        connection.close()


@contextmanager
def _procrastinate(_: Path) -> Iterator[Run]:
    app = import_module("procrastinate").App(connector=import_module("procrastinate.testing").InMemoryConnector())
    task = app.task(nothing, name="nothing")

    def run(work: Any) -> None:
        task.defer(work=work)
        app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False, delete_jobs="always")

    with app.open():
        yield run


RAW = "raw SQLite"
COPIED = "raw SQLite, copied"

MODES = (
    TestMode(RAW, (), "lowq's statements by hand, in a file, synchronous=OFF", _raw),
    TestMode(COPIED, (), "the same in a copy of an empty file", _raw_copied),
    TestMode("lowq", (), "inline mode: a real queue in a file, claim, run, ack, leases, dedupe", _lowq),
    TestMode("lowq, fake clock", (), "the same on a clock that stands still", _lowq_on_a_fake_clock),
    TestMode("huey immediate", ("huey",), "calls the function; a queue in memory", _huey),
    TestMode("Celery eager", ("celery",), "calls the function; no queue, no broker", _celery),
    TestMode("dramatiq StubBroker", ("dramatiq",), "a queue in memory, a worker thread", _dramatiq),
    TestMode("RQ is_async=False", ("rq", "fakeredis"), "calls the function; job data in a fake Redis", _rq),
    TestMode("procrastinate InMemoryConnector", ("procrastinate",), "a queue in memory, a worker", _procrastinate),
)
