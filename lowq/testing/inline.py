"""Inline mode: what is pushed runs before the push returns, on the real claim, run and ack path.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias, get_args

from lowq.backend import InvalidWork, State, Task, Work
from lowq.error_text import annotate, shown
from lowq.rules.canonical import decode, encode
from lowq.run import Run
from lowq.testing.queues import Kept, TempQueue, running_queue, temp_queue
from lowq.testing.worker import SyncWorker

OnError: TypeAlias = Literal["raise", "record"]
"""What a failed handler does to whoever pushed: its exception reaches them, or it is only recorded on the task."""

Lossy: TypeAlias = Literal["warn", "strict"]
"""What becomes of a work that JSON changes, such as a tuple, which comes out as a list."""


class LossyWork(UserWarning):
    """The handler will get another value than the one that was pushed."""


class Inline:
    """Runs what is pushed to the queues of a store, in the thread that pushed it.

    Children run after their parent is acked, first in, first out. What is not due, and what is to be tried again,
    waits for the clock and for the next push or `SyncWorker.drain`.
    """

    def __init__(
        self, store: TempQueue, worker: SyncWorker, *, on_error: OnError = "raise", lossy: Lossy = "warn"
    ) -> None:
        if on_error not in get_args(OnError):
            raise ValueError(f"on_error: expected {' or '.join(get_args(OnError))}, got {on_error!r}")
        if lossy not in get_args(Lossy):
            raise ValueError(f"lossy: expected {' or '.join(get_args(Lossy))}, got {lossy!r}")
        self.worker = worker
        self._store = store
        self._on_error = on_error
        self._lossy = lossy
        self._waiting: deque[Kept] = deque()
        self._busy = False
        self._lock = threading.Lock()

    def check(self, work: Work) -> None:
        """JSON keeps the work, or a LossyWork warning was given, or, in strict mode, InvalidWork raised."""
        if _plain(work) or (path := _changed(work, decode(encode(work)), "work")) is None:
            return
        text = f"{path}, and the handler will get it so"
        if self._lossy == "strict":
            raise InvalidWork(text)
        warnings.warn(text, LossyWork, stacklevel=_outside())

    def pushed(self, kept: Kept, tasks: list[Task]) -> None:
        """What is due has run, and what that pushed; where a task is running, what is due runs after it."""
        with self._lock:
            self._waiting.extend(kept for task in tasks if task.state is State.READY)
            if self._busy:
                return
            self._busy = True
        failed: list[tuple[Kept, Run]] = []
        try:
            while (following := self._following()) is not None:
                run = self.worker.step(following)
                if run is not None and run.outcome in ("retry", "dead"):
                    failed.append((following, run))
        except BaseException:
            self._waiting.clear()
            self._busy = False
            raise
        if failed and self._on_error == "raise":
            self._raise(failed)

    def _following(self) -> Kept | None:
        """The queue whose turn it is; None, and no longer busy: nothing more was pushed."""
        with self._lock:
            self._busy = bool(self._waiting)
            return self._waiting.popleft() if self._waiting else None

    def _raise(self, failed: list[tuple[Kept, Run]]) -> None:
        (kept, run), *others = failed
        if run.error is None:
            return
        annotate(run.error, f"raised by task {run.task.id} of {kept.backend.title}, {_fate(kept, run)}")
        for also, other in others:
            why = "" if other.error is None else f": {shown(other.error)}"
            annotate(run.error, f"task {other.task.id} of {also.backend.title} failed too{why}")
        raise run.error


@contextmanager
def inline(
    queue: TempQueue | None = None,
    *,
    worker: SyncWorker | None = None,
    on_error: OnError = "raise",
    lossy: Lossy = "warn",
) -> Iterator[Inline]:
    """What the application pushes runs before the push returns; inside `temp_queue()`, or in one of its own."""
    with ExitStack() as stack:
        store = queue or running_queue() or stack.enter_context(temp_queue())
        mode = Inline(store, worker or SyncWorker(store), on_error=on_error, lossy=lossy)
        before = store.before_push, store.on_push
        store.before_push, store.on_push = mode.check, mode.pushed
        try:
            yield mode
        finally:
            store.before_push, store.on_push = before


def _outside() -> int:
    """The stack level, for a warning of its caller, of the code that pushed."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("lowq."):
        level, frame = level + 1, frame.f_back
    return level


def _fate(kept: Kept, run: Run) -> str:
    """Which attempt it was, and what becomes of the task."""
    attempt = f"attempt {run.task.attempts} of {kept.retry.max_attempts}"
    if run.next_due is None:
        return f"{attempt}; it is dead now"
    return f"{attempt}; it would run again in {(run.next_due - run.at).total_seconds():.3g} s"


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _plain(given: Any, depth: int = 0) -> bool:
    """Whether JSON, if it can hold `given` at all, surely keeps it as it is; False: a closer look is needed."""
    kind = type(given)
    if kind in _PLAIN:
        return True
    if depth < 50 and kind in (dict, list):
        return all(_plain(part, depth + 1) for part in (given.values() if kind is dict else given))
    return False


def _changed(given: Any, found: Any, path: str) -> str | None:
    """Where JSON makes something else of `given`, or None."""
    if isinstance(given, tuple):
        return f"{path}: the tuple {given!r} is a list in JSON"
    if isinstance(given, list):
        pairs = (
            (one, other, f"{path}[{index}]") for index, (one, other) in enumerate(zip(given, found, strict=True))
        )
    elif isinstance(given, dict):
        pairs = (
            (one, found[key], f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]")
            for key, one in given.items()
        )
    elif type(given) is not type(found):
        return f"{path}: the {type(given).__name__} {given!r} is a plain {type(found).__name__} in JSON"
    else:
        return None
    return next((fault for each in pairs if (fault := _changed(*each)) is not None), None)
