"""The history of a run: how exactly it can be said when something was due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lowq_conformance.storm.execution import Execution
from lowq_conformance.storm.recorder import RecordedCall
from lowq_conformance.storm.to_history import spec_of
from lowq_conformance.subject.loading import load

from lowq import open_backend

MILLISECOND = 1_000_000


class Exact:
    """A queue in real time, which looks whenever it is asked."""

    promises = "fifo", "not_before", "lease", "persistent", "processes"

    def open(self, place: Path) -> Any:
        return open_backend(place / "q.db")


class LooksNowAndThen(Exact):
    resolution = timedelta(milliseconds=250)


class HandsOnNowAndThen(Exact):
    grace = timedelta(milliseconds=250)


@pytest.mark.parametrize(
    ("name", "eps"),
    [("Exact", 1 + 5), ("LooksNowAndThen", 250 + 5 + 700), ("HandsOnNowAndThen", 1 + 5 + 700)],
)
def test_who_looks_now_and_then_looks_later_on_a_busy_machine(name: str, eps: int) -> None:
    run = Execution(load(f"{__name__}:{name}"), timedelta(hours=1), False, 0, datetime(2026, 1, 1, tzinfo=UTC))

    def call(kind: str, took: int, **args: Any) -> None:
        calls = run.recording.calls
        calls.append(RecordedCall("c", len(calls), kind, args, 0, took * MILLISECOND))

    call("claim", 20)
    call("claim", 700)
    call("claim", 5_000, patience=5)
    call("open", 2_000)

    assert spec_of(run).eps == eps * MILLISECOND
