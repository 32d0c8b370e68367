"""Where the queues of an application are kept while a test runs.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from lowq import kernel, override
from lowq.backend import Backend, CorruptQueue, Dedupe, InvalidLocation, LowqError, Task, Work
from lowq.clock import Clock, choose_clock
from lowq.declaration import is_late
from lowq.excerpt import excerpt
from lowq.location import Location, locate, open_backend
from lowq.override import Overridden
from lowq.registry import is_registered
from lowq.run import Run
from lowq.taskqueue import QueuedFunction, TaskQueue
from lowq.testing.clock import running_clock
from lowq.testing.observed import Observed
from lowq.worker.coroutines import Coroutines
from lowq.worker.handler import check_handler, unwrap
from lowq.worker.retry import Retry
from lowq.worker.settings import check_retry

OpenAt: TypeAlias = Callable[[Path, Clock], Backend]
"""Makes the queue that takes SQLite's place: `(path, clock) -> Backend`, at a path where nothing is yet."""

QueueRef: TypeAlias = Any
"""How a test names a queue: a TaskQueue or its class, a function made by @task_queue, a path or URL, or what
`TempQueue.backend` gave. None: the only one there is."""


_RETRY = Retry()

_UNTOUCHED = 10**18
"""When a new store was last written, in nanoseconds since 1970: longer ago than any write to it."""


class UnknownQueue(LowqError):
    """The test names a queue in a way that means none, or more than one."""


@dataclass(slots=True)
class Store:
    """A queue of the application: where it would be, where it is now, and who runs its tasks."""

    location: Location
    name: str
    backend: Observed
    handler: Callable[[Work], Any] | None = None
    retry: Retry = _RETRY
    lease_for: timedelta = timedelta(minutes=1)
    on_dead: Callable[[Run], object] | None = None
    pushed: list[Task] = field(default_factory=list)
    """What was pushed during the test, as it stood then."""


