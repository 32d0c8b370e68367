"""What an application holds: a queue, and the function that runs its tasks.

::

    @task_queue("jobs.db")
    def thumbnails(queue, work):
        ...

    thumbnails(1, 2, 3)         # pushes three works and starts a worker in the background

or, where more is to be said::

    class Thumbnails(TaskQueue):
        path = "jobs.db"
        time_limit = timedelta(minutes=5)

        def process(self, work):
            ...

    Thumbnails().push(1, 2, 3)

Long: both spellings have the same attributes, which are told and checked in one place.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from functools import partial, update_wrapper
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar, cast

from lowq import override
from lowq.backend import NO_HEADERS, Backend, Dedupe, InvalidLocation, Item, LowqError, Pushed, State, Work
from lowq.clock import Clock, SystemClock
from lowq.current_task import CurrentTask, NoTask, current
from lowq.declaration import check_settings, check_spelling, decide, is_late, takes_nothing, unknown_option
from lowq.error_text import in_full
from lowq.error_text import message as text_of
from lowq.excerpt import excerpt
from lowq.hooks import push_within
from lowq.location import Location, locate, open_backend
from lowq.registry import register
from lowq.rules.own_work import level_outside, warn_of_own_work
from lowq.rules.transaction import find_joined, is_joined, opening_for
from lowq.run import Run
from lowq.worker import background
from lowq.worker.connections import begin_after_commit
from lowq.worker.handler import check_handler
from lowq.worker.logfile import line
from lowq.worker.retry import Retry
from lowq.worker.source import Source
from lowq.worker.worker import Worker

Path: TypeAlias = str | os.PathLike[str] | Location | Callable[..., str | os.PathLike[str] | Location]

_SETTINGS = ("name", "dedupe", "options", "clock", "lease_for", "retry", "time_limit", "linger", "on_dead")


_OWN = ("_kept", "_opening", "_deciding", "_asked", "_source")
"""What a copy of a queue has of its own."""


class UnattendedWarning(UserWarning):
    """A task falls due when no worker in the background is there any more."""


class TaskQueue:
    """A queue at `path`, whose tasks are run by `process`. Subclass it and say these two; the rest has defaults.

    `log_level` is what `error`, `warn` and `info` write: nothing (SILENT), errors, warnings too, or everything.
    """

    SILENT = NONE = 0
    ERROR = 1
    WARN = 2
    INFO = 3

    path: Path | None = None
    """A path or URL; a relative one is meant from where the process is when the queue object is made.

    ``env://NAME`` and a function without arguments (a method, a property) are asked when the queue is first used.
    """
    name: str = "default"
    """One location holds several queues, told apart by their names."""
    dedupe: Dedupe | None = None
    """While what an equal work is refused; None: as the queue was made, ``until_done`` where it is new."""
    options: Mapping[str, Any] = MappingProxyType({})
    """The backend's own options, as `open_backend` takes them."""
    clock: Clock | None = None
    lease_for: timedelta = timedelta(minutes=1)
    """How long a killed worker's task waits for the next worker."""
    retry: Retry = Retry()
    time_limit: timedelta | None = None
    """A task that runs for longer is killed; the attempt counts."""
    on_dead: Callable[[Run], object] | None = None
    """Told once of each task that is set aside, whyever; where it fails, that is logged. May be a method."""
    linger: timedelta = background.LINGER
    """A worker in the background stays for what falls due this soon."""

    log_level: int = ERROR

    def __init_subclass__(cls, **options: Any) -> None:
        if said := [name for name in options if name in ("path", "log_level", *_SETTINGS)]:
            raise TypeError(f"{cls.__name__}: {said[0]}: what a queue is told stands in its class: {said[0]} = …")
        super().__init_subclass__(**options)
        check_spelling(cls, TaskQueue)

    def __init__(self, log_level: int | None = None) -> None:
        title = self._title()
        log_level = self.log_level if log_level is None else log_level
        if log_level not in (self.SILENT, self.ERROR, self.WARN, self.INFO) or isinstance(log_level, bool):
            found = excerpt(log_level)
            raise ValueError(f"{title}: log_level: expected TaskQueue.SILENT, ERROR, WARN or INFO, got {found}")
        late = is_late(self)
        if not late and self.path is None:
            raise TypeError(f'{title}: path is missing: say where the queue is kept, path = "jobs.db"')
        if type(self).process is TaskQueue.process:
            raise TypeError(f"{title}: process is missing: define process(self, work), which runs one task")
        check_handler(self.process, what=f"{title}: process")
        check_settings(title, {name: getattr(self, name) for name in _SETTINGS})
        self.log_level = log_level
        self._source = Source(self._handler())
        self._kept: Backend | None = None
        self._latest: datetime | None = None
        self._opening = threading.Lock()
        self._deciding = threading.RLock()
        self._asked = False
        self._location: Location | None = None
        if not late and self.path is not None and not callable(self.path):
            self._decide(locate(self.path))

    @property
    def location(self) -> Location:
        """Where the queue is. A path that is decided late is asked for now, once. Raises InvalidLocation."""
        if self._location is None:
            with self._deciding:  # one thread asks, the others have its answer
                if self._location is None:
                    self._decide(self._ask())
        return cast(Location, self._location)

    def _ask(self) -> Location:
        if self._asked:
            what = f"{self._title()}: path"
            raise InvalidLocation(f"{what}: what decides it uses this queue, whose path is not known yet")
        self._asked = True
        try:
            return decide(self, self._title())
        finally:
            self._asked = False

    def _decide(self, location: Location) -> None:
        register(location, self.name, self._handler())
        self._location = location

    def __getstate__(self) -> dict[str, Any]:
        """A copy, in this process or in another, opens the queue by itself."""
        state = {name: value for name, value in vars(self).items() if name not in _OWN}
        return {**state, "_latest": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        locks = {"_opening": threading.Lock(), "_deciding": threading.RLock()}
        vars(self).update(state, _kept=None, _asked=False, _source=Source(self._handler()), **locks)

    def __lowq_process__(self) -> Callable[[Work], Any]:
        """What runs the tasks, for a Worker that was given the queue."""
        return self.process

    def _title(self) -> str:
        """How messages call the queue."""
        return type(self).__name__

    def process(self, work: Work) -> Any:
        """Run one task. What it raises is a failure of this task, which is tried again as `retry` says."""
        raise NotImplementedError

    def push(
        self,
        *works: Work,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Pushed]:
        """All of the works are kept, or none; each is answered with its task's id and whether it was added.

        `headers` go with each of them, for whatever is no part of the work: a trace's context, who asked for it.
        """
        if key is not None and len(works) != 1:
            raise ValueError(f"push: a key names one work, and {len(works)} were given; push them one by one")
        pushed = self._push(works, key, priority, not_before, headers)
        if not_before is not None and any(each.added for each in pushed):
            self._latest = max(not_before, self._latest or not_before)
        return pushed

    def _push(
        self,
        works: tuple[Work, ...],
        key: str | None,
        priority: int,
        not_before: datetime | None,
        headers: Mapping[str, str] | None,
    ) -> list[Pushed]:
        backend = self.backend

        def keep(headers: Mapping[str, str] | None) -> list[Pushed]:
            if len(works) == 1:
                return [backend.push(works[0], key=key, priority=priority, not_before=not_before, headers=headers)]
            also = NO_HEADERS if headers is None else headers
            return backend.push_many([Item(work, None, priority, not_before, also) for work in works])

        pushed = push_within(self.name, len(works), headers, keep)
        warn_of_own_work(backend, pushed)
        return pushed

    def within(self, connection: object) -> AbstractContextManager[None]:
        """Inside, pushes to this queue are part of the transaction open on the connection: see Backend.within.

        ::

            with session.begin(), queue.within(session):
                session.add(order)
                queue.push({"order": order.number})
        """
        with opening_for(connection):
            backend = self.backend
        return backend.within(connection)

    def start(self, *, output: background.HasFileno | None = None, once_per_cluster: bool = False) -> bool:
        """A worker runs the queue in the background, until nothing is left to do; False: one did so already.

        One on this machine, that is; with `once_per_cluster` it stands by while one on another machine runs the queue
        so, and takes over at its end: PostgreSQL only.

        Inside `within` it begins at the commit, and so it does inside a transaction of Django's on SQLite, since the
        file is locked to it until then. A connection that does not tell of its commits is looked at when the block
        of `within` ends; where the transaction is still open then, an UnattendedWarning says to start it afterwards.
        It is gone when nothing falls due within `linger`; what does so later is said by an UnattendedWarning.
        """
        if is_joined() and (joined := find_joined(self.backend)) is not None:
            begin = partial(self._start_afterwards, output, once_per_cluster)
            joined.call_after_commit(begin, self._warn_of_open_transaction)
            return True
        return self._start_now(output, once_per_cluster)

    def _start_now(self, output: background.HasFileno | None, once_per_cluster: bool) -> bool:
        if override.start is not None and (started := override.start(self)) is not None:
            return started
        if begin_after_commit(lambda: self.start(output=output, once_per_cluster=once_per_cluster)):
            return True
        started = background.start(
            self.worker(), self.location, linger=self.linger, output=output, once_per_cluster=once_per_cluster
        )
        self._warn_of_unattended(started)
        return started

    def _start_afterwards(self, output: background.HasFileno | None, once_per_cluster: bool) -> None:
        """A worker is started; where that fails, a warning says so: the transaction is committed."""
        try:
            self._start_now(output, once_per_cluster)
        except LowqError as error:
            message = f"no worker was started after the commit: {error}"
            warnings.warn(message, UnattendedWarning, stacklevel=level_outside())

    def _warn_of_open_transaction(self) -> None:
        warnings.warn(
            f"start() was called in a transaction that was still open when the block of within ended, so no worker of"
            f" {self.location} was started: call start() after the commit",
            UnattendedWarning,
            stacklevel=level_outside(),
        )

    def _warn_of_unattended(self, started: bool) -> None:
        """What falls due when no worker of `start` is there any more was said, with the instant."""
        due, self._latest = self._latest, None
        if due is None and started:
            with suppress(LowqError):  # the worker is started, and meets it too
                scheduled = self.backend.tasks(state=State.SCHEDULED, limit=1)  # not a lease, which the worker awaits
                due = scheduled[0].not_before if scheduled else None
        now = (self.clock or SystemClock()).now()
        if due is not None and due - now > self.linger:
            warnings.warn(
                f"a task of {self.location} falls due at {due:%Y-%m-%d %H:%M:%S%z}, when the worker that start() "
                f"forked is gone (linger is {self.linger}): nobody runs it unless somebody starts a worker then, or "
                "`lowq work` runs as a service or from cron",
                UnattendedWarning,
                stacklevel=level_outside(),
            )

    def worker(self, *, processes: int = 1, batch: int = 1) -> Worker:
        """A worker for the foreground, which runs `process` as this queue's options say and logs what happens."""
        return Worker(
            self.backend,
            self.process,
            lease_for=self.lease_for,
            retry=self.retry,
            time_limit=self.time_limit,
            processes=processes,
            batch=batch,
            clock=self.clock if override.clock is None else override.clock,
            on_run=self._log_run,
            on_dead=self.on_dead,
        )

    @property
    def task(self) -> CurrentTask:
        """The task that is being run, in its handler. Raises NoTask elsewhere, where `lowq.current()` is None."""
        if (task := current()) is None:
            raise NoTask(
                f"{type(self).__name__}.task: no handler runs here; it is there in process() and what it calls"
            )
        return task

    @property
    def backend(self) -> Backend:
        """The queue itself, opened when it is first asked for."""
        if override.backend is not None and (found := override.backend(self)) is not None:
            return found
        if (kept := self._kept) is not None:
            return kept
        location = self.location
        with self._opening:
            if self._kept is None:
                self._kept = open_backend(
                    location, name=self.name, dedupe=self.dedupe, clock=self.clock, **self.options
                )
            return self._kept

    @property
    def active_pid(self) -> int | None:
        """The process that runs this queue in the background now, or None."""
        return background.active_pid(self.location, self.name)

    def close(self) -> None:
        """Connections and files are let go; the next use opens them again."""
        with self._opening:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def error(self, *message: object) -> None:
        """The message, its parts joined by spaces, is written to standard error unless the level is SILENT."""
        self._write(self.ERROR, "ERROR", message)

    def warn(self, *message: object) -> None:
        """The message is written to standard error where the level is WARN or INFO."""
        self._write(self.WARN, "WARN", message)

    def info(self, *message: object) -> None:
        """The message is written to standard error where the level is INFO."""
        self._write(self.INFO, "INFO", message)

    def _write(self, level: int, word: str, message: tuple[object, ...]) -> None:
        if level > self.log_level or sys.stderr is None:
            return
        text = line((override.clock or self.clock or SystemClock()).now(), word, " ".join(map(text_of, message)))
        with suppress(OSError, ValueError):  # a full disk or a closed stream is no failure of the task
            sys.stderr.write(text)

    def _log_run(self, run: Run) -> None:
        task = f"task {run.task.id}"
        told = "" if run.error is None else f"\n{in_full(run.error)}"
        match run.outcome:
            case "done":
                self.info(task, "is done")
            case "retry" if run.error is None and run.next_due is not None:
                self.info(task, f"runs again at {run.next_due:%Y-%m-%d %H:%M:%S}, as its handler asked")
            case "retry":
                again = "" if run.next_due is None else f"{run.next_due:%Y-%m-%d %H:%M:%S}"
                self.error(task, f"failed in attempt {run.attempt} and runs again at {again}{told}")
            case "dead":
                self.error(task, f"is set aside after {run.attempt} attempt{'' if run.attempt == 1 else 's'}{told}")
            case "released":
                self.warn(task, "was given back, because the worker was told to stop")
            case "lost":
                self.warn(task, "took so long that another worker has it now")

    def _handler(self) -> Any:
        """The class or function that stands for this queue's handler."""
        return type(self)


R = TypeVar("R")
Function = Callable[[TaskQueue, Work], R]


class QueuedFunction(Generic[R]):
    """A function made into a queue: calling it pushes its arguments, each a work, and starts a worker."""

    __name__: str
    __qualname__: str
    __wrapped__: Function[R]

    def __init__(self, function: Function[R], queue: TaskQueue) -> None:
        update_wrapper(self, function)
        self.queue = queue
        if isinstance(queue, _FunctionQueue):
            queue.queued = self

    def __call__(
        self,
        *works: Work,
        key: str | None = None,
        priority: int = 0,
        not_before: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> list[Pushed]:
        """The works are kept, and a worker runs them in the background."""
        pushed = self.queue.push(*works, key=key, priority=priority, not_before=not_before, headers=headers)
        self.queue.start()
        return pushed

    def __reduce__(self) -> str:
        """Pickled by its name, as a function is, and the same when copied: the queue is one, wherever it is known."""
        return self.__qualname__

    def __lowq_process__(self) -> Callable[[Work], Any]:
        """What runs the tasks, for a Worker that was given the function."""
        return self.queue.process

    def __repr__(self) -> str:
        return f"<queue of {self.__name__} at {self.queue._location or 'a path that is decided when it is used'}>"


class _FunctionQueue(TaskQueue):
    """The queue of a decorated function, which is `queued`."""

    queued: QueuedFunction[Any]

    def __init__(self, function: Function[Any], path: Any, log_level: int, options: Mapping[str, Any]) -> None:
        if unknown := sorted(set(options) - set(_SETTINGS)):
            raise unknown_option(unknown[0], options[unknown[0]], sorted(_SETTINGS))
        check_handler(function, ("queue", "work"), "task_queue")
        vars(self).update(options, path=path)
        self._function = function
        super().__init__(log_level)

    def __reduce__(self) -> tuple[Any, ...]:
        """Found by way of its function, which is pickled by its name: it is one, as that is."""
        return attrgetter("queue"), (self.queued,)

    def _title(self) -> str:
        return self._function.__name__ if hasattr(self._function, "__name__") else "task_queue"

    def process(self, work: Work) -> Any:
        """Call the function."""
        return self._function(self, work)

    def _handler(self) -> Any:
        return self._function


def task_queue(
    path: Path, log_level: int = TaskQueue.ERROR, **options: Any
) -> Callable[[Function[R]], QueuedFunction[R]]:
    """Decorates ``f(queue, work)``: ``f(1, 2, 3)`` then pushes three works and starts a worker that runs them.

    `options` are the attributes of a TaskQueue: name, dedupe, options, clock, lease_for, retry, time_limit, linger,
    on_dead. The queue itself is `f.queue`.
    """
    if callable(path) and not isinstance(path, os.PathLike) and not takes_nothing(path):
        raise TypeError('task_queue: a path is missing: write @task_queue("jobs.db")')

    def decorate(function: Function[R]) -> QueuedFunction[R]:
        return QueuedFunction(function, _FunctionQueue(function, path, log_level, options))

    return decorate
