"""freezegun, made to read lowq's fake clock. PYTEST_DONT_REWRITE"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lowq.clock import FakeClock
from lowq.testing.clockerror import ClockError

if TYPE_CHECKING:
    from freezegun.api import FrozenDateTimeFactory

_REAL = (
    *("lowq.", "_pytest.", "pluggy.", "xdist.", "execnet.", "hypothesis.", "coverage."),
    *("asyncio.", "concurrent.", "multiprocessing.", "queue", "selectors", "socket", "subprocess", "threading"),
)
"""Modules whose own calls see the real time, because they wait by it or measure the test run."""


@contextmanager
def frozen(clock: FakeClock) -> Iterator[None]:
    """freezegun reads `clock`; afterwards nothing of it is left, whatever was started inside."""
    try:
        from freezegun import api, freeze_time
    except ModuleNotFoundError as error:
        raise ClockError(f'{error.name} is missing: pip install "lowq[pytest]", or say patch="none"') from None
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
        lowq_clock = clock

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


def frozen_by_others() -> datetime | None:
    """The instant at which somebody else's freezegun stands, or None."""
    api = sys.modules.get("freezegun.api")
    if api is None or not api.freeze_factories or hasattr(api.freeze_factories[-1], "lowq_clock"):
        return None
    theirs: datetime = api.freeze_factories[-1].time_to_freeze
    return theirs.replace(tzinfo=UTC)
