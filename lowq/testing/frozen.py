"""freezegun, made to read lowq's fake clock.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from lowq.clock import FakeClock, SystemClock
from lowq.testing.clockerror import ClockError
from lowq.testing.localtime import in_the_local_zone
from lowq.testing.standstill import Standstill

if TYPE_CHECKING:
    from freezegun.api import FrozenDateTimeFactory

_TOOLS = frozenset("lowq _pytest pluggy xdist execnet hypothesis coverage".split())
"""Packages whose own calls see the real time, because they measure the test run, or are the clock."""

_WAITING = frozenset("asyncio concurrent multiprocessing queue selectors socket subprocess threading".split())
"""Packages whose own calls see the real monotonic time, because they wait by it."""


@contextmanager
def freeze(clock: FakeClock) -> Iterator[None]:
    """freezegun reads `clock`; afterwards nothing of it is left, whatever was started inside.

    `time.monotonic` and `time.perf_counter` go on with the real time and with every move forward, so that a loop up
    to a deadline ends either way.
    """
    try:
        from freezegun import api, freeze_time
        from freezegun.config import settings
    except ModuleNotFoundError as error:
        raise ClockError(f'{error.name} is missing: pip install "lowq[pytest]", or say patch="none"') from None
    freezer = freeze_time(clock.now(), real_asyncio=True)
    tools = _TOOLS.union(name.rstrip(".") for name in settings.default_ignore_list) - _WAITING
    freezer.ignore = tuple(f"{name}." for name in tools | _WAITING)
    with in_the_local_zone(api):
        freezer.start()
        ours = api.freeze_factories[0] = _factory(clock)
        asks, api._should_use_real_time = api._should_use_real_time, _sees_real_time(tools)
        try:
            yield
        finally:
            left = _others(api.freeze_factories, ours)
            for stack in (api.freeze_factories, api.tz_offsets, api.ignore_lists, api.tick_flags):
                del stack[1:]
            freezer.stop()
            api._should_use_real_time = asks
    if left:
        raise ClockError("a freeze_time that was started inside lowq's clock was still running; it was stopped")


def _others(factories: list[Any], ours: object) -> list[Any]:
    return [each for each in factories if each is not ours]


def _sees_real_time(tools: frozenset[str]) -> Callable[[], bool]:
    """Whether the caller of a function of `time` is to see the real time, as freezegun asks it.

    By itself freezegun gives the real time to whoever has a module that waits (`threading`) within five frames above
    it, which is most code near a thread's start, and to every module whose name only begins like one of those:
    `queues` like `queue`. Here the caller alone decides, and its whole name.
    """

    @cache
    def is_of(packages: frozenset[str], name: str) -> bool:
        return name in packages or any(name.startswith(f"{package}.") for package in packages)

    def sees_real_time() -> bool:
        asked = sys._getframe(1).f_code.co_name
        caller = str(sys._getframe(2).f_globals.get("__name__"))
        waits = "monotonic" in asked or "perf_counter" in asked
        return is_of(tools, caller) or (waits and is_of(_WAITING, caller))

    return sees_real_time


def _factory(clock: FakeClock) -> FrozenDateTimeFactory:
    """What freezegun asks for the instant: it reads the clock."""
    from freezegun.api import FrozenDateTimeFactory

    class Shared(FrozenDateTimeFactory):
        lowq_clock = clock

        def __init__(self) -> None:
            self.latest = self.time_to_freeze
            self.left = SystemClock().countdown(timedelta(0))
            self.standstill = Standstill()

        def __call__(self) -> datetime:
            now: datetime = self.time_to_freeze
            if "monotonic" in sys._getframe(2).f_code.co_name:
                self.latest = max(now, self.latest)
                return self.latest - self.left()
            self.standstill.read(now, sys._getframe(1))
            return now

        def tick(self, *_: Any, **__: Any) -> datetime:
            raise ClockError("move lowq's clock instead: lowq_clock.advance(…)")

        @property
        def time_to_freeze(self) -> datetime:  # type: ignore[override]
            return FakeClock.now(clock).replace(tzinfo=None)

    return Shared()


def find_freeze_of_others() -> datetime | None:
    """The instant at which somebody else's freezegun stands, or None."""
    api = sys.modules.get("freezegun.api")
    if api is None or not api.freeze_factories or hasattr(api.freeze_factories[-1], "lowq_clock"):
        return None
    theirs: datetime = api.freeze_factories[-1].time_to_freeze
    return theirs.replace(tzinfo=UTC)
