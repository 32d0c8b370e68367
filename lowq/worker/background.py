"""A worker in the background: forked, detached, at most one for a queue, gone when nothing is left to do.

Nothing that was pushed before a `start` is left behind. Whoever finds the lock held may rely on its holder, which
looks at the queue once more after letting go of it; whoever gets it starts a worker. A holder that was told to stop
says so in the lock's file and does not look again, nor does one that was killed and is not quite gone: then one
worker, and no more than one, waits for its end. It holds the turn until it has the lock, and looks at the queue after
that, so whoever finds the turn held may rely on it as well.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Protocol

from lowq import kernel
from lowq.backend import InvalidLocation, LowqError
from lowq.beside import true_path
from lowq.clock import SystemClock
from lowq.excerpt import excerpt
from lowq.location import Location, locate
from lowq.process.forking import ForkUnavailable, check_fork, close_private, open_private, spawn
from lowq.rules.names import check_name
from lowq.run import Run
from lowq.worker.cluster import check_cluster, describe_turn, standing_by
from lowq.worker.connections import let_go_of_wal
from lowq.worker.forks import announce, begin
from lowq.worker.lock import WorkerLock
from lowq.worker.lock import active_pid as pid_in
from lowq.worker.logfile import keep_log, line, open_log
from lowq.worker.source import source_of
from lowq.worker.worker import Worker

LINGER = timedelta(minutes=15)
"""A worker stays for what falls due this soon."""


class HasFileno(Protocol):
    """An open file, as `subprocess` takes one."""

    def fileno(self) -> int: ...


def start(
    worker: Worker,
    location: str | os.PathLike[str] | Location,
    *,
    linger: timedelta = LINGER,
    output: HasFileno | None = None,
    once_per_cluster: bool = False,
) -> bool:
    """A process runs what is due in `worker`'s queue, kept at `location`; False: one on this machine did so already.

    With `once_per_cluster` it stands by while a worker elsewhere runs the queue so, and takes over at its end.

    It runs until nothing is due, nothing is leased, and nothing falls due within `linger`. It has a session of its
    own, no standard input, and the caller's working directory; it writes to `output`, or to the log file beside the
    queue; it holds none of the caller's sockets and pipes, and runs none of the caller's clean-up code. Other files
    that the caller has open stay open in it, with the flock locks on them.

    Raises InvalidLocation for a queue that stays in its process, or cannot be run once per cluster, ForkUnavailable,
    and BackendUnavailable where the lock or log file cannot be written.
    """
    where = locate(location)
    check_fork("start()")
    if "processes" not in worker.backend.promises:
        raise InvalidLocation(
            f"start(): {where} stays in its process, and a background worker is another one; "
            "keep the queue in a file, or run a Worker in a thread"
        )
    if once_per_cluster:
        check_cluster(worker.backend)
        if worker.processes > 1:
            raise ValueError(f"once_per_cluster: one process of all claims, and this worker has {worker.processes}")
    check_file = getattr(worker.backend, "check_fork", None)
    if check_file is not None:
        let_go_of_wal()
        check_file()
    name, place = worker.backend.name, true_path(where.place)
    lock, turn = (WorkerLock(where.beside(kind, name), place) for kind in ("lock", "next"))
    try:
        if not _is_wanted(lock, turn):
            return False
        path = where.beside("log", name)
        (log,) = open_private(lambda: (open_log(path, place) if output is None else _descriptor_of(output),))

        def serve() -> None:
            if output is None:
                keep_log(path, place)
            with standing_by(worker.backend, _say_whose_turn) if once_per_cluster else nullcontext():
                _serve(worker, lock, turn, linger)

        try:
            _detach(serve, log, _descriptors_of(lock, turn))
        finally:
            close_private(log)
    finally:
        lock.leave()
        turn.leave()
    return True


def _descriptors_of(*locks: WorkerLock) -> list[int]:
    return [each.descriptor for each in locks if each.held]


def _descriptor_of(output: HasFileno) -> int:
    """A descriptor of that file. Raises TypeError or ValueError where it has none."""
    if not callable(getattr(output, "fileno", None)):
        raise TypeError(f"output: expected an open file, got {excerpt(output)}")
    try:
        return os.dup(output.fileno())
    except (OSError, ValueError, TypeError, OverflowError) as error:  # closed, or a StringIO
        raise ValueError(f"output: expected an open file, got {excerpt(output)}: {error}") from None


def active_pid(location: str | os.PathLike[str] | Location, name: str = "default") -> int | None:
    """The process that runs the queue `name` in the background now, or None."""
    check_name(name)
    return pid_in(locate(location).beside("lock", name))


def _is_wanted(lock: WorkerLock, turn: WorkerLock) -> bool:
    """Whether nobody is there who will look at the queue: a worker is to begin at once, or to wait for the lock."""
    return lock.take() or (not lock.is_served() and (lock.take() or turn.take() or not turn.is_served()))


def _detach(serve: Callable[[], None], log: int, locks: list[int]) -> None:
    """A grandchild serves the queue; the child between was reaped, so that nobody has to wait for either."""
    passed = (log, *locks)

    def begin_session() -> None:
        kernel.setsid()
        spawn(begin(serve, detached=True), keep=passed, prepare=lambda: _redirect(log))

    with announce():
        child = spawn(begin_session, keep=passed)
    try:
        status = os.waitstatus_to_exitcode(kernel.waitpid(child, 0)[1])
    except ChildProcessError:  # the program reaps all children, or has the kernel do so
        return
    if status != 0:
        raise ForkUnavailable("start(): the system refused another process; standard error says why")


def _redirect(log: int) -> None:
    """The standard descriptors are the worker's own, and the caller's sockets and pipes are closed to it.

    Something stands where each of them stood: a number that became free would soon be another file's, and an object
    of the caller that still writes to it would write there.
    """
    os.dup2(log, 1)
    os.dup2(log, 2)
    close_private(log)
    null = kernel.open_descriptor(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    for descriptor in _open_descriptors():
        with suppress(OSError):  # it was only open while they were listed
            mode = os.fstat(descriptor).st_mode
            if descriptor > 2 and (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
                os.dup2(null, descriptor, inheritable=os.get_inheritable(descriptor))
    if null > 2:
        os.close(null)


def _open_descriptors() -> Iterator[int]:
    try:
        yield from [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        yield from range(min(os.sysconf("SC_OPEN_MAX"), 4096))


def _serve(worker: Worker, lock: WorkerLock, turn: WorkerLock, linger: timedelta) -> None:
    """The active worker's life. Between letting go of the lock and looking once more, others may come and go."""
    if not lock.held and not _await(lock, turn):
        return
    worker.on_stop(lock.sign_off)
    told = _saying_when_outdated(worker)

    def tell(run: Run) -> None:
        if lock.held and not lock.hold_on():  # a handler closed it, and another worker runs the queue by now
            worker.stop()
        told(run)

    worker.on_run = tell
    while True:
        lock.sign()
        worker.run_while_due(linger)
        if not lock.held:
            return
        lock.let_go()
        if worker.stopped:
            if not turn.is_served():  # otherwise one waits already for this one's end
                _say_what_waits(worker)
            return
        if not worker.expects(linger):
            _say_what_waits(worker)
            return
        if not lock.take():
            return


