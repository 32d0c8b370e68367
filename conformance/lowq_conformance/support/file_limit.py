"""Makes writes fail: while a call is made, no file of this process may grow past some size (RLIMIT_FSIZE).

What is written up to there is written, and the rest is refused with EFBIG, as a full disk refuses it with ENOSPC.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import isawaitable
from pathlib import Path
from typing import Any


def survive_limits() -> None:
    """The process goes on where a file may not grow. In its main thread only."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


@contextmanager
def limit_files(size: int) -> Iterator[None]:
    """No file grows past so many bytes meanwhile. The signal that says so is ignored: see `survive_limits`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def find_largest(place: Path) -> int:
    """The size of the largest file below the folder, or 0."""
    return max((file.stat().st_size for file in place.rglob("*") if file.is_file()), default=0)


class LimitedClient:
    """A client of which no call lets a file grow past so many bytes."""

    def __init__(self, raw: Any, size: int) -> None:
        self._raw, self._size = raw, size

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._raw, name)
        if not callable(method):
            return method

        @wraps(method)
        def limit_call(*arguments: Any, **keywords: Any) -> Any:
            with limit_files(self._size):
                answer = method(*arguments, **keywords)
            return self._await(answer) if isawaitable(answer) else answer

        return limit_call

    async def _await(self, answer: Any) -> Any:
        with limit_files(self._size):
            return await answer
