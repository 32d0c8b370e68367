"""The fake clock of a test: lowq's own time, and, at the same instant, what the application's code reads.

lowq reads its `Clock` and needs no patching. The application's `datetime.now()` and `time.time()` are patched by
freezegun or time-machine, which are made to read the clock's file: so a forked process follows every move, and a
spawned one that the clock was passed to. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from lowq.clock import Clock, FakeClock, SystemClock
from lowq.testing.clockerror import ClockError
from lowq.testing.frozen import find_freeze_of_others, freeze
from lowq.testing.travelling import find_travel_of_others, travelling

Patch: TypeAlias = Literal["freezegun", "time-machine", "none"]
"""What makes the application's own code read the fake instant."""

START = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


@contextmanager
def fake_clock(
    start: datetime | None = None, *, path: str | os.PathLike[str] | None = None, patch: Patch = "freezegun"
) -> Iterator[FakeClock]:
    """Time stands still at `start` for lowq and, unless `patch` is ``"none"``, for the application's code.

    Every queue that is opened inside runs on this clock. `path` is the file that holds the instant. Raises
    ClockError where another clock runs already.
    """
    if patch not in get_args(Patch):
        raise ValueError(f"patch: expected {' or '.join(get_args(Patch))}, got {patch!r}")
    if _running:
        raise ClockError(f"a fake clock is running already, at {_running[-1].now()}; move that one")
    with ExitStack() as stack:
        if path is None:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lowq-clock-"))) / "clock"
        clock = FakeClock(start or START, path) if patch == "none" else _Patched(start or START, path, patch)
        if isinstance(clock, _Patched):
            stack.enter_context(clock.patch_time())
        _running.append(clock)
        stack.callback(_running.remove, clock)
        yield clock


def running_clock() -> Clock:
    """The fake clock that runs now, or else the system's."""
    return _running[-1] if _running else SystemClock()


_running: list[FakeClock] = []


class _Patched(FakeClock):
    """A fake clock that freezegun or time-machine reads."""

    def __init__(self, start: datetime, path: str | os.PathLike[str], patch: Patch) -> None:
        super().__init__(start, path)
        self._patch = patch

    def now(self) -> datetime:
        """The instant at which this clock stands. Raises ClockError where somebody else's stands inside it."""
        if (theirs := _others()) is not None:
            raise ClockError(
                f"two instants cannot both be now: lowq's clock stands at {super().now()}, and freeze_time or travel "
                f"was started inside it at {theirs}; move lowq's clock instead, which moves both"
            )
        return super().now()

    def patch_time(self) -> AbstractContextManager[None]:
        """The application's code reads this clock. Raises ClockError where somebody else's stands already."""
        if (theirs := _others()) is not None:
            raise ClockError(
                f"freezegun or time-machine stopped time already, at {theirs}, and two instants cannot both be now: "
                'use lowq\'s clock alone, or say patch="none"'
            )
        return travelling(self) if self._patch == "time-machine" else freeze(self)

    def __reduce__(self) -> tuple[object, ...]:
        return _join, (self.path, self._patch)


def _others() -> datetime | None:
    """The instant at which freezegun or time-machine stand, where it is not lowq's clock that they read."""
    return find_freeze_of_others() or find_travel_of_others()


_joined = ExitStack()


def _join(path: str, patch: Patch) -> FakeClock:
    """The clock in a process that it was sent to, which stays at its instant until it ends."""
    for clock in _running:
        if clock.path == path:
            return clock
    clock = _Patched(START, path, patch)
    _joined.enter_context(clock.patch_time())
    _running.append(clock)
    return clock
