"""Keeps the event loops that a worker makes, and closes each one, however a call on it ends.

An exception of a signal handler may cut off any call. Therefore a loop is made in a thread beside, in which none is
raised; who runs it is a frame that holds a lock, and is free again however that frame ended; and what no `close` came
to is closed when its owner is gone. So none is left open to be collected somewhere else.

A signal is answered as soon as the loop's wait for what happens is over, which may be never: Python runs the answer
between two instructions, and one that came just before the wait began, or to another thread, does not end the wait.
So while a loop runs in the main thread, each signal writes to the loop's own pipe, as asyncio has it for its own.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from inspect import iscoroutine
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING, Any

from lowq.clock import monotonic
from lowq.framelock import FrameLock
from lowq.process.descriptors import Descriptors
from lowq.process.forking import file_at

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

LOOK = 0.5
"""Seconds after which a wait for a thread is begun anew: a signal that came just before it began is answered then."""


class OwnLoop:
    """A loop and what it has open; None until it is made, and once it is closed."""

    def __init__(self) -> None:
        self.loop: AbstractEventLoop | None = None
        self._made: SimpleQueue[None] = SimpleQueue()
        self._descriptors = Descriptors()
        self._error: BaseException | None = None
        self._dropped = False

    def open(self) -> AbstractEventLoop:
        """The loop, which was made in a thread beside. Raises what its making raised."""
        import asyncio  # noqa: F401  here, since a module that one thread imports keeps the others waiting

        thread = threading.Thread(target=self._make, name="lowq-loop", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a program that ends can have no more threads
            self._make()
        heard(self._made)
        return self.get()

    def get(self) -> AbstractEventLoop:
        """The loop. Raises what its making raised."""
        error, self._error = self._error, None
        if self.loop is None:
            raise error or RuntimeError("the worker's event loop was closed while it was made")
        return self.loop

    def is_usable(self) -> bool:
        """Whether it is open and nobody runs it; a handler may have closed it, or run it in another thread."""
        return self.loop is not None and not self.loop.is_closed() and not self.loop.is_running()

    def is_closed(self) -> bool:
        """Whether it is closed, or was not made."""
        return self.loop is None or self.loop.is_closed()

    def is_lost(self) -> bool:
        """Whether a handler has closed its descriptors: it cannot run what is left on it."""
        return self._descriptors.is_highest_lost()

    def has_lost(self) -> bool:
        """Whether any of its descriptors is another file's now, or nobody's."""
        return self._descriptors.are_lost()

    def drop(self) -> None:
        """It is closed without running again: what was left on it ends where it waits."""
        self._dropped = True
        loop = self.loop
        if loop is None or loop.is_closed() or loop.is_running():
            return
        import asyncio

        for task in asyncio.all_tasks(loop):
            coroutine = task.get_coro()
            with suppress(Exception):
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # as asyncio's own do
                if iscoroutine(coroutine):
                    coroutine.close()
        with self._descriptors.made_harmless(), suppress(Exception):
            _close(loop)

    def _make(self) -> None:
        import asyncio
        from concurrent.futures import ThreadPoolExecutor

        class Threads(ThreadPoolExecutor):
            """Threads for `run_in_executor`, in which the current task is known."""

            def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
                return super().submit(copy_context().run, call, *args, **kwargs)

        loop: AbstractEventLoop | None = None
        try:
            loop = asyncio.new_event_loop()
            with suppress(AttributeError):  # a loop written in C has a clock of its own
                loop.time = monotonic  # type: ignore[method-assign]  # or it stands still where a test froze time
            self._descriptors = descriptors_of(loop)
            loop.set_default_executor(Threads(thread_name_prefix="lowq-handler"))
            self.loop = loop
        except BaseException as error:
            self._error = error
            if loop is not None:
                _close(loop)
        if self._dropped:  # by somebody who was cut off and did not wait for this
            self.drop()
        self._made.put(None)


class EventLoops:
    """The loops of one worker: one, and another for each call that comes while the others run."""

    def __init__(self) -> None:
        self._made: list[OwnLoop] = []
        self._locks: dict[OwnLoop, FrameLock] = {}
        """Apart from them, since a lock knows a frame, and that may know this object, which `_sweep` waits for."""
        weakref.finalize(self, _sweep, self._made, os.getpid()).atexit = False

    def take(self, frame: FrameType) -> OwnLoop:
        """One that is open, for this call alone until it leaves it or `frame` runs no more."""
        for own in self._made.copy():
            if not self._lock(own).take_if_free(frame):
                continue
            if own.is_lost():
                own.drop()
            if own.is_usable():
                return own
            if own.is_closed():
                self._forget(own)
            else:
                self._lock(own).leave(frame)
        own = OwnLoop()
        self._lock(own).take_if_free(frame)
        self._made.append(own)
        own.open()
        return own

    def leave(self, own: OwnLoop, frame: FrameType) -> None:
        """The loop is another call's to take."""
        self._lock(own).leave(frame)

    def close(self, end: Callable[[AbstractEventLoop], None]) -> None:
        """All are closed, after `end` has cleaned up on each; one that another thread runs, when it runs no more."""
        for own in self._made.copy():
            loop = own.loop
            if loop is not None and not own.is_lost() and own.is_usable():
                try:
                    end(loop)
                finally:
                    _close(loop)
            else:
                own.drop()
            if own.is_closed():
                self._forget(own)

    def _lock(self, own: OwnLoop) -> FrameLock:
        return self._locks.setdefault(own, FrameLock())

    def _forget(self, own: OwnLoop) -> None:
        own.drop()
        with suppress(ValueError):
            self._made.remove(own)
        self._locks.pop(own, None)


