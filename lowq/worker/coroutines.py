"""What a handler returned is run to its end: a coroutine, or what else can be awaited, on a loop of the worker's own.

The loop is made when a handler first returns something to await, runs in the thread that runs the handlers, and is
kept between tasks, so that a client that is bound to a loop lives on. Where a loop runs in that thread already (a
test that is a coroutine), the worker's is run in another thread meanwhile.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lowq.clock import SystemClock, monotonic
from lowq.current_task import CurrentTask
from lowq.error_text import is_a
from lowq.process.descriptors import Descriptors
from lowq.process.forking import file_at
from lowq.worker.failure import NotRun
from lowq.worker.returned import is_awaitable, not_run, way_to_wait
from lowq.worker.stopping import Stopping

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

Answer = TypeVar("Answer")

_PATIENCE = timedelta(seconds=1)
"""How long a coroutine that was cancelled may keep its loop from hearing of it, by not awaiting."""

_CLEANING = 2.0
"""Seconds that what is left on the loop has to clean up when the worker ends."""

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


class Flight:
    """One coroutine of a handler on its way; it may be cancelled from anywhere, a signal handler included."""

    def __init__(self, loop: AbstractEventLoop, *, aside: bool) -> None:
        self.reason: BaseException | None = None
        self._loop = loop
        self._aside = aside
        self._task: Future[Any] | None = None
        self.delivered = False
        self._left: Callable[[], timedelta] | None = None

    def begin(self, task: Future[Any]) -> None:
        """This is the task to cancel; it is, if that was asked for before."""
        self._task = task
        if self.reason is not None:
            self._deliver()

    def cancel(self, reason: BaseException) -> bool:
        """The coroutine is cancelled, once, and `reason` raised in its place; False: it has not heard for a while.

        That is so where it computes, or waits, without awaiting: then only an exception in its thread ends it.
        """
        if self.reason is None:
            self._left = SystemClock().countdown(_PATIENCE)
            self.reason = reason
            with suppress(RuntimeError):  # it ended just now, and its loop too
                self._loop.call_soon_threadsafe(self._deliver)
            return True
        return self.delivered or self._aside or (self._left is not None and self._left() > timedelta(0))

    def _deliver(self) -> None:
        if self._task is not None:
            self.delivered = True
            self._task.cancel()


class Canceller(Protocol):
    """Who may want the coroutine in flight cancelled: a Stop, or the parent of a child process."""

    cancel: Callable[[], bool] | None
    """Put here while one is in flight."""

    @property
    def requested(self) -> bool:
        """Whether the worker is to stop."""
        ...

    @property
    def urgent(self) -> bool:
        """Whether the task in hand is to be given back now."""
        ...


class Coroutines:
    """Runs what handlers return, one at a time; the loop is this worker's alone, and `close` ends it."""

    def __init__(self) -> None:
        self._loop: AbstractEventLoop | None = None
        self._descriptors = Descriptors()

    def finish(self, returned: Any, current: CurrentTask | None = None, stop: Canceller | None = None) -> None:
        """Nothing of what a handler returned is left to run. Raises what it raised, or NotRun: nobody can run it."""
        for _ in range(10):
            if type(returned) in _PLAIN:
                return
            if (wait := way_to_wait(returned)) is not None:
                returned = wait()
            elif is_awaitable(returned):
                if iscoroutine(returned) and returned.cr_frame is None:  # the handler ran it to its end by itself
                    return
                returned = self._await(returned, current, stop)
            elif (what := not_run(returned)) is not None:
                raise NotRun(f"the handler returned {what}")
            else:
                return
        raise NotRun("the handler returned what can be awaited, which answered with another, and so on: ten times")

    def close(self) -> None:
        """What was left on the loop is cancelled, async generators are closed, and the loop is."""
        self._drop_lost()
        loop, self._loop = self._loop, None
        if loop is None or loop.is_closed():
            return
        import asyncio

        async def clean_up() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLEANING)
            with suppress(TimeoutError):
                await asyncio.wait_for(loop.shutdown_asyncgens(), _CLEANING)

        def end() -> None:
            try:
                loop.run_until_complete(clean_up())
            finally:
                loop.close()

        outside_of_loops(end)

    def _await(self, awaitable: Any, current: CurrentTask | None, stop: Canceller | None) -> Any:
        import asyncio

        theirs = awaitable.get_loop() if isinstance(awaitable, asyncio.Future) else None
        if isinstance(awaitable, asyncio.Future) and (awaitable.done() or theirs is None):
            return awaitable.result()
        if theirs is not None and theirs.is_running():
            if theirs in _blocked or theirs is _running_loop():
                raise NotRun(
                    "the handler returned a task of the event loop that waits for this handler: return the coroutine "
                    "itself, which then runs on the worker's loop"
                )
            return asyncio.run_coroutine_threadsafe(_await_it(awaitable), theirs).result()
        loop = theirs or self._open_loop()
        if loop.is_running():  # by another thread of a test, or around a handler that runs a task itself
            other = Coroutines()
            try:
                return other._await(awaitable, current, stop)
            finally:
                other.close()
        flight = Flight(loop, aside=_running_loop() is not None or _in_trio())
        if current is not None:
            current.flight = flight
            if current.lost:
                flight.cancel(_lost_error(current))
        if stop is not None:
            stop.cancel = lambda: flight.cancel(Stopping())
            if stop.requested and stop.urgent:
                stop.cancel()
        context = copy_context()
        try:
            return outside_of_loops(lambda: context.run(_fly, loop, awaitable, flight))
        except BaseException as error:
            if flight.reason is None or not flight.delivered or is_a(error, KeyboardInterrupt):
                raise
            raise flight.reason from error
        finally:
            if current is not None:
                current.flight = None
            if stop is not None:
                stop.cancel = None

    def _drop_lost(self) -> None:
        """There is no loop whose descriptors a handler has closed: it cannot run what is left on it."""
        loop = self._loop
        if loop is None or not self._descriptors.is_highest_lost():
            return
        import asyncio

        self._loop = None
        for task in asyncio.all_tasks(loop):
            coroutine = task.get_coro()
            with suppress(Exception):
                if iscoroutine(coroutine):
                    coroutine.close()
        with self._descriptors.made_harmless(), suppress(Exception):
            loop.close()

    def _open_loop(self) -> AbstractEventLoop:
        self._drop_lost()
        if self._loop is None or self._loop.is_closed():
            import asyncio
            from concurrent.futures import ThreadPoolExecutor

            class Threads(ThreadPoolExecutor):
                """Threads for `run_in_executor`, in which the current task is known."""

                def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
                    return super().submit(copy_context().run, call, *args, **kwargs)

            self._loop = asyncio.new_event_loop()
            with suppress(AttributeError):  # a loop written in C has a clock of its own
                self._loop.time = monotonic  # type: ignore[method-assign]  # or it stands still where a test froze time
            self._descriptors = _descriptors_of(self._loop)
            self._loop.set_default_executor(Threads(thread_name_prefix="lowq-handler"))
        return self._loop


