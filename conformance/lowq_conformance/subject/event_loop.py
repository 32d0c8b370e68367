"""Runs what async methods of harnesses and clients return, on one event loop per place and process."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

ENDING = 5.0
"""Seconds that a cancelled coroutine has to end, where who waited for it was interrupted."""
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
        """What `answer` is, or comes to where it is awaitable.

        Where an exception ends the wait, a signal's handler's for one, the awaitable is cancelled, as `asyncio.run`
        does, and has ended: nobody is there any more who would get what it comes to.
        """
        if not inspect.isawaitable(answer):
            return answer

        tasks: list[asyncio.Task[Any]] = []

        async def wait() -> Any:
            if (task := asyncio.current_task()) is not None:
                tasks.append(task)
            return await answer

        loop = self._running()
        if self._here and self._given is None:
            try:
                return loop.run_until_complete(wait())
            except BaseException:
                loop.run_until_complete(_end_tasks(tasks))
                raise
        awaited = asyncio.run_coroutine_threadsafe(wait(), loop)
        try:
            return awaited.result()
        except BaseException:
            if not awaited.done():  # who waits was interrupted; the loop comes to what is asked of it in order
                with suppress(TimeoutError):
                    asyncio.run_coroutine_threadsafe(_end_tasks(tasks), loop).result(ENDING)
            raise

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


async def _end_tasks(tasks: list[asyncio.Task[Any]]) -> None:
    """The tasks have ended, those that had not by being cancelled."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)
