"""Time: the only place that asks the machine for it.

Instants are aware datetimes, kept as integer microseconds since 1970 in UTC, up to the end of the year 9999.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from stat import S_ISREG
from types import ModuleType
from typing import Protocol, TypeGuard

from lowq import kernel
from lowq.backend import BackendUnavailable, InvalidLocation
from lowq.excerpt import excerpt

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
LAST_MICROS = (_LAST - _EPOCH) // _MICROSECOND


def _time_of_our_own() -> ModuleType:
    """The module `time` once more, whose functions nobody replaces: whoever stops time does so to the program's.

    How long something takes stays true under freezegun, time-machine and mock, also where lowq is imported inside.
    """
    import time

    spec = getattr(time, "__spec__", None)
    if spec is None or spec.origin != "built-in":
        return time
    own: ModuleType = spec.loader.create_module(spec)
    spec.loader.exec_module(own)
    return own


class _Real:
    """Kept where those who replace the functions that modules hold do not look."""

    time = _time_of_our_own()


def monotonic() -> float:
    """Seconds of a clock that never goes back and that nobody replaces."""
    seconds: float = _Real.time.monotonic()
    return seconds


_MOVED = 1_000_000_000
"""Nanoseconds by which the program's time differs from the machine's where somebody has stopped or moved it."""


def is_replaced() -> bool:
    """Whether somebody has stopped or moved this program's time, as tests do: it is not the machine's."""
    theirs = to_micros(datetime.now(UTC)) * 1000
    return abs(theirs - int(_Real.time.time_ns())) > _MOVED


class Clock(Protocol):
    """What a queue and a worker know of time."""

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        ...

    def countdown(self, length: timedelta) -> Callable[[], timedelta]:
        """A function that says how much of `length` is left; steps of the wall clock do not matter."""
        ...

    def wait(self, woken: Callable[[float], bool], timeout: timedelta) -> bool:
        """Wait until `woken` or until `timeout` has passed on this clock; True if it was woken.

        `woken(seconds)` blocks for up to that many real seconds and says whether the event came.
        """
        ...


class SystemClock:
    """The wall clock of this machine, which a test may have stopped or moved; spans are real, whatever it did."""

    def now(self) -> datetime:
        """This instant, aware, in UTC."""
        return datetime.now(UTC)

    def countdown(self, length: timedelta) -> Callable[[], timedelta]:
        """A function that says how much of `length` is left, by the monotonic clock."""
        end = monotonic() + _length(length, "length").total_seconds()
        return lambda: timedelta(seconds=max(-_COUNTED, min(end - monotonic(), _COUNTED)))

    def wait(self, woken: Callable[[float], bool], timeout: timedelta) -> bool:
        """Wait until `woken` or until `timeout` has passed; True if it was woken."""
        return woken(_seconds(timeout))

    def sleep(self, length: timedelta) -> None:
        """That much time has really passed."""
        _Real.time.sleep(_seconds(length))


class FakeClock:
    """A clock that stands still until it is moved; one instant for every process that has its file open.

    Without `path` the instant is shared with forked processes; with it also with spawned ones, which get the same
    clock when it is pickled to them. `start` counts only where the file is new.
    """

    SLICE = 0.005
    """Real seconds between two looks at the instant while somebody waits on this clock."""

    def __init__(
        self,
        start: datetime = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        first = to_micros(start, "start")
        self.path = None if path is None else _path_of_clock(path)
        self._fd = _unnamed_file() if self.path is None else _open(self.path)
        weakref.finalize(self, _let_go, self._fd)
        with self._alone():
            if os.fstat(self._fd).st_size == 0:
                self._write(first)
            elif os.fstat(self._fd).st_size != _SIZE or self._read() > LAST_MICROS:
                raise InvalidLocation(f"path: {self.path} holds something else than the instant of a FakeClock")

    def __reduce__(self) -> tuple[object, ...]:
        if self.path is None:
            raise TypeError("a FakeClock without a path cannot be sent to another process: give it path=")
        return type(self), (_EPOCH, self.path)

    def now(self) -> datetime:
        """The instant at which this clock stands, aware, in UTC."""
        return to_datetime(self._read())

    def advance(self, by: timedelta) -> datetime:
        """The clock stands `by` later, for every process.

        Raises ValueError for a negative span (see `move_to`) and past the year 9999.
        """
        if isinstance(by, timedelta) and by < timedelta(0):
            raise ValueError(
                f"advance: expected zero or more, got {by}, which goes back; use move_to(…, back=True) for that"
            )
        micros = span(by, "advance")
        with self._alone():
            before = self.now()
            if (target := to_micros(before) + micros) > LAST_MICROS:
                raise ValueError(f"advance: expected an end before the year 10000, got {by} after {before}")
            self._write(target)
            return self.now()

    def move_to(self, instant: datetime, *, back: bool = False) -> datetime:
        """The clock stands at `instant`. Raises ValueError where that is earlier, unless `back` asks for it."""
        target = to_micros(instant, "instant")
        with self._alone():
            if target < self._read() and not back:
                raise ValueError(
                    f"move_to: expected {self.now()} or later, got {instant}, which is before; say back=True for that"
                )
            self._write(target)
            return self.now()

    def countdown(self, length: timedelta) -> Callable[[], timedelta]:
        """A function that says how much of `length` is left: on this clock or really, whichever is less.

        Really too, so that a program of one thread, which nobody's move of the clock can help, never hangs.
        """
        real_left = SystemClock().countdown(length)
        end = shift(self.now(), length)
        return lambda: min(end - self.now(), real_left())

    def wait(self, woken: Callable[[float], bool], timeout: timedelta) -> bool:
        """Wait until `woken`, until somebody moved this clock by `timeout`, or really that long; True if woken."""
        left = self.countdown(timeout)
        while (seconds := left().total_seconds()) > 0:
            if woken(min(self.SLICE, seconds)):
                return True
        return woken(0)

    def _read(self) -> int:
        return int.from_bytes(os.pread(self._fd, _SIZE, 0), "little")

    def _write(self, micros: int) -> None:
        try:
            os.pwrite(self._fd, micros.to_bytes(_SIZE, "little"), 0)
        except OSError as error:
            raise BackendUnavailable(f"the clock's file {self.path} cannot be written: {error}") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else moves the clock meanwhile: a lock for this process's threads, one of the kernel for others."""
        with _threads:
            fcntl.lockf(self._fd, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN)
                _close_gone()


