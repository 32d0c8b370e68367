"""What Prometheus is told of queues, read by its own parser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from backends import BACKENDS, kept_at
from prometheus_client.parser import text_string_to_metric_families

from lowq import Backend, FakeClock, open_backend
from lowq.metrics import LOOKED_AT, due_since, write_metrics

MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=BACKENDS)
def queue(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Backend]:
    with closing(open_backend(kept_at(request, tmp_path, clock), clock=clock)) as queue:
        yield queue


def read(text: str) -> dict[str, Any]:
    """What the parser finds: the value of each sample by its name and labels."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type == "gauge" for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {f"{each.name} {' '.join(each.labels.values())}": each.value for each in samples}
    assert len(found) == len(samples)
    return found


def test_a_queue_tells_its_depth_and_how_long_it_waits(queue: Backend, clock: FakeClock) -> None:
    start = clock.now()
    queue.push("dead", priority=9)
    queue.push("leased", priority=8)
    for lease in queue.claim_many(2, lease_for=60 * MINUTE):
        if lease.work == "dead":
            queue.dead_letter(lease, reason="x")
    queue.push("late", not_before=start + MINUTE)
    queue.push("later", not_before=start + 600 * MINUTE)
    clock.advance(5 * MINUTE)
    queue.push("new")

    assert read(write_metrics([("default", queue)], clock.now())) == {
        "lowq_tasks default scheduled": 1,
        "lowq_tasks default ready": 2,
        "lowq_tasks default leased": 1,
        "lowq_tasks default dead": 1,
        "lowq_oldest_due_age_seconds default": 240,
    }


def test_an_empty_queue_waits_for_nothing(queue: Backend, clock: FakeClock) -> None:
    found = read(write_metrics([("default", queue)], clock.now()))

    assert found.pop("lowq_oldest_due_age_seconds default") == 0
    assert found == {f"lowq_tasks default {state}": 0 for state in ("scheduled", "ready", "leased", "dead")}


def test_what_was_pushed_by_a_clock_that_is_ahead_waits_for_no_time() -> None:
    clock = FakeClock()
    with closing(open_backend("memory://ahead", clock=clock)) as queue:
        queue.push(1)
        found = read(write_metrics([("default", queue)], clock.now() - MINUTE))

    assert found["lowq_oldest_due_age_seconds default"] == 0


NAMES = ['"', "\\", '\\"', "\\n", "a=b,c", "}", "ü ☃", "#", '{le="1"}', "x" * 200]


def test_any_name_of_a_queue_is_read_as_it_is() -> None:
    with closing(open_backend("memory://names")) as queue:
        text = write_metrics([(name, queue) for name in NAMES], FakeClock().now())

    families = {each.name: each for each in text_string_to_metric_families(text)}
    ages = families["lowq_oldest_due_age_seconds"].samples
    assert [sample.labels for sample in ages] == [{"queue": name} for name in NAMES]
    assert len(families["lowq_tasks"].samples) == 4 * len(NAMES)


def test_no_queues_are_no_text() -> None:
    assert write_metrics([], FakeClock().now()) == ""


class Deep:
    """A queue of which only pages of due tasks are asked."""

    def __init__(self, queue: Backend) -> None:
        self.queue = queue
        self.told = 0

    def tasks(self, **asked: Any) -> Any:
        page = self.queue.tasks(**asked)
        self.told += len(page)
        return page


def test_a_scrape_looks_at_so_many_tasks_and_no_more(clock: FakeClock) -> None:
    with closing(open_backend("memory://deep", clock=clock)) as queue:
        for number in range(30):
            queue.push(number, priority=number)
            clock.advance(MINUTE)
        deep: Any = Deep(queue)

        assert due_since(deep, 10) == clock.now() - 10 * MINUTE
        assert deep.told == 10
        assert due_since(deep) == clock.now() - 30 * MINUTE
    assert LOOKED_AT <= 10_000
