"""The loop on which async methods of harnesses are awaited."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import pytest
from lowq_conformance.subject.event_loop import Loop


class Rang(KeyboardInterrupt):
    """What the signal's handler raised."""


def ring(*_: object) -> None:
    raise Rang


@pytest.mark.parametrize("here", [False, True])
def test_who_waits_is_interrupted_and_what_it_waited_for_ends_cancelled(here: bool) -> None:
    loop, seen = Loop(here=here), list[str]()

    async def call() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGALRM)).start()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cancelled")
            raise

    async def next_call() -> str:
        return "works on"

    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(Rang):
            loop.result(call())
        assert seen == ["cancelled"]
        assert loop.result(next_call()) == "works on"
    finally:
        signal.signal(signal.SIGALRM, before)
        loop.close()


@pytest.mark.parametrize("here", [False, True])
def test_what_a_call_raises_is_raised_and_what_it_left_running_runs_on(here: bool) -> None:
    loop, left = Loop(here=here), list[asyncio.Task[Any]]()

    async def call() -> None:
        left.append(asyncio.ensure_future(asyncio.sleep(60)))
        raise LookupError("no such task")

    async def end() -> None:
        assert not left[0].done()
        left[0].cancel()
        await asyncio.wait(left)

    try:
        with pytest.raises(LookupError, match="no such task"):
            loop.result(call())
        loop.result(end())
    finally:
        loop.close()
