"""A call is paused where it was told to be: the next call, not the next look at a method; a coroutine, too."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from lowq_conformance.support.tracepoints import TracedClient

LONG = 0.05
"""Seconds of a pause that is to be seen."""


class Plain:
    def claim(self) -> list[float]:
        first = time.monotonic()
        second = time.monotonic()
        third = time.monotonic()
        return [first, second, third]


class Coroutines:
    async def claim(self) -> list[float]:
        first = time.monotonic()
        await asyncio.sleep(0)
        second = time.monotonic()
        await asyncio.sleep(0)
        third = time.monotonic()
        return [first, second, third]

    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise LookupError("nothing is there")


def traced(raw: object) -> Any:
    client = TracedClient(raw)
    client.counts = True
    return client


def gaps(times: list[float]) -> list[bool]:
    return [later - earlier >= LONG for earlier, later in pairwise(times)]


def test_who_looks_whether_there_is_a_method_does_not_use_up_the_pause_of_its_call() -> None:
    client = traced(Plain())
    client.claim()
    client.pause(0.3, LONG)

    assert callable(getattr(client, "claim", None))
    assert any(gaps(client.claim()))


def test_the_pause_is_over_with_its_call() -> None:
    client = traced(Plain())
    client.claim()
    client.pause(0.3, LONG)
    client.claim()

    assert not any(gaps(client.claim()))


def test_a_coroutine_pauses_between_two_of_its_awaits() -> None:
    client = traced(Coroutines())
    asyncio.run(client.claim())
    lines, _ = client._known["claim"]
    client.pause(0.55, LONG)

    paused = asyncio.run(client.claim())

    assert lines >= 6
    assert any(gaps(paused))


def test_what_a_coroutine_raises_is_raised_to_who_awaits_it() -> None:
    async def caught() -> str:
        try:
            await traced(Coroutines()).fail()
        except LookupError as error:
            return str(error)
        return "nothing"

    assert asyncio.run(caught()) == "nothing is there"


def test_a_cancelled_coroutine_is_told_so() -> None:
    async def cancelled() -> bool:
        task = asyncio.ensure_future(traced(Waits()).claim())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    assert asyncio.run(cancelled())


class Waits:
    async def claim(self) -> None:
        await asyncio.sleep(60)


class Looking:
    """Reads a hundred files, and writes in two steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number in range(100):
            (folder / f"{number}").write_text("")

    def cancel(self) -> None:
        for name in os.listdir(self.folder):
            os.close(os.open(self.folder / name, os.O_RDONLY))
            with open(self.folder / name):
                pass
        (self.folder / "key").write_text("")
        os.unlink(self.folder / "key")


def test_what_only_looks_is_no_step(tmp_path: Path) -> None:
    client = traced(Looking(tmp_path))

    client.cancel()

    _, steps = client._known["cancel"]
    assert steps == 2
