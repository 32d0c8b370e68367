"""Claims that wait, without a thread each: they stand in line, one line for each name, and the first waits for all.

A waitress thread that waited for a task would be missing for everybody else: eight waiting claims would stop a
server of eight threads. So a claim with ``wait=`` does not go to those threads. Whoever stands first in the line of
its queue is answered by that line's own thread, which waits in the queue; those behind cost a connection and nothing
else. A task that comes is given to the first, and the next is first: in the order in which they came. Whose time is
over leaves the line and is answered by an ordinary thread, which looks once more.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import deque
from datetime import timedelta
from itertools import count
from typing import Any
from urllib.parse import parse_qs

from waitress.task import ThreadedTaskDispatcher

from lowq.clock import SystemClock

LEFT = "LOWQ_LEFT"
"""The header that tells the application how long a claim may still wait; whatever a client sent by it is replaced."""

MOST_LINES = 64
"""Names whose claims can wait at once; claims of further names are answered at once, to ask again."""

_PATH = "/api/v1/claim"
_log = logging.getLogger("lowq.web")
_threads_log = logging.getLogger("lowq.web.threads")
_threads_log.setLevel(logging.ERROR)  # waitress warns whenever a request waits for a thread, which is no news


class Waiting:
    """One claim in line: the connection it came by, and when its time is over."""

    __slots__ = ("channel", "taken", "until")

    def __init__(self, channel: Any, until: float) -> None:
        self.channel = channel
        self.until = until
        self.taken = False


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
    """Gives requests to threads, and claims that wait to the lines."""

    queue_logger = _threads_log

    def __init__(self, longest: timedelta) -> None:
        super().__init__()
        self._longest = longest.total_seconds()
        self._lines: dict[str, deque[Waiting]] = {}
        self._ends: list[tuple[float, int, Waiting]] = []
        self._order = count()
        self._changed = threading.Condition()
        self._since = SystemClock().countdown(timedelta(0))
        self._watched = False

    def add_task(self, channel: Any) -> None:
        """A thread will answer the first request of the channel; one that may wait, in its turn."""
        request = channel.requests[0]
        found = _read_wait(request)
        if found is None:
            super().add_task(channel)
            return
        name, seconds = found
        waiting = Waiting(channel, self._now() + min(seconds, self._longest))
        with self._changed:
            line = self._lines.get(name)
            if line is None and len(self._lines) >= MOST_LINES:
                self._answer_now(waiting)
                return
            heapq.heappush(self._ends, (waiting.until, next(self._order), waiting))
            if line is not None:
                line.append(waiting)
            else:
                self._lines[name] = deque([waiting])
                self._thread(lambda: self._serve(name), f"lowq-line-{name}")
            if not self._watched:
                self._watched = True
                self._thread(self._watch, "lowq-line-ends")
            self._changed.notify_all()

    def waiting(self) -> int:
        """How many claims stand in line behind the first ones."""
        with self._changed:
            return sum(map(len, self._lines.values()))

    def _serve(self, name: str) -> None:
        """The first in line is answered, one after another, until nobody stands there."""
        while True:
            with self._changed:
                first = self._leave_line(name)
            if first is None:
                return
            first.channel.requests[0].headers[LEFT] = str(max(0.0, first.until - self._now()))
            try:
                first.channel.service()
            except BaseException:
                _log.exception("a waiting claim could not be answered")

    def _leave_line(self, name: str) -> Waiting | None:
        """Who is the first in line, and stands there no more; None: there is no line any more."""
        line = self._lines[name]
        while line:
            first = line.popleft()
            if not first.taken:
                first.taken = True
                return first
        del self._lines[name]
        return None

    def _watch(self) -> None:
        """Whose time is over, or whose client is gone, leaves its line."""
        with self._changed:
            while True:
                now = self._now()
                self._answer_late(now)
                self._changed.wait(min(self._ends[0][0] - now, 1.0) if self._ends else None)
                self._answer_gone()

    def _answer_late(self, now: float) -> None:
        while self._ends and (self._ends[0][0] <= now or self._ends[0][2].taken):
            waiting = heapq.heappop(self._ends)[2]
            if not waiting.taken:
                self._answer_now(waiting)

    def _answer_gone(self) -> None:
        for _, _, waiting in self._ends:
            if not waiting.taken and not waiting.channel.connected:
                self._answer_now(waiting)

    def _answer_now(self, waiting: Waiting) -> None:
        waiting.taken = True
        waiting.channel.requests[0].headers[LEFT] = "0"
        super().add_task(waiting.channel)

    def _now(self) -> float:
        return -self._since().total_seconds()

    @staticmethod
    def _thread(target: Any, name: str) -> None:
        threading.Thread(target=target, name=name, daemon=True).start()


def _read_wait(request: Any) -> tuple[str, float] | None:
    """The name of the queue and the seconds, where the request is a claim that may wait."""
    request.headers.pop(LEFT, None)
    if request.error or request.command != "POST" or not request.path.endswith(_PATH):
        return None
    try:
        query = parse_qs(request.query, strict_parsing=True, max_num_fields=10)
        seconds = float(query["wait_seconds"][0])
    except (ValueError, KeyError):
        return None  # the application says what is wrong
    return (query.get("name", [""])[0], seconds) if seconds > 0 else None
