"""The application's local times on the fake clock are those of its time zone, summer time included."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

PROGRAM = """
import datetime as dt, sys, time
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo
from lowq.testing import fake_clock

HOUR = dt.timedelta(hours=1)

def times():
    now = datetime.now()
    return [
        now.isoformat(), now.fold, datetime.now().astimezone().isoformat(), datetime.today().isoformat(),
        date.today().isoformat(), dt.datetime.now(UTC).isoformat(), datetime.now(ZoneInfo("Asia/Tokyo")).isoformat(),
        datetime.now().timestamp(), time.time(), time.mktime(time.localtime()),
        tuple(time.localtime()), time.localtime().tm_gmtoff, time.localtime().tm_zone, tuple(time.gmtime()),
        time.strftime("%Y-%m-%d %H:%M:%S"), datetime.fromtimestamp(time.time()).isoformat(),
        datetime.fromtimestamp(time.time(), UTC).isoformat(),
    ]

start = datetime.fromisoformat(sys.argv[1])
with fake_clock(start, patch=sys.argv[2]) as clock:
    for step in range(3):
        print(times())
        clock.advance(HOUR)
"""


def expected(zone: str, instant: datetime) -> list[object]:
    """What a clock on the wall shows there, reckoned by zoneinfo."""
    there = instant.astimezone(ZoneInfo(zone))
    naive = there.replace(tzinfo=None, fold=0)
    offset = there.utcoffset()
    assert offset is not None
    whole = instant.replace(microsecond=0)
    return [
        naive.isoformat(),
        there.fold,
        there.isoformat(),
        naive.isoformat(),
        there.date().isoformat(),
        instant.isoformat(),
        instant.astimezone(ZoneInfo("Asia/Tokyo")).isoformat(),
        instant.timestamp(),
        instant.timestamp(),
        whole.timestamp(),
        (*there.timetuple(),),
        int(offset.total_seconds()),
        there.tzname(),
        (*instant.utctimetuple(),),
        f"{there:%Y-%m-%d %H:%M:%S}",
        naive.isoformat(),
        instant.isoformat(),
    ]


@pytest.mark.parametrize("patch", ["freezegun", "time-machine"])
@pytest.mark.parametrize(
    ("zone", "start"),
    [
        ("America/New_York", "2030-01-01T12:00:00.250000+00:00"),  # winter
        ("America/New_York", "2030-07-01T12:00:00+00:00"),  # summer
        ("America/New_York", "2030-03-10T05:30:00+00:00"),  # an hour is left out
        ("America/New_York", "2030-11-03T04:30:00+00:00"),  # an hour comes twice
        ("Asia/Kolkata", "2030-01-01T18:45:00+00:00"),  # half hours, and another day
        ("Australia/Lord_Howe", "2030-04-06T14:15:00+00:00"),  # half an hour of summer time
        ("UTC", "2030-01-01T12:00:00+00:00"),
    ],
)
def test_local_times_are_those_of_the_zone(zone: str, start: str, patch: str) -> None:
    if patch == "time-machine":
        pytest.importorskip("time_machine")
    first = datetime.fromisoformat(start)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, start, patch],
        env={**os.environ, "TZ": zone},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    found = [eval(line) for line in done.stdout.splitlines()]
    assert found == [
        expected(zone, datetime.fromtimestamp(first.timestamp() + 3600 * step, UTC)) for step in range(3)
    ]


def test_freezegun_is_as_it_was_afterwards() -> None:
    from freezegun import api, freeze_time

    from lowq.testing import fake_clock

    def inside() -> list[object]:
        return [vars(api.FakeDatetime)[name] for name in ("now", "timestamp", "fromtimestamp")] + [
            vars(api.FakeDate)["today"],
            api.fake_localtime,
            api.fake_gmtime,
        ]

    before = inside()
    with fake_clock():
        assert all(one is not other for one, other in zip(inside(), before, strict=True))

    assert inside() == before
    with freeze_time("2031-01-01 10:00:00", tz_offset=-4):
        assert datetime.now() == datetime(2031, 1, 1, 6)  # noqa: DTZ005, DTZ001 (the local time is looked at)