_threads = threading.Lock()
_gone: list[int] = []


def _let_go(fd: int) -> None:
    """The file is closed, but not while a clock of this process holds its lock, which would end with it."""
    _gone.append(fd)
    if _threads.acquire(blocking=False):
        try:
            _close_gone()
        finally:
            _threads.release()


def _close_gone() -> None:
    while _gone:
        os.close(_gone.pop())


def _renew_lock() -> None:
    global _threads
    _threads = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


_SIZE = 8
"""Bytes of a clock's file."""


def _path_of_clock(path: str | os.PathLike[str]) -> str:
    if not isinstance(path, (str, os.PathLike)) or not isinstance(found := os.fspath(path), str):
        raise TypeError(f"path: expected the path of a file, got {type(path).__name__}")
    return os.path.abspath(found)


def _open(path: str) -> int:
    if _is_special(path):  # a fifo, say: opening it would wait
        raise InvalidLocation(f"path: expected a regular file, got {excerpt(path)}")
    try:
        return kernel.open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except (OSError, ValueError) as error:
        raise InvalidLocation(f"path: expected a file that can hold a clock, got {excerpt(path)}: {error}") from None


def _is_special(path: str) -> bool:
    try:
        return not S_ISREG(kernel.stat(path).st_mode)
    except (OSError, ValueError):
        return False  # none yet, or one of which opening it says what is wrong


def _unnamed_file() -> int:
    import tempfile

    path = os.path.join(tempfile.gettempdir(), f"lowq-clock-{kernel.urandom(12).hex()}")
    fd = kernel.open_descriptor(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    return fd


def is_datetime(value: object) -> TypeGuard[datetime]:
    """Whether it is a datetime, also where a program has put something else in its place since this was imported."""
    return isinstance(value, datetime)


def to_micros(instant: datetime, what: str = "instant") -> int:
    """Microseconds since 1970 of an aware datetime; TypeError or ValueError names `what` where it is none."""
    if not isinstance(instant, datetime):
        raise TypeError(f"{what}: expected an aware datetime, got {type(instant).__name__}")
    if instant.tzinfo is not UTC and instant.utcoffset() is None:
        raise ValueError(
            f"{what}: expected an aware datetime, got {instant}, which has no time zone; "
            "use datetime.now(UTC) or .replace(tzinfo=…)"
        )
    since = instant - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not 0 <= micros <= LAST_MICROS:
        raise ValueError(f"{what}: expected a time of 1970 to 9999 (UTC), got {instant}, which is outside")
    return micros


@lru_cache(maxsize=256)  # what was pushed together was pushed at one instant
def to_datetime(micros: int) -> datetime:
    """The aware datetime, in UTC, of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=micros)


def shift(instant: datetime, by: timedelta) -> datetime:
    """The instant that comes `by` later, or the last or first one that there is."""
    try:
        return instant + by
    except OverflowError as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is not None:
            raise  # of a signal's handler, which ran meanwhile
        return _LAST if by > timedelta(0) else _FIRST


def deadline(now: int, lease_for: timedelta, what: str = "lease_for") -> int:
    """The microsecond at which a lease taken `now` ends; TypeError or ValueError unless `lease_for` is positive."""
    end = now + span(lease_for, what)
    if end == now:
        raise ValueError(f"{what}: expected more than zero, got {lease_for}")
    if end > LAST_MICROS:
        raise ValueError(f"{what}: expected a lease that ends before the year 10000, got {lease_for}")
    return end


def span(length: timedelta, what: str) -> int:
    """Microseconds of a timedelta of zero or more; TypeError or ValueError names `what` where it is none."""
    if _length(length, what).days < 0:
        raise ValueError(f"{what}: expected zero or more, got {length}, which is negative")
    return length // _MICROSECOND


def choose_clock(clock: Clock | None) -> Clock:
    """The clock that was given, or the system's. Raises TypeError for what is no clock."""
    if clock is None:
        return SystemClock()
    if isinstance(clock, type) or not all(callable(getattr(clock, verb, None)) for verb in _VERBS):
        raise TypeError(f"clock: expected a Clock, such as SystemClock(), got {excerpt(clock)}")
    return clock


_VERBS = ("now", "countdown", "wait")


def _length(length: timedelta, what: str) -> timedelta:
    if not isinstance(length, timedelta):
        raise TypeError(f"{what}: expected a timedelta, got {type(length).__name__}; say timedelta(seconds=…)")
    return length


_COUNTED = timedelta(days=900_000_000).total_seconds()
"""Seconds that a countdown counts at most: floats know no exact end of timedelta."""

_LONGEST_NAP = timedelta(days=1000).total_seconds()
"""Seconds of one wait at most, since the system's timers hold no more; whoever waits for longer looks again."""


def _seconds(length: timedelta) -> float:
    return max(0.0, min(_length(length, "length").total_seconds(), _LONGEST_NAP))
