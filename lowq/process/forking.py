"""Forking: a child that runs what it was made for, and nothing else of its parent.

Such a child never unwinds the parent's stack, so no `finally` block and no `with` exit of the parent runs in it; it
leaves by `os._exit`, so no atexit handler does; it writes through streams of its own, so what the parent had buffered
is neither written twice nor lost; and the parent's signal handlers are not its own.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal, NoReturn, TextIO

from lowq import kernel
from lowq.backend import LowqError
from lowq.process.handlers import let_through


class ForkUnavailable(LowqError):
    """This Python cannot fork, or the system is out of processes or threads, and what was asked for needs one."""


_private: dict[int, tuple[int, int] | None] = {}
"""The private descriptors, and which file each is."""
_opening = threading.RLock()
_passing = threading.local()
_inherited: list[object] = []


def check_fork(what: str) -> None:
    """Raise ForkUnavailable, naming what needs it, where this Python has no `os.fork`."""
    if not hasattr(os, "fork"):
        raise ForkUnavailable(
            f"{what} needs os.fork, which this Python does not have; run a Worker with processes=1 and without "
            "time_limit in the foreground"
        )


def keep_for_parent(inherited: object) -> None:
    """What a forked process has of its parent is kept: freeing it may run code that is the parent's to run."""
    _inherited.append(inherited)


def check_threads(what: str) -> None:
    """Raise ForkUnavailable, naming what needs it, where gevent has made this program's threads cooperative."""
    if has_cooperative_threads():
        raise ForkUnavailable(
            f"{what} needs threads of the system beside a handler, and gevent has replaced them; use "
            "gevent.Timeout in the handler, or run the worker in a program that is not patched"
        )


def has_cooperative_threads() -> bool:
    """Whether one thread of this program that waits for the system keeps all others waiting: gevent's."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def open_private(opener: Callable[[], Iterable[int]]) -> tuple[int, ...]:
    """The descriptors that `opener` opened, which no child forked by Python holds, but the one they are passed to.

    Nobody forks between their opening and their being known as private. They are above the standard streams' numbers,
    which may be free: whatever is put there later would take the place of one of ours.
    """
    with _opening:
        opened = tuple(map(lift, opener()))
        _private.update((descriptor, file_at(descriptor)) for descriptor in opened)
        return opened


def lift(descriptor: int) -> int:
    """The same file under a number above 2, closed in programs that this one runs; the old number is free then."""
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def close_private(*descriptors: int) -> None:
    """The descriptors are closed; those that this process does not hold, because it was forked, are left alone.

    So is one whose number is another file's by now, because a handler closed all that it found.
    """
    with _opening:
        for descriptor in filter(_private.__contains__, descriptors):
            _close(descriptor)


def holds(descriptor: int) -> bool:
    """Whether the private descriptor is still the file that it was opened as."""
    known = _private.get(descriptor)
    return known is not None and file_at(descriptor) == known


def file_at(descriptor: int) -> tuple[int, int] | None:
    """Which file the descriptor is: device and inode; None where it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        let_through(error)
        return None
    return status.st_dev, status.st_ino


def _close(descriptor: int) -> None:
    if holds(descriptor):
        os.close(descriptor)
    del _private[descriptor]


