"""The fake clock of a test: lowq's own time, and, at the same instant, what the application's code reads.

lowq reads its `Clock` and needs no patching. The application's `datetime.now()` and `time.time()` are patched by
freezegun, which is made to read the clock's file: so a forked process follows every move, and so does a spawned one
that the clock was passed to. PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from lowq.backend import LowqError
from lowq.clock import Clock, FakeClock, SystemClock

if TYPE_CHECKING:
    from freezegun.api import FrozenDateTimeFactory

Patch: TypeAlias = Literal["freezegun", "none"]
"""What makes the application's own code read the fake instant."""

START = datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)

_REAL = (
    *("lowq.", "_pytest.", "pluggy.", "xdist.", "execnet.", "hypothesis.", "coverage."),
    *("asyncio.", "concurrent.", "multiprocessing.", "queue", "selectors", "socket", "subprocess", "threading"),
)
"""Modules whose own calls see the real time, because they wait by it or measure the test run."""


class ClockError(LowqError):
    """Two clocks would both say what time it is, or the one that was asked for cannot run."""


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
        clock = _Frozen(start or START, path) if patch == "freezegun" else FakeClock(start or START, path)
        if patch == "freezegun":
            stack.enter_context(_frozen(clock))
        _running.append(clock)
        stack.callback(_running.remove, clock)
        yield clock


def running_clock() -> Clock:
    """The fake clock that runs now, or else the system's."""
    return _running[-1] if _running else SystemClock()


_running: list[FakeClock] = []


class _Frozen(FakeClock):
    """A fake clock that freezegun reads."""

    def now(self) -> datetime:
        """The instant at which this clock stands. Raises ClockError where freezegun was started at another."""
        now = super().now()
        freezegun = sys.modules.get("freezegun.api")
        if freezegun is not None and freezegun.freeze_factories:
            theirs = freezegun.freeze_factories[-1].time_to_freeze.replace(tzinfo=UTC)
            if theirs != now:
                raise ClockError(
                    f"two instants cannot both be now: lowq's clock stands at {now}, and freeze_time was started "
                    f"inside it at {theirs}; move lowq's clock instead, which moves both"
                )
        return now

    def __reduce__(self) -> tuple[object, ...]:
        return _join, (self.path,)


_joined = ExitStack()


def _join(path: str) -> FakeClock:
    """The clock in a process that it was sent to, which stays frozen at its instant until it ends."""
    for clock in _running:
        if clock.path == path:
            return clock
    clock = _Frozen(START, path)
    _joined.enter_context(_frozen(clock))
    _running.append(clock)
    return clock


@contextmanager
def _frozen(clock: FakeClock) -> Iterator[None]:
    """freezegun reads `clock`; afterwards nothing of it is left, whatever was started inside."""
    try:
        from freezegun import api, freeze_time
    except ModuleNotFoundError as error:
        raise ClockError(f'{error.name} is missing: pip install "lowq[pytest]", or say patch="none"') from None
    if api.freeze_factories:
        raise ClockError(
            f"freezegun froze time already, at {api.freeze_factories[-1].time_to_freeze}, and two instants cannot "
            'both be now: use lowq\'s clock alone, or say patch="none"'
        )
    freezer = freeze_time(clock.now(), ignore=list(_REAL), real_asyncio=True)
    freezer.start()
    ours = api.freeze_factories[0] = _factory(clock)
    inspected, api.call_stack_inspection_limit = api.call_stack_inspection_limit, 1  # see `_factory`
    try:
        yield
    finally:
        left = [each for each in api.freeze_factories if each is not ours]
        for stack in (api.freeze_factories, api.tz_offsets, api.ignore_lists, api.tick_flags):
            del stack[1:]
        freezer.stop()
        api.call_stack_inspection_limit = inspected
        if left:
            raise ClockError("a freeze_time that was started inside lowq's clock was still running; it was stopped")


def _factory(clock: FakeClock) -> FrozenDateTimeFactory:
    """What freezegun asks for the instant: it reads the clock.

    freezegun gives the real time to whoever has a module that waits (`threading`) within five frames above it, which
    is most code near a thread's start. Here only the caller itself decides.
    """
    from freezegun.api import FrozenDateTimeFactory

    class Shared(FrozenDateTimeFactory):
        def __init__(self) -> None:
            self.latest = self.time_to_freeze

        def __call__(self) -> datetime:
            now: datetime = self.time_to_freeze
            if "monotonic" in sys._getframe(2).f_code.co_name:
                now = self.latest = max(now, self.latest)
            return now

        def tick(self, *_: Any, **__: Any) -> datetime:
            raise ClockError("move lowq's clock instead: lowq_clock.advance(…)")

        @property
        def time_to_freeze(self) -> datetime:  # type: ignore[override]
            return FakeClock.now(clock).replace(tzinfo=None)

    return Shared()
