"""time-machine, made to read lowq's fake clock.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module

from lowq.clock import FakeClock, to_micros
from lowq.testing.clockerror import ClockError
from lowq.testing.standstill import Standstill

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def travelling(clock: FakeClock) -> Iterator[None]:
    """time-machine reads `clock`; afterwards nothing of it is left, whatever was started inside.

    The local time zone stays as it is, and `time.monotonic` goes on by itself.
    """
    try:
        time_machine = import_module("time_machine")
    except ModuleNotFoundError as error:
        raise ClockError(f'{error.name} is missing: pip install time-machine, or say patch="none"') from None

    standstill = Standstill()

    class Shared(time_machine.Traveller):  # type: ignore[name-defined, misc]  # it is only known when it is there
        lowq_clock = clock

        def time_ns(self) -> int:
            now = FakeClock.now(clock)
            standstill.read(now, sys._getframe(1))
            return to_micros(now) * 1000

    travel = time_machine.travel(0, tick=False)
    travel.start()
    stack = time_machine.traveller_stack
    stack[0] = ours = Shared(0, None, tick=False)
    try:
        yield
    finally:
        left = [each for each in stack if each is not ours]
        while len(stack) > 1:
            stack.pop()._stop()
        travel.stop()
        if left:
            raise ClockError(
                "a time_machine.travel that was started inside lowq's clock was still on; it was stopped"
            )


def find_travel_of_others() -> datetime | None:
    """The instant at which somebody else's time-machine stands, or None."""
    time_machine = sys.modules.get("time_machine")
    if time_machine is None or not time_machine.traveller_stack:
        return None
    top = time_machine.traveller_stack[-1]
    return None if hasattr(top, "lowq_clock") else _EPOCH + timedelta(microseconds=top.time_ns() // 1000)
