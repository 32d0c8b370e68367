"""Inline mode: what is pushed runs before the push returns, on the real claim, run and ack path.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

from lowq.backend import InvalidWork, Lease, LowqWarning, State, Task, Work
from lowq.error_text import annotate, show_error
from lowq.rules.canonical import decode, encode
from lowq.rules.own_work import level_outside
from lowq.run import Run
from lowq.testing.observed import pushing
from lowq.testing.queues import Store, TempQueue, running_queue, temp_queue
from lowq.testing.worker import SyncWorker

OnError: TypeAlias = Literal["raise", "record"]
"""What a failed handler does to whoever pushed: its exception reaches them, or it is only recorded on the task."""

Lossy: TypeAlias = Literal["warn", "strict"]
"""What becomes of a work that JSON changes, such as a tuple, which comes out as a list."""


class LossyWork(LowqWarning):
    """The handler will get another value than the one that was pushed."""


class _Round:
    """What one push has yet to run: its own tasks, and what those push meanwhile."""

    def __init__(self, mode: Inline) -> None:
        self.mode = mode
        self.own: set[tuple[int, str]] = set()
        """Its tasks that did not run yet, by the identity of their queue and their id."""
        self.turns: deque[Store] = deque()
        """The queues of its tasks, in the order of their pushes."""
        self.failed: list[tuple[Store, Run]] = []
        self.ended = False

    def take(self, kept: Store, tasks: list[Task]) -> None:
        """They are its own."""
        self.own |= {(id(kept), task.id) for task in tasks}
        self.turns.extend(kept for _ in tasks)


_current: ContextVar[_Round | None] = ContextVar("lowq_inline_round", default=None)
"""The push whose tasks are being run, for what their handlers push: also in threads and coroutines of theirs."""


class Inline:
    """Runs what is pushed to the queues of a store, in the thread that pushed it, before the push returns.

    Children run after their parent is acked, first in, first out. What is not due, and what is to be tried again,
    waits for the clock and for the next push or `SyncWorker.drain`. Threads push and run side by side, each its own.
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
        self._rounds: list[_Round] = []

    def check(self, work: Work) -> None:
        """JSON keeps the work, or a LossyWork warning was given, or, in strict mode, InvalidWork raised."""
        if _plain(work) or (path := _find_change(work, decode(encode(work)), "work")) is None:
            return
        text = f"{path}, and the handler will get it so"
        if self._lossy == "strict":
            raise InvalidWork(text)
        warnings.warn(text, LossyWork, stacklevel=level_outside())

    def after_push(self, kept: Store, tasks: list[Task]) -> Callable[[], None]:
        """What is due belongs to this push; what is answered runs it, unless a handler pushed it: then it runs later.

        Nobody else could take it yet: the caller holds `pushing`.
        """
        due = [task for task in tasks if task.state is State.READY]
        parent = _current.get()
        if parent is not None and parent.mode is self and not parent.ended:
            parent.take(kept, due)
            return _nothing
        mine = _Round(self)
        mine.take(kept, due)
        self._rounds.append(mine)
        return partial(self._run, mine)

    def _run(self, mine: _Round) -> None:
        """The tasks of this push have run, and what they pushed; the first error was raised."""
        token = _current.set(mine)
        try:
            while (kept := self._following(mine)) is not None:
                run = self.worker.step(kept, partial(self._claim, mine, kept))
                if run is None:  # it was cancelled, or a worker of the test has it
                    continue
                if (id(kept), run.task.id) not in mine.own:  # due before, from an earlier push: it only went first
                    mine.turns.appendleft(kept)
                    continue
                mine.own.discard((id(kept), run.task.id))
                if run.outcome in ("retry", "dead") and run.error is not None:
                    mine.failed.append((kept, run))
        finally:
            _current.reset(token)
            with pushing:
                mine.ended = True
                self._rounds.remove(mine)
        if mine.failed and self._on_error == "raise":
            self._raise(mine.failed)

    def _following(self, mine: _Round) -> Store | None:
        """The queue whose turn it is; None, and the round has ended: nothing more was pushed."""
        with pushing:
            mine.ended = not mine.turns
            return mine.turns.popleft() if mine.turns else None

    def _claim(self, mine: _Round, kept: Store) -> Lease | None:
        """The most urgent due task that is not of another push; the others were put back as they were."""
        with pushing:
            others = set().union(*(each.own for each in self._rounds if each is not mine))
            passed: list[Lease] = []
            try:
                while True:
                    lease = kept.backend.claim(lease_for=kept.lease_for)
                    if lease is None or (id(kept), lease.id) not in others or "release" not in kept.backend.promises:
                        return lease
                    passed.append(lease)
            finally:
                for each in passed:
                    kept.backend.release(each, reason=each.task.reason, uncount=True)

    def _raise(self, failed: list[tuple[Store, Run]]) -> None:
        (kept, run), *others = failed
        if run.error is None:
            return
        annotate(run.error, f"raised by task {run.task.id} of {kept.backend.title}, {_fate(kept, run)}")
        for also, other in others:
            why = "" if other.error is None else f": {show_error(other.error)}"
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
        store.before_push, store.on_push = mode.check, mode.after_push
        try:
            yield mode
        finally:
            store.before_push, store.on_push = before


def _fate(kept: Store, run: Run) -> str:
    """Which attempt it was, and what becomes of the task."""
    attempt = f"attempt {run.attempt} of {kept.retry.max_attempts}"
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


def _find_change(given: Any, found: Any, path: str) -> str | None:
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
    return next((fault for each in pairs if (fault := _find_change(*each)) is not None), None)


def _nothing() -> None:
    """What a handler pushed runs after its parent."""
