"""Local times under freezegun: those of the machine's time zone, summer time included.

By itself freezegun takes one offset from UTC for all instants, nought unless it is told, adds it to times that have a
zone too, and takes winter time for `time.localtime`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, tzinfo
from typing import Any


@contextmanager
def in_the_local_zone(api: Any) -> Iterator[None]:
    """freezegun's classes and functions (`api` is its module) answer in local time, where they are started inside.

    That is the zone of the environment's TZ or of the machine, as `time.tzset` left it.
    """
    real: type[datetime] = api.real_datetime

    def fake(found: datetime) -> datetime:
        made: datetime = api.datetime_to_fakedatetime(found)
        return made.replace(fold=found.fold) if found.fold else made

    def utc() -> datetime:
        now: datetime = api.get_current_time()
        return real(now.year, now.month, now.day, now.hour, now.minute, now.second, now.microsecond, UTC)

    def local(now: datetime) -> datetime:
        return real.fromtimestamp(int(now.timestamp())).replace(microsecond=now.microsecond)

    def now(_cls: type[datetime], tz: tzinfo | None = None) -> datetime:
        return fake(local(utc()) if tz is None else real.astimezone(utc(), tz))

    def today(_cls: type) -> Any:
        return api.date_to_fakedate(local(utc()))

    def fromtimestamp(_cls: type[datetime], t: float, tz: tzinfo | None = None) -> datetime:
        return fake(real.fromtimestamp(t, tz))

    def astimezone(self: datetime, tz: tzinfo | None = None) -> datetime:
        return fake(real.astimezone(self, tz))

    def struct(real_function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(seconds: float | None = None) -> Any:
            if seconds is not None:
                return real_function(seconds)
            return real_function() if api._should_use_real_time() else real_function(utc().timestamp())

        return ask

    fake_localtime, fake_gmtime = struct(api.real_localtime), struct(api.real_gmtime)
    fake_localtime.__name__, fake_gmtime.__name__ = "fake_localtime", "fake_gmtime"  # freezegun knows them by these
    with ExitStack() as stack:
        for owner, name, value in (
            (api.FakeDatetime, "now", classmethod(now)),
            (api.FakeDatetime, "fromtimestamp", classmethod(fromtimestamp)),
            (api.FakeDatetime, "astimezone", astimezone),
            (api.FakeDatetime, "timestamp", lambda self: real.timestamp(self)),
            (api.FakeDate, "today", classmethod(today)),
            (api, "fake_localtime", fake_localtime),
            (api, "fake_gmtime", fake_gmtime),
        ):
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, value)
        yield