def _say_what_waits(worker: Worker) -> None:
    """The log has a warning where a task is due, or falls due, when this worker is gone: a retry, say."""
    with suppress(LowqError):  # the storage has gone, and with it what waits
        due, ready = worker.backend.next_due(), worker.backend.count().ready
        if ready:
            what = f"{ready} task{' is' if ready == 1 else 's are'} due: run by the next start(), or lowq work"
        elif due is not None:
            what = f"the next task is due at {due:%Y-%m-%d %H:%M:%S} UTC: it waits for the next start(), or lowq work"
        else:
            return
        _warn(f"this worker {'was told to stop' if worker.stopped else 'ends'}, and {what}")


def _say_whose_turn(alone: bool) -> None:
    _log("INFO", describe_turn(alone))


def _warn(text: str) -> None:
    _log("WARN", text)


def _log(level: str, text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(line(SystemClock().now(), level, text))


def _saying_when_outdated(worker: Worker) -> Callable[[Run], object]:
    """As the worker's `on_run`; the first run after a deploy says in the log that it was one of the old code."""
    source, told, said = source_of(worker.handler), worker.on_run, False
    source.begin()

    def tell(run: Run) -> None:
        nonlocal said
        if not said and (file := source.find_changed()) is not None:
            said = True
            _warn(f"{file} has changed, and this worker runs what it was; SIGTERM ends it after its task")
        if told is not None:
            told(run)

    return tell


def _await(lock: WorkerLock, turn: WorkerLock) -> bool:
    """Whether the lock is held now; this was the only process that waited for it."""
    if not turn.held and not turn.succeed():
        return False
    turn.sign()
    held = lock.succeed()
    turn.let_go()
    return held