def lose(current: CurrentTask) -> None:
    """The current task is another worker's now: its handler can know, and where it is a coroutine it is cancelled."""
    current.lose()
    if (flight := current.flight) is not None:
        flight.cancel(_lost_error(current))


def outside_of_loops(call: Callable[[], Answer]) -> Answer:
    """What `call` answers or raises; where an event loop runs in this thread, it was called in another, meanwhile.

    A worker has no event loop, so a handler may use `asyncio.run`, which a thread with a running loop refuses.
    """
    loop = _running_loop()
    if loop is None and not _in_trio():
        return call()
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            _leave_library()
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="lowq-handler")
    _blocked.append(loop)
    try:
        thread.start()
        thread.join()
    finally:
        _blocked.remove(loop)
    for error in errors:
        raise error
    return answers[0]


_blocked: list[AbstractEventLoop | None] = []
"""The loops whose thread waits here for a handler."""


def _descriptors_of(loop: AbstractEventLoop) -> Descriptors:
    """What a loop of asyncio's has open; nothing is known of another library's."""
    known = {}
    for name in ("_selector", "_ssock", "_csock"):
        with suppress(Exception):
            number = getattr(loop, name).fileno()
            if (file := file_at(number)) is not None:
                known[number] = file
    return Descriptors(known)


def _fly(loop: AbstractEventLoop, awaitable: Any, flight: Flight) -> Any:
    """What the awaitable answered; what it left behind on the loop may go on when the loop next runs."""
    import asyncio

    task: Future[Any] = (
        awaitable
        if isinstance(awaitable, asyncio.Future)
        else loop.create_task(_await_it(awaitable), name="lowq-handler")
    )
    flight.begin(task)
    _leave_library()
    try:
        return loop.run_until_complete(task)
    except BaseException as error:
        if isinstance(error, OSError) and task.done():  # the loop's, whose descriptors it has closed
            return task.result()
        if not task.done():  # KeyboardInterrupt, or SystemExit in something beside it: it may clean up
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                loop.run_until_complete(asyncio.wait([task], timeout=_CLEANING))
        raise


async def _await_it(awaitable: Any) -> Any:
    return await awaitable


def _lost_error(current: CurrentTask) -> BaseException:
    from lowq.backend import LeaseLost

    return LeaseLost(f"another worker has task {current.id} now, so its handler's coroutine was cancelled")


def _running_loop() -> AbstractEventLoop | None:
    """The event loop that runs in this thread, in a program that has coroutines at all."""
    if (events := sys.modules.get("asyncio.events")) is None:
        return None
    found: AbstractEventLoop | None = events._get_running_loop()
    return found


def _in_trio() -> bool:
    """Whether trio runs in this thread."""
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    if lowlevel is None:
        return False
    try:
        lowlevel.current_trio_token()
    except RuntimeError:
        return False
    return True


def _leave_library() -> None:
    """What sniffio was told of the library that runs around us does not hold in this thread."""
    if (variable := getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)) is not None:
        variable.set(None)
