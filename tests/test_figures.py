"""The figures that the documents name are those of the code."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from inspect import signature
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lowq import Retry, TaskQueue
from lowq.backends.http.backend import HTTPBackend
from lowq.backends.postgres.backend import PostgresBackend
from lowq.backends.redis.backend import RedisBackend
from lowq.backends.redis.errors import RIGHTS
from lowq.backends.sqlite import room
from lowq.backends.sqlite.database import LOG_KEPT
from lowq.web import Settings
from lowq.web.server import Limits
from lowq.worker import pool, worker

ROOT = Path(__file__).parents[1]
SECONDS = {name: timedelta(seconds=number) for name, number in (("three", 3), ("eight", 8), ("ten", 10))}
SETTINGS: dict[str, Any] = {each.name: each.default for each in fields(Settings)}


def page(name: str) -> str:
    """The page in one line, so that a sentence may be wrapped anywhere."""
    return re.sub(r"\s+", " ", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "said", "is_so"),
    [
        ("docs/run.md", "for eight seconds at most, and then gives it back", SECONDS["eight"] == worker.GRACE),
        ("docs/run.md", "kills who is stuck three seconds later", SECONDS["three"] == pool._LAST_WORD),
        ("docs/run.md", "falls due within 15 minutes (`linger`)", TaskQueue.linger == timedelta(minutes=15)),
        (
            "docs/run.md",
            "and cut to 4 MB when it begins anew; past 16 MB",
            (LOG_KEPT, room._LONG_LOG) == (4 << 20, 16 << 20),
        ),
        ("docs/web.md", "(for `LEASE_FOR`, five minutes)", SETTINGS["lease_for"] == timedelta(minutes=5)),
        ("docs/web.md", "The answers are kept for an hour", SETTINGS["keep_requests"] == timedelta(hours=1)),
        ("docs/web.md", "A body over `MAX_BODY` (16 MiB)", SETTINGS["max_body"] == 16 << 20),
        ("docs/web.md", "over which nothing comes for a minute", Limits().idle == timedelta(minutes=1)),
        ("docs/web.md", "headers that have not come in two", Limits().headers == timedelta(minutes=2)),
        (
            "docs/web.md",
            "less than 1 KiB a second over two minutes",
            (Limits().slowest, Limits().window) == (1024, timedelta(minutes=2)),
        ),
        ("docs/web.md", "Of 4,000 open connections", Limits().connections == 4000),
        ("README.md", "set aside for a person after five attempts", Retry().max_attempts == 5),
        ("docs/redis.md", f"ACL SETUSER app on >password ~lowq:names ~{{lowq:* {RIGHTS}", True),
        ("docs/postgresql.md", "before `BackendUnavailable` | 10 |", True),
    ],
)
def test_a_figure_of_a_page_is_the_code_s(name: str, said: str, is_so: bool) -> None:
    assert said in page(name)
    assert is_so


@pytest.mark.parametrize("backend", [HTTPBackend, PostgresBackend, RedisBackend])
def test_a_server_is_waited_for_for_ten_seconds_unless_it_is_said(backend: type) -> None:
    assert signature(backend).parameters["patience"].default == SECONDS["ten"]


def test_a_task_is_tried_again_within_the_delays_that_the_first_page_names() -> None:
    found = re.search(r"after at most (\d+) seconds, (\d+), (\d+) and (\d+)", page("docs/start.md"))
    assert found is not None
    for attempt, most in enumerate(map(int, found.groups()), 1):
        delays = [Retry().delay(attempt, Random(seed)) for seed in range(20)]
        assert all(each is not None and most / 2 <= each.total_seconds() <= most for each in delays)
    assert Retry().delay(5, Random()) is None
