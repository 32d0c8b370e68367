"""A handler that needs no Python: a log file that gets a line for each work."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from lowq.backend import BackendUnavailable, Work
from lowq.clock import SystemClock
from lowq.current_task import current
from lowq.process.paths import exists, is_file
from lowq.rules.canonical import encode
from lowq.wire import write_instant
from lowq.worker.backoff import Patience
from lowq.worker.failure import TaskFailed
from lowq.worker.stopping import Stop, Stopping

FOREVER = timedelta(days=36500)

_FLAGS = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO that nobody reads would hold the worker


def logging_to(file: str, stop: Stop, patience: timedelta) -> Callable[[Work], None]:
    """A handler that adds a line for each work to the file: the time, and the work as JSON.

    A file that cannot be written is said and waited for, as storage that is away is: no attempt is counted, and told
    to stop the worker gives the task back. Where `patience` is over, the task fails.
    """
    waiting = Patience(SystemClock(), patience, stop, "the log")

    def log(work: Work) -> None:
        try:
            waiting(lambda: _add(file, work))
        except BackendUnavailable as error:
            if stop.requested:
                raise Stopping(str(error)) from None
            raise TaskFailed(str(error)) from None

    return log


def check_log(file: str) -> None:
    """Raise BackendUnavailable where nothing could be written to the file; it is made where it is new."""
    try:
        os.close(os.open(file, os.O_WRONLY | _FLAGS, 0o666))
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOSPC, errno.EDQUOT):  # what may pass is waited for
            raise _unwritable(file, error) from None


def _add(file: str, work: Work) -> None:
    """The file ends with the work, on a line of its own. Raises BackendUnavailable, and the file is as before."""
    task = current()
    if task is not None and task.lost:
        raise Stopping("the lease was lost while the log could not be written")
    line = f"{write_instant(SystemClock().now())} {encode(work)}\n".encode()
    try:
        descriptor = _open(file)
        try:
            os.set_blocking(descriptor, True)
            cut = _ends_within_a_line(descriptor)
            _write(descriptor, b"\n" + line if cut else line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unwritable(file, error) from None


def _open(file: str) -> int:
    try:
        return os.open(file, os.O_RDWR | _FLAGS, 0o666) if _is_regular(file) else os.open(file, os.O_WRONLY | _FLAGS)
    except PermissionError:  # one that may be written and not read
        return os.open(file, os.O_WRONLY | _FLAGS, 0o666)


def _is_regular(file: str) -> bool:
    """Whether it is a file, or there is none yet; opened for both, a FIFO would be its own reader."""
    return is_file(file) or not exists(file)


def _ends_within_a_line(descriptor: int) -> bool:
    """Whether the last writer was killed in the middle of its line."""
    with suppress(OSError):  # no file, or one that cannot be read
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) not in (b"\n", b"")
    return False


def _write(descriptor: int, data: bytes) -> None:
    """All of the data is written, by one call: lines of several workers do not mix. Raises OSError, and none is."""
    written = os.write(descriptor, data)
    if written == len(data):
        return
    with suppress(OSError):
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if os.fstat(descriptor).st_size == end:
            os.ftruncate(descriptor, end - written)
    raise OSError(errno.ENOSPC, f"{written} of {len(data)} bytes could be written; is the disk full?")


def _unwritable(file: str, error: OSError) -> BackendUnavailable:
    why = "it is a FIFO that nobody reads" if error.errno == errno.ENXIO else error.strerror or str(error)
    return BackendUnavailable(f"{file} cannot be written: {why}")
