"""Runs what async methods of harnesses and clients return, on one event loop per place and process."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from typing import Any

Given = Callable[[], asyncio.AbstractEventLoop]
"""Gives a loop that somebody else runs, in a thread that never calls the suite."""


class Loop:
    """An event loop, made when the first awaitable comes.

    It runs in a thread of its own, or with `here` in the thread that asks, or it is the one that is `given`. A forked
    child has none of its parent's threads, and so makes a loop anew.
    """

    def __init__(self, given: Given | None = None, *, here: bool = False) -> None:
        self._given, self._here = given, here
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._pid = os.getpid()

    def result(self, answer: Any) -> Any:
        """What `answer` is, or comes to where it is awaitable."""
        if not inspect.isawaitable(answer):
            return answer

        async def wait() -> Any:
            return await answer

        loop = self._running()
        if self._here and self._given is None:
            return loop.run_until_complete(wait())
        return asyncio.run_coroutine_threadsafe(wait(), loop).result()

    def close(self) -> None:
        """The loop is stopped and let go, unless it was given."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is None or self._given is not None or self._pid != os.getpid():
            return
        if thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
        loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            self._pid, self._loop, self._thread, self._starting = os.getpid(), None, None, threading.Lock()
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop() if self._given is None else self._given()
                if self._given is None and not self._here:
                    self._thread = threading.Thread(target=self._loop.run_forever, name="lowq-loop", daemon=True)
                    self._thread.start()
            return self._loop
