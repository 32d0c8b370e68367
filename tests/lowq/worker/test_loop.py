"""What a worker's loop tells of what it claims, and what becomes of that when it is interrupted as it tells."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import lowq
from lowq import Worker, hooks


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[lowq.Backend]:
    found = lowq.open_backend("memory://" + tmp_path.name)
    yield found
    found.close()


@pytest.fixture
def heard() -> Iterator[list[Any]]:
    """The works of each claim; a hook that fails is called before the one that hears of them, and interrupts."""
    told: list[Any] = []

    def fail(tasks: list[lowq.Task], name: str, took: timedelta) -> None:
        tasks.clear()
        raise RuntimeError("broken hook")

    def hear(tasks: list[lowq.Task], name: str, took: timedelta) -> None:
        told.append(([task.work for task in tasks], name))
        if tasks[-1].work == "stop":
            raise KeyboardInterrupt

    hooks.after_claim(fail)
    hooks.after_claim(hear)
    yield told
    hooks.remove(fail)
    hooks.remove(hear)


def test_each_claim_is_told_and_a_hook_that_fails_is_logged(
    queue: lowq.Backend, heard: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    queue.push(1)
    queue.push(2)

    Worker(queue, print).drain()

    assert heard == [([1], "default"), ([2], "default")]
    assert "after_claim: " in caplog.text
    assert "RuntimeError: broken hook" in caplog.text


def test_a_batch_is_one_claim(queue: lowq.Backend, heard: list[Any]) -> None:
    queue.push(1)
    queue.push(2)

    Worker(queue, print, batch=2).drain()

    assert heard == [([1, 2], "default")]


@pytest.mark.parametrize("works", [["stop"], [1, "stop"]], ids=["the first", "one that came with a settling"])
@pytest.mark.parametrize("batch", [1, 3])
def test_what_was_claimed_is_given_back_where_that_is_interrupted(
    queue: lowq.Backend, heard: list[Any], works: list[Any], batch: int
) -> None:
    for work in works:
        queue.push(work)

    with pytest.raises(KeyboardInterrupt):
        Worker(queue, print, batch=batch).drain()

    assert [task.work for task in queue.tasks() if task.state == "ready"][-1] == "stop"
    assert queue.count().leased == 0
