"""One event loop per place and process, for harnesses and clients whose methods are async."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any


class Loop:
    """An event loop in a thread of its own, started when the first awaitable comes."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def result(self, answer: Any) -> Any:
        """What `answer` is, or comes to where it is awaitable."""
        if not inspect.isawaitable(answer):
            return answer

        async def wait() -> Any:
            return await answer

        return asyncio.run_coroutine_threadsafe(wait(), self._running()).result()

    def close(self) -> None:
        """The loop is stopped and let go."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="lowq-loop", daemon=True)
                self._thread.start()
            return self._loop
