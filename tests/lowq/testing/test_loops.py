"""A test that is a coroutine: handlers run as they do in a worker, where there is no event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from lowq.testing import SyncWorker, TempQueue, inline, temp_queue
from lowq.testing.queues import OpenAt

language: ContextVar[str] = ContextVar("language", default="none")


@pytest.fixture
def store(open_at: OpenAt | None) -> Iterator[TempQueue]:
    with temp_queue(backend=open_at) as store:
        yield store


@pytest.fixture
def seen(store: TempQueue) -> list[Any]:
    """What a handler saw that is a coroutine, run by asyncio.run as one that goes through lowq must be."""
    works: list[Any] = []

    async def handler(work: Any) -> None:
        await asyncio.sleep(0)
        works.append((work, language.get()))
        if work == "parent":
            store.backend().push("child")
        if work == "bad":
            raise ValueError(work)

    store.handle(None, lambda work: asyncio.run(handler(work)))
    return works


def test_a_handler_may_run_a_loop_of_its_own(store: TempQueue, seen: list[Any]) -> None:
    async def test() -> None:
        language.set("fr")
        with inline(store):
            store.backend().push("parent")

    asyncio.run(test())

    assert seen == [("parent", "fr"), ("child", "fr")]


def test_what_it_raises_reaches_the_coroutine_that_pushed(store: TempQueue, seen: list[Any]) -> None:
    async def test() -> None:
        with inline(store), pytest.raises(ValueError, match="bad"):
            store.backend().push("bad")

    asyncio.run(test())

    assert seen == [("bad", "none")]


def test_handlers_of_drain_and_crash_see_no_running_loop(store: TempQueue, seen: list[Any]) -> None:
    worker = SyncWorker(store)

    async def test() -> None:
        store.backend().push("a")
        store.backend().push("b")
        store.backend().push("c")
        worker.crash(at="during", lines=0)
        worker.crash(at="after")
        worker.drain()

    asyncio.run(test())

    assert seen == [("b", "none"), ("c", "none")]


def test_without_a_loop_a_handler_runs_in_the_thread_of_the_test(store: TempQueue) -> None:
    seen: list[str] = []
    store.handle(None, seen.append)
    with inline(store):
        store.backend().push("a")

    assert seen == ["a"]