def heard(queue: SimpleQueue[None], patience: float = math.inf) -> bool:
    """Whether something was put there within that many seconds; signals are answered meanwhile."""
    while patience > 0:
        try:
            queue.get(timeout=min(LOOK, patience))
        except Empty:
            patience -= LOOK
        else:
            return True
    return False


@contextmanager
def wake_by_signals(loop: AbstractEventLoop) -> Iterator[None]:
    """Inside, a signal ends the loop's wait at once, where this is the main thread and the loop one of asyncio's.

    Not where the program has its signals written to a descriptor of its own, which would miss them.
    """
    try:
        number: int = loop._csock.fileno()  # type: ignore[attr-defined]
    except Exception:  # another library's loop, which sees to this by itself
        number = -1
    if number < 0 or threading.current_thread() is not threading.main_thread() or not _write_signals(number):
        yield
        return
    try:
        yield
    finally:
        if not getattr(loop, "_signal_handlers", None):  # else a handler has asked it to answer some from now on
            _write_signals_no_more(number)


_ours = -1
"""The descriptor of a loop of ours to which signals are written."""


def _write_signals(number: int) -> bool:
    """Whether each signal is written to that descriptor now, and not to one of the program's own."""
    global _ours
    ours, _ours = _ours, number
    try:
        before = signal.set_wakeup_fd(number, warn_on_full_buffer=False)
        if before in (-1, number, ours):
            return True
        signal.set_wakeup_fd(before)
    except ValueError:  # not the main interpreter, or what the program closed meanwhile
        pass
    _ours = -1
    return False


def _write_signals_no_more(number: int) -> None:
    """Signals are not written to that descriptor of ours, which will be another's."""
    global _ours
    if _ours != number or number < 0 or threading.current_thread() is not threading.main_thread():
        return
    with suppress(ValueError):
        before = signal.set_wakeup_fd(-1)
        if before not in (-1, number):
            signal.set_wakeup_fd(before)
    _ours = -1


def _close(loop: AbstractEventLoop) -> None:
    with suppress(Exception):
        _write_signals_no_more(loop._csock.fileno())  # type: ignore[attr-defined]
    loop.close()


_parents: list[OwnLoop] = []
"""Loops that a forked process has from its parent, and neither uses nor closes: they share an epoll."""


def _sweep(loops: list[OwnLoop], pid: int) -> None:
    """None of them is left open, now that whoever made them is gone."""
    if os.getpid() != pid:
        _parents.extend(loops)
        return
    for own in loops:
        own.drop()


def descriptors_of(loop: AbstractEventLoop) -> Descriptors:
    """What a loop of asyncio's has open; nothing is known of another library's."""
    known = {}
    for name in ("_selector", "_ssock", "_csock"):
        with suppress(Exception):
            number = getattr(loop, name).fileno()
            if (file := file_at(number)) is not None:
                known[number] = file
    return Descriptors(known)


def _leave_parents_pipe() -> None:
    """A signal to a process that a handler forked is not written to the loop of its parent."""
    _write_signals_no_more(_ours)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_parents_pipe)
