"""What a handler returned is run to its end: a coroutine, or what else can be awaited, on a loop of the worker's own.

The loop is made when a handler first returns something to await, runs in the thread that runs the handlers, and is
kept between tasks, so that a client that is bound to a loop lives on. Where a loop runs in that thread already (a
test that is a coroutine), the worker's is run in another thread meanwhile.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from inspect import CORO_CREATED, getcoroutinestate, iscoroutine
from queue import SimpleQueue
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lowq.clock import SystemClock
from lowq.current_task import CurrentTask
from lowq.error_text import in_full, is_a, traceback_of
from lowq.worker import program_log
from lowq.worker.event_loops import EventLoops, descriptors_of, heard, wake_by_signals
from lowq.worker.failure import NotRun, passes
from lowq.worker.returned import is_awaitable, not_run, way_to_wait
from lowq.worker.stopping import Stopping

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

Answer = TypeVar("Answer")

_PATIENCE = timedelta(seconds=1)
"""How long a coroutine that was cancelled may keep its loop from hearing of it, by not awaiting."""

_CLEANING = 2.0
"""Seconds that what is left on the loop has to clean up when the worker ends."""

_STUBBORN = 100
"""So often a loop is run on where something on it wants to end the program."""

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
        self._loops = EventLoops()

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
        self._loops.close(lambda loop: outside_of_loops(lambda: _clean_up(loop)))

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
        if theirs is not None:
            return self._run(theirs, awaitable, current, stop, descriptors_of(theirs).are_lost)
        own = self._loops.take(sys._getframe())
        try:
            return self._run(own.get(), awaitable, current, stop, own.has_lost)
        finally:
            self._loops.leave(own, sys._getframe())

    def _run(
        self,
        loop: AbstractEventLoop,
        awaitable: Any,
        current: CurrentTask | None,
        stop: Canceller | None,
        has_lost: Callable[[], bool],
    ) -> Any:
        flight = Flight(loop, aside=_running_loop() is not None or _in_trio())
        try:
            if current is not None:
                current.flight = flight
                if current.lost:
                    flight.cancel(_lost_error(current))
            if stop is not None:
                stop.cancel = lambda: flight.cancel(Stopping())
                if stop.requested and stop.urgent:
                    stop.cancel()
            context = copy_context()
            return outside_of_loops(lambda: context.run(_fly, loop, awaitable, flight, has_lost), flight.cancel)
        except BaseException as error:
            if flight.reason in (None, error) or not flight.delivered or is_a(error, KeyboardInterrupt):
                raise
            raise flight.reason from error
        finally:
            if current is not None:
                current.flight = None
            if stop is not None:
                stop.cancel = None


def lose(current: CurrentTask) -> None:
    """The current task is another worker's now: its handler can know, and where it is a coroutine it is cancelled."""
    current.lose()
    if (flight := current.flight) is not None:
        flight.cancel(_lost_error(current))


def outside_of_loops(call: Callable[[], Answer], cancel: Callable[[BaseException], bool] | None = None) -> Answer:
    """What `call` answers or raises; where an event loop runs in this thread, it was called in another, meanwhile.

    A worker has no event loop, so a handler may use `asyncio.run`, which a thread with a running loop refuses. An
    exception that a signal handler raises here meanwhile is given to `cancel`; True: the call is about to end.
    """
    loop = _running_loop()
    if loop is None and not _in_trio():
        return call()
    answers: list[Answer] = []
    errors: list[BaseException] = []
    ended: SimpleQueue[None] = SimpleQueue()

    def run() -> None:
        try:
            _leave_library()
            answers.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            ended.put(None)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="lowq-handler")
    _blocked.append(loop)
    try:
        thread.start()
        heard(ended)  # and no `join`: cut off, it takes the thread for ended
        thread.join()
    except BaseException as interruption:
        if cancel is not None and not (answers or errors) and cancel(interruption):
            heard(ended, _CLEANING)
        raise
    finally:
        _blocked.remove(loop)
    for error in errors:
        raise error
    return answers[0]


_blocked: list[AbstractEventLoop | None] = []
"""The loops whose thread waits here for a handler."""


