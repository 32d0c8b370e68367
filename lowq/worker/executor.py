"""Where a handler runs: in the worker's own thread, or in a lasting child process that can be killed at a limit."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, Protocol

from lowq.backend import Backend, Lease, Work
from lowq.clock import Clock
from lowq.process.forking import close_private, open_private, spawn
from lowq.process.messages import receive, send
from lowq.worker.failure import Failure, HandlerDied, failure_of, pack, time_is_up, unpack
from lowq.worker.renewal import Watch, extend
from lowq.worker.stopping import Stop, Stopping, disregard

Handler = Callable[[Work], Any]

_SLICE = timedelta(seconds=0.25)
"""How long a parent waits before it looks whether it was asked to stop, or its child died without a word."""


class Executor(Protocol):
    """Runs the handler for one leased task at a time, and keeps the lease alive meanwhile."""

    def run(self, lease: Lease) -> Failure | None:
        """The handler has returned (None) or failed. Raises what is no failure of the task: Stopping and its like."""
        ...

    def close(self) -> None:
        """No thread and no process is left."""
        ...


class Inline:
    """Runs the handler in the calling thread; a thread beside it keeps the lease alive."""

    def __init__(self, handler: Handler, backend: Backend, lease_for: timedelta, clock: Clock, stop: Stop) -> None:
        self._handler = handler
        self._stop = stop
        self._watch = Watch(backend, lease_for, clock, stop)

    def run(self, lease: Lease) -> Failure | None:
        """The handler has returned (None) or raised an Exception or SystemExit."""
        self._watch.hold(lease)
        try:
            return attempt(self._handler, lease.work, self._stop)
        finally:
            self._stop.in_handler = False  # once more: a signal may have come just where `attempt` says so
            self._watch.let_go()

    def close(self) -> None:
        """The thread has ended."""
        self._watch.close()


class LastingChild:
    """Runs the handler in a forked child, which is killed at `time_limit` with all that it started, and replaced.

    The child outlives its tasks, because a fork for each costs many times as much as a small task.
    """

    def __init__(
        self,
        handler: Handler,
        backend: Backend,
        lease_for: timedelta,
        clock: Clock,
        stop: Stop,
        time_limit: timedelta,
    ) -> None:
        self._handler = handler
        self._backend = backend
        self._lease_for = lease_for
        self._clock = clock
        self._stop = stop
        self._time_limit = time_limit
        self._child: _Child | None = None

    def run(self, lease: Lease) -> Failure | None:
        """The handler has returned (None), or raised, or was killed at its limit, or its process died."""
        if self._child is None or self._child.ended():
            self.close()
            self._child = _Child(self._handler)
        try:
            answered, failure = self._await(self._child, lease)
        except BaseException:
            self.close()
            raise
        if not answered:
            self.close()
        return failure

    def close(self) -> None:
        """The child, and the processes of its group, are gone."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _await(self, child: _Child, lease: Lease) -> tuple[bool, Failure | None]:
        """Whether the child answered, and how the handler failed."""
        third = self._lease_for / 3
        limit_left, renewal_left = self._clock.countdown(self._time_limit), self._clock.countdown(third)
        child.ask(lease.work)
        while True:
            nap = max(min(limit_left(), renewal_left(), _SLICE), timedelta(0))
            if self._clock.wait(child.answered, nap):
                return child.answer()
            if limit_left() <= timedelta(0):
                return False, time_is_up(self._time_limit)
            if child.ended():
                return child.answer() if child.answered(0) else (False, child.death())
            if self._stop.requested and self._stop.urgent:
                raise Stopping
            if renewal_left() <= timedelta(0):
                extend(self._backend, lease, self._lease_for)
                renewal_left = self._clock.countdown(third)


class _Child:
    """A forked process that runs the handler for each work it is sent, and ends with its parent."""

    def __init__(self, handler: Handler) -> None:
        self._status: int | None = None
        works, self._works, self._answers, answers, lifeline, self._lifeline = open_private(
            lambda: (*os.pipe(), *os.pipe(), *os.pipe())
        )
        theirs = (works, answers, lifeline)
        try:
            self.pid = spawn(lambda: _serve(handler, *theirs), keep=theirs)
        except BaseException:
            close_private(self._works, self._answers, self._lifeline, *theirs)
            raise
        with suppress(OSError):  # it does so itself; whoever is first
            os.setpgid(self.pid, self.pid)
        close_private(*theirs)

    def ask(self, work: Work) -> None:
        """The work was sent; that the child is dead shows later."""
        with suppress(BrokenPipeError):
            send(self._works, work)

    def answered(self, seconds: float) -> bool:
        """Whether, within that long, the child has something to say or its end of the pipe is closed."""
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def answer(self) -> tuple[bool, Failure | None]:
        """Whether the child answered, and how the handler failed; where the child died instead, that."""
        try:
            packed = receive(self._answers)
        except EOFError:
            self.ended(block=True)
            return False, self.death()
        return True, None if packed is None else unpack(packed)

    def ended(self, *, block: bool = False) -> bool:
        """Whether the process has ended; what it started is then killed."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self.pid, 0 if block else os.WNOHANG)
            except ChildProcessError:  # the program reaps all children, or has the kernel do so
                pid, status = self.pid, 0
            if pid:
                self._status = status
                self._kill_group()
        return self._status is not None

    def death(self) -> Failure:
        """How the process ended."""
        code = os.waitstatus_to_exitcode(self._status or 0)
        how = f"ended with status {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        text = f"the process that ran this task {how} before the handler returned"
        return Failure(HandlerDied(text), text)

    def kill(self) -> None:
        """The process and what it started are gone."""
        if not self.ended():
            self._kill_group()
            self.ended(block=True)
        close_private(self._works, self._answers, self._lifeline)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of which only zombies are left
            os.killpg(self.pid, signal.SIGKILL)


def check_handler(handler: object) -> None:
    """Raise TypeError unless `handler` can be called and does its work when it is."""
    if not callable(handler):
        raise TypeError(f"handler: expected a function of one work, got {type(handler).__name__}")
    if iscoroutinefunction(handler) or iscoroutinefunction(getattr(handler, "__call__", None)):  # noqa: B004 (its code, not whether it can be called)
        raise TypeError(
            "handler: a coroutine function would never run; wrap it: lambda work: asyncio.run(handler(work))"
        )


def attempt(handler: Handler, work: Work, stop: Stop) -> Failure | None:
    """How the handler failed, or None. Raises what is no failure of the task: Stopping, KeyboardInterrupt, …

    SystemExit is a failure: a program's `main`, called by a handler, must not end the queue.
    """
    try:
        try:
            stop.enter_handler()
            handler(work)
        finally:
            stop.in_handler = False
    except (Exception, SystemExit) as error:
        return failure_of(error)
    return None


def _serve(handler: Handler, works: int, answers: int, lifeline: int) -> None:
    """Run the handler for each work until the parent is gone."""
    with suppress(OSError):  # the parent does so too
        os.setpgid(0, 0)
    for number in (signal.SIGTERM, signal.SIGINT):  # these ask the parent, which tells this child what to do
        signal.signal(number, disregard)
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="lowq-lifeline", daemon=True).start()
    while True:
        try:
            work = receive(works)
        except EOFError:
            return
        try:
            handler(work)
            answer = None
        except BaseException as error:
            answer = pack(failure_of(error))
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        send(answers, answer)


def _end_with_parent(lifeline: int) -> None:
    """When the parent is gone, however it went, end this process and what it started."""
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