def spawn(main: Callable[[], None], *, keep: Iterable[int] = (), prepare: Callable[[], None] | None = None) -> int:
    """A child process runs `prepare` before it makes its streams, then `main`, and ends; the answer is its pid.

    `keep` are the private descriptors that it holds. Its exit status is 1 where `main` raised, with the traceback on
    its standard error. Raises ForkUnavailable where there can be no more processes.
    """
    # Python 3.12 warns of a fork beside threads, which a test run may have turned into an error after the child was
    # made. This child takes no lock of the parent's: its streams are new, and the standard library renews its own.
    warnings.filterwarnings(
        "ignore", "This process .* is multi-threaded", DeprecationWarning, r"lowq\.process\.forking"
    )
    _passing.keep = frozenset(keep)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    parent = kernel.getpid()
    _passing.forked = False
    try:
        pid = os.fork()
        if not _passing.forked:
            raise ForkUnavailable("os.fork has been replaced, and there is no new process: a test mocks it")
        if pid == 0:
            _live(main, prepare)
    except OSError as error:
        raise ForkUnavailable(f"the system refused another process: {error.strerror}") from None
    finally:
        if kernel.getpid() != parent:
            kernel._exit(1)
        _passing.keep = frozenset()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _live(main: Callable[[], None], prepare: Callable[[], None] | None) -> None:
    """The child's whole life; it does not return."""
    status = 1
    try:
        _forget_signals()
        gc.freeze()  # garbage of the parent is the parent's: a file in it would be flushed twice
        if prepare is not None:
            prepare()
        _renew_streams()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        main()
        status = 0
    except BaseException:
        with suppress(OSError, ValueError):
            traceback.print_exc()
    finally:
        leave(status)


def leave(status: int) -> NoReturn:
    """This forked process ends at once, with what it wrote written and no clean-up code run."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # a full disk or a closed pipe must not keep it alive
            stream.flush()
    kernel._exit(status & 0xFF)


class Confined:
    """A `with` block that a process forked inside does not leave: it ends there, only its parent goes on.

    It ends as a program would: with 0, with the status of its SystemExit, or with its traceback and 1.
    """

    __slots__ = ("_owner",)

    def __enter__(self) -> None:
        self._owner = kernel.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kernel.getpid() != self._owner:
            _end_stray(error)


def _end_stray(error: BaseException | None) -> NoReturn:
    status = 0
    try:
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
            if status and error.code != status:
                sys.stderr.write(f"{error.code}\n")
        elif error is not None:
            status = 1
            traceback.print_exception(error)
        sys.stderr.write(
            f"lowq: process {kernel.getpid()} was forked by a task's handler and left it: it ends here with {status},"
            " as only its parent is the worker; end such a process with os._exit()\n"
        )
    finally:
        leave(status)


def _forget_signals() -> None:
    """No signal runs the parent's code: its handlers are the defaults again; what it ignored stays ignored."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)) or number == signal.SIGCHLD:
            signal.signal(number, signal.SIG_DFL)


def _renew_streams() -> None:
    """The standard streams are new objects on the same descriptors; the old ones are kept, and never used again."""
    old = (sys.stdout, sys.stderr)
    _inherited.extend((sys.stdin, *old, sys.__stdin__, sys.__stdout__, sys.__stderr__))
    sys.stdin = sys.__stdin__ = _stream(0, "r")  # type: ignore[misc]  # the plain streams are replaced on purpose
    sys.stdout = sys.__stdout__ = _stream(1, "w")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w")  # type: ignore[misc]
    _renew_log_streams(dict(zip(map(id, old), (sys.stdout, sys.stderr), strict=True)))


def _stream(descriptor: int, mode: Literal["r", "w"]) -> io.TextIOWrapper:
    try:
        os.fstat(descriptor)
    except OSError:  # the parent had closed it
        descriptor = kernel.open_descriptor(os.devnull, os.O_RDWR)
    return kernel.open_file(descriptor, mode, buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _renew_log_streams(replacements: dict[int, TextIO]) -> None:
    """Log handlers on the old streams write to the new ones; their setStream would flush the parent's buffer."""
    if (logging := sys.modules.get("logging")) is None:
        return
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            stream = replacements.get(id(getattr(handler, "stream", None)))
            if stream is not None:
                handler.stream = stream


def _before_fork() -> None:
    _opening.acquire()


def _after_fork_in_parent() -> None:
    _passing.forked = True
    _opening.release()


def _after_fork_in_child() -> None:
    """Only the child they were passed to holds private descriptors; they are closed here, never unlocked."""
    global _opening
    _opening = threading.RLock()
    kept: frozenset[int] = getattr(_passing, "keep", frozenset())
    _passing.keep = frozenset()
    _passing.forked = True
    for descriptor in set(_private) - kept:
        _close(descriptor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