def _clean_up(loop: AbstractEventLoop) -> None:
    import asyncio

    async def clean_up() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLEANING)
        with suppress(TimeoutError):
            await asyncio.wait_for(loop.shutdown_asyncgens(), _CLEANING)

    for _ in range(_STUBBORN):
        running = clean_up()
        try:
            loop.run_until_complete(running)
            return
        except BaseException as error:
            if passes(error):
                raise
            if getcoroutinestate(running) == CORO_CREATED:  # the loop takes no task any more
                running.close()
                return
            _say_beside(error)


def _fly(loop: AbstractEventLoop, awaitable: Any, flight: Flight, has_lost: Callable[[], bool]) -> Any:
    """What the awaitable answered; what it left behind on the loop may go on when the loop next runs."""
    import asyncio

    task: Future[Any] | None = awaitable if isinstance(awaitable, asyncio.Future) else None
    running = None if task is not None else _await_it(awaitable)
    hooks = sys.get_asyncgen_hooks()
    with wake_by_signals(loop):
        try:
            if running is not None:
                task = loop.create_task(running, name="lowq-handler")
            assert task is not None
            flight.begin(task)
            _leave_library()
            answer = _run_to_end(loop, task, flight)
            if type(answer) is _Raised:
                raise answer.error
            return answer
        except BaseException as error:
            sys.set_asyncgen_hooks(*hooks)
            _stand_still(loop)
            if task is None:  # cut off just when it was made; left alone, it would run with the next one
                task = next((each for each in asyncio.all_tasks(loop) if each.get_coro() is running), None)
            if task is None:
                if running is not None:
                    running.close()
                raise
            if isinstance(error, OSError) and task.done() and has_lost():  # the loop's, whose descriptors it closed
                return task.result()
            _let_end(loop, task)  # KeyboardInterrupt, or SystemExit in something beside it: it may clean up
            raise


def _run_to_end(loop: AbstractEventLoop, task: Future[Any], flight: Flight) -> Any:
    """What the task answered, whatever else on the loop, of an earlier handler perhaps, wants to end the program."""
    for _ in range(_STUBBORN):
        try:
            return loop.run_until_complete(task)
        except SystemExit as error:
            if task.done() or flight.reason is not None or not _is_from_callback(error):
                raise
            _stand_still(loop)
            _say_beside(error)
    return loop.run_until_complete(task)


def _is_from_callback(error: BaseException) -> bool:
    """Whether what the loop called raised it, and not a signal's handler just in the loop's own work."""
    from asyncio.events import Handle

    return any(frame.f_code is Handle._run.__code__ for frame, _ in walk_tb(traceback_of(error)))


def _say_beside(error: BaseException) -> None:
    program_log.warn("what a coroutine handler left on the event loop raised, and ended nothing: %s", in_full(error))


def _stand_still(loop: AbstractEventLoop) -> None:
    """The loop, whose run is over, does not say that it runs: a signal may cut it off just before it says so."""
    import asyncio

    if _running_loop() is loop:
        asyncio._set_running_loop(None)
    if getattr(loop, "_thread_id", None) == threading.get_ident():
        loop._thread_id = None  # type: ignore[attr-defined]


def _let_end(loop: AbstractEventLoop, task: Future[Any]) -> None:
    """The task was cancelled, unless it had ended, and had its time to clean up; the loop is fit to run again."""
    import asyncio

    if not task.done():
        task.cancel()
    for _ in range(3):
        with suppress(asyncio.CancelledError, Exception):
            loop.stop()  # a run that was cut off may have left this to do, and would so stop one of the next
            loop.run_forever()
            if not task.done():
                loop.run_until_complete(asyncio.wait([task], timeout=_CLEANING))
            return


async def _await_it(awaitable: Any) -> Any:
    try:
        return await awaitable
    except BaseException as error:
        if not _is_told_by_asyncio(error):
            return _Raised(error)
        raise


class _Raised:
    """What a coroutine raised, where asyncio cannot take it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _is_told_by_asyncio(error: BaseException) -> bool:
    """Whether a loop can ask for the exception's class, which it does before it stops: else it would run for ever."""
    try:
        return isinstance(error, BaseException) and not isinstance(error, int)
    except BaseException:
        return False


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
