"""How a handler ends its task by itself: by raising one of these.

For example::

    raise lowq.Discard("there is no such user")  # set aside now, whatever attempts are left
    raise lowq.Later(timedelta(days=1))          # and again tomorrow
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lowq.clock import is_datetime, to_micros
from lowq.error_text import annotate, fitting, is_a, members, message, type_name


class Discard(Exception):
    """The task is set aside now, with this reason, and not tried again until somebody redrives it."""

    def __init__(self, reason: object = "") -> None:
        super().__init__(reason)

    @property
    def reason(self) -> str:
        """What stays on the task."""
        return fitting(message(self.args[0] if self.args else "")).strip() or "discarded by its handler"


class Later(Exception):
    """The task runs again `when`: so long from now, or at that instant, at once where it is past.

    No attempt is counted, so that a task may go on for ever; with `count` it is, and after the last one the task is
    set aside. Nothing has failed: the run is a ``retry`` without an error.
    """

    def __init__(self, when: timedelta | datetime, *, count: bool = False) -> None:
        if isinstance(when, timedelta):
            if when < timedelta(0):
                raise ValueError(f"Later: expected a timedelta of zero or more, got {when}")
        elif is_datetime(when):
            to_micros(when, "Later")
        else:
            raise TypeError(
                f"Later: expected a timedelta or an aware datetime, got {type(when).__name__}; "
                "say Later(timedelta(seconds=…))"
            )
        if not isinstance(count, bool):
            raise TypeError(f"Later: count: expected a bool, got {type(count).__name__}")
        super().__init__(when)
        self.when = when
        self.count = count

    def instant(self, now: datetime) -> datetime:
        """When the task runs again. Raises ValueError for an instant that no calendar has."""
        try:
            at = now + self.when if isinstance(self.when, timedelta) else self.when
        except OverflowError:
            raise ValueError(f"Later: {self.when} from now is beyond the year 9999") from None
        to_micros(at, "Later")
        return at


Ending = Discard | Later


def ending_of(error: BaseException) -> Ending | None:
    """How the handler that raised `error` meant its task to end, also out of a task group; None: it failed."""
    while len(inner := members(error)) == 1:
        error = inner[0]
    try:
        if is_a(error, Later):
            return Later(error.when, count=error.count)
        if is_a(error, Discard):
            return Discard(error.reason)
    except KeyboardInterrupt:
        raise
    except BaseException:
        annotate(
            error, f"{type_name(error)} does not say how its task ends: does its __init__ call that of its base?"
        )
    return None