class TempQueue:
    """A store of its own for every queue of the application, empty when the test begins.

    Its queues run on `clock`. Whatever the application opens, by whatever path or URL and name, is kept in `folder`.
    """

    def __init__(self, folder: Path, clock: Clock, open_at: OpenAt | None = None) -> None:
        self.folder = folder.absolute()
        self.clock = clock
        self.queues: dict[tuple[str, str], Store] = {}
        self.before_push: Callable[[Work], None] | None = None
        self.on_push: Callable[[Store, list[Task]], Callable[[], None]] | None = None
        """Told of each push before anybody else can take its tasks; what it answers is called afterwards."""
        self.on_start: Callable[[Overridden], bool] | None = None
        self.coroutines = Coroutines()
        """The event loop of all handlers, so that a client that is bound to it lives as long as the store."""
        self._open_at = open_at
        self._lock = threading.RLock()

    def backend(self, queue: QueueRef = None) -> Observed:
        """The client of one queue of the application; with None, of the only one, which is made where none is yet."""
        return self.find(queue).backend

    def find(self, queue: QueueRef = None) -> Store:
        """The queue, made where a path names one that is not there yet. Raises UnknownQueue where it is not clear."""
        if queue is None:
            if len(self.queues) > 1:
                raise UnknownQueue(f"which queue? there are {', '.join(sorted(map(_title, self.queues)))}; name one")
            return next(iter(self.queues.values()), None) or self.keep("queue.db", "default")
        for kept in self.queues.values():
            if kept.backend is queue:
                return kept
        if isinstance(queue, str | os.PathLike | Location):
            return self.keep(queue, "default")
        if isinstance(queue, type) and issubclass(queue, TaskQueue):
            if isinstance(queue.path, str | os.PathLike | Location) and not is_late(queue):
                return self.keep(queue.path, queue.name, queue.dedupe)
            queue = queue()
        if (found := _task_queue(queue)) is not None:
            return self.of(found)
        hint = "; say work= where it is what was pushed" if isinstance(queue, dict | list | tuple) else ""
        raise UnknownQueue(
            f"{queue!r} is no queue; expected a TaskQueue, a function made by @task_queue, or the path of one{hint}"
        )

    def find_known(self, queue: QueueRef = None) -> Store:
        """A queue that there is, so that a path spelled wrongly is no empty queue. Raises UnknownQueue where not."""
        if isinstance(queue, str | os.PathLike | Location):
            where = locate(queue)
            if (str(where), "default") not in self.queues and not is_registered(where, "default"):
                titles = ", ".join(sorted(map(_title, self.queues)))
                there = f"there are {titles}" if titles else "none was used in this test"
                raise UnknownQueue(
                    f"there is no queue at {where}; {there}; best named by its TaskQueue or its function"
                )
        return self.find(queue)

    def of(self, queue: Overridden) -> Store:
        """The store of a queue of the application, whose `process` now runs its tasks."""
        kept = self.keep(queue.location, queue.name, queue.dedupe)
        kept.handler, kept.retry, kept.lease_for = queue.process, queue.retry, queue.lease_for
        kept.on_dead = queue.on_dead
        return kept

    def keep(self, location: str | os.PathLike[str] | Location, name: str, dedupe: Dedupe | None = None) -> Store:
        """The queue that the application would keep at `location`, made where this is the first that asks for it."""
        where = locate(location)
        key = (str(where), name)
        with self._lock:
            if key not in self.queues:
                opened = self._open(_file(where, name), name, dedupe)
                backend = Observed(opened, _title(key), self.clock, self._check, self._hear)
                self.queues[key] = Store(where, name, backend)
            kept = self.queues[key]
        if dedupe not in (None, kept.backend.dedupe):
            raise InvalidLocation(f"{where}: the queue was made with dedupe={kept.backend.dedupe!r}, not {dedupe!r}")
        return kept

    def start(self, queue: Overridden) -> bool:
        """Nothing was started in place of a background worker, unless the test's mode says otherwise."""
        return self.on_start is not None and self.on_start(queue)

    def handle(self, queue: QueueRef, handler: Callable[[Work], Any], *, retry: Retry = _RETRY) -> None:
        """The tasks of this queue, which no TaskQueue of the application handles, are run by `handler`."""
        check_retry(retry)
        found = unwrap(handler)
        check_handler(found)
        kept = self.find(queue)
        kept.handler, kept.retry = found, retry

    def handler_of(self, process: QueueRef | Callable[[Work], Any]) -> tuple[Callable[[Work], Any], Retry]:
        """The function that runs a work, and when it is tried again: of a queue, or the function itself."""
        if isinstance(process, type) and issubclass(process, TaskQueue):
            process = process()
        if callable(process) and _task_queue(process) is None:
            if (found := unwrap(process)) is process or _task_queue(getattr(found, "__self__", None)) is None:
                return found, _RETRY
            process = found.__self__
        kept = self.find(process)
        if kept.handler is None:
            raise UnknownQueue(
                f"nobody knows how to run the tasks of {kept.backend.title}: say handle(queue, handler)"
            )
        return kept.handler, kept.retry

    def close(self) -> None:
        """Every queue is closed, and whole. Raises CorruptQueue where SQLite finds it damaged."""
        self.coroutines.close()
        for kept in self.queues.values():
            kept.backend.backend.close()
        if self._open_at is None:
            for name in sorted(os.listdir(self.folder)):  # those too that another process of the test made
                if name.endswith(".db"):
                    _check_integrity(f"{self.folder}{os.sep}{name}")

    def _open(self, file: str, name: str, dedupe: Dedupe | None) -> Backend:
        if self._open_at is not None:
            return self._open_at(self.folder / file, self.clock)
        path = f"{self.folder}{os.sep}{file}"
        with (
            suppress(FileExistsError),
            kernel.open_file(path, "xb", buffering=0) as new,
        ):  # or another process of the test made it
            new.write(_empty(name, dedupe))
            os.utime(path, ns=(_UNTOUCHED, _UNTOUCHED))
        where = Location("sqlite", path)
        return open_backend(where, name=name, dedupe=dedupe, clock=self.clock, durability="none")

    def _check(self, work: Work) -> None:
        if self.before_push is not None:
            self.before_push(work)

    def _hear(self, backend: Observed, tasks: list[Task]) -> Callable[[], None]:
        (kept,) = (each for each in self.queues.values() if each.backend is backend)
        kept.pushed += tasks
        return _nothing if self.on_push is None else self.on_push(kept, tasks)


def _nothing() -> None:
    """Nothing is to be done after the push."""


@contextmanager
def temp_queue(
    folder: str | os.PathLike[str] | None = None, *, clock: Clock | None = None, backend: OpenAt | None = None
) -> Iterator[TempQueue]:
    """Every queue of the application is fresh, in `folder` (None: a temporary one), on the fake clock if one runs.

    `TaskQueue.start()` starts nothing meanwhile. Afterwards the queues are closed and were found whole. `backend`
    makes another kind of queue than SQLite's.
    """
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise TypeError(f"folder: expected the path of a directory, got {type(folder).__name__}")
    if folder is not None and not os.path.isdir(folder):
        raise InvalidLocation(f"folder: expected a directory that exists, got {excerpt(folder)}")
    if clock is not None:
        choose_clock(clock)
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lowq-"))
        queue = TempQueue(Path(folder), clock or running_clock(), backend)
        stack.callback(queue.close)
        stack.enter_context(
            override.standing_in(backend=lambda each: queue.of(each).backend, start=queue.start, clock=queue.clock)
        )
        _running.append(queue)
        stack.callback(_running.remove, queue)
        yield queue


def running_queue() -> TempQueue | None:
    """The store that the application's queues resolve to now, or None."""
    return _running[-1] if _running else None


def is_running(queue: TempQueue) -> bool:
    """Whether the application's queues resolve to this store, or will again when another one is left."""
    return any(each is queue for each in _running)


_running: list[TempQueue] = []


@cache
def _empty(name: str, dedupe: Dedupe | None) -> bytes:
    """The file of an empty queue: making one takes SQLite several waits for the disk, writing it again takes none."""
    with tempfile.TemporaryDirectory(prefix="lowq-") as folder:
        path = Path(folder) / "empty.db"
        open_backend(path, name=name, dedupe=dedupe).close()
        return path.read_bytes()


def _task_queue(found: object) -> TaskQueue | None:
    """The TaskQueue that this is, or that a decorated function has."""
    if isinstance(found, QueuedFunction):
        return found.queue
    return found if isinstance(found, TaskQueue) else None


def _check_integrity(path: str) -> None:
    unfinished = os.path.exists(f"{path}-wal")
    if not unfinished and os.stat(path).st_mtime_ns == _UNTOUCHED:
        return
    # Without a log beside it nobody writes to the file any more, and SQLite need make no files for locks.
    how = "" if unfinished else "?immutable=1"
    try:
        with closing(sqlite3.Connection(f"{Path(path).as_uri()}{how}", uri=True)) as db:
            found = [row[0] for row in db.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    if found != ["ok"]:
        raise CorruptQueue(f"the queue at {path} is damaged: {found[0]}")


def _title(key: tuple[str, str]) -> str:
    location, name = key
    short = location.removeprefix(f"{os.getcwd()}{os.sep}")
    return short if name == "default" else f"{short} ({name})"


def _file(where: Location, name: str) -> str:
    """The same in every process of the test, whichever of its queues it opens first."""
    stem = os.path.splitext(os.path.basename(where.place))[0]
    stem = stem if stem.isalnum() else "".join(char for char in stem if char.isalnum() or char in "-_")
    digest = blake2b(f"{where}\0{name}".encode(), digest_size=4).hexdigest()
    return f"{stem[:40] or 'queue'}-{digest}.db"
