"""A lasting child process that runs a handler, and can be killed at a limit with all that it started.

The parent never waits for the child without a bound, whatever a handler does there: it may close all descriptors,
suspend its process, or leave a large work unread.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from lowq import kernel
from lowq.backend import Backend, Lease
from lowq.clock import Clock, shift
from lowq.current_task import CurrentTask
from lowq.process.forking import Confined, close_private, holds, open_private
from lowq.process.lifeline import end_with_parent
from lowq.process.messages import Flags, Inbox, Outbox, Slate, receive, send
from lowq.worker.connections import LookedAfter
from lowq.worker.coroutines import Coroutines, lose
from lowq.worker.executor import call
from lowq.worker.failure import Failure, HandlerDied, failure_of, pack, time_is_up, unpack
from lowq.worker.forks import spawn_worker
from lowq.worker.handler import Handler
from lowq.worker.logfile import follow_log
from lowq.worker.renewal import extend, renewal_pause
from lowq.worker.stopping import Stop, Stopping, disregarding, hear

_LOST, _CANCEL, _IN_COROUTINE = range(3)
"""Flags: the parent lost the lease; it wants the coroutine in flight cancelled; one is in flight in the child."""

_CLEANING = timedelta(seconds=1)
"""How long a coroutine that was cancelled, at its limit say, has to clean up."""

_SLICE = timedelta(seconds=0.25)
"""How long a parent waits before it looks whether it was asked to stop, or its child died without a word."""


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

    def run(self, current: CurrentTask) -> Failure | None:
        """The handler has returned (None), or raised, or was killed at its limit, or its process died."""
        if self._child is None or self._child.ended():
            self.close()
            self._child = _Child(self._handler, self._backend)
        try:
            lasts, failure = self._await(self._child, current)
        except BaseException:
            self.close()
            raise
        if not lasts:
            self.close()
        if failure is not None and failure.passes:
            raise failure.error
        return failure

    def close(self) -> None:
        """The child, and the processes of its group, are gone."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def _await(self, child: _Child, current: CurrentTask) -> tuple[bool, Failure | None]:
        """Whether the child will do for the next task, and how the handler failed."""
        pause = renewal_pause(self._lease_for)
        limit_left, renewal_left = self._clock.countdown(self._time_limit), self._clock.countdown(pause)
        child.ask(current, shift(self._clock.now(), self._time_limit))
        while True:
            nap = max(min(limit_left(), renewal_left(), _SLICE), timedelta(0))
            if self._clock.wait(child.answered, nap):
                return True, child.answer()
            if limit_left() <= timedelta(0):
                return self._cancel(child) is not None, time_is_up(self._time_limit)
            if child.ended():
                return False, child.answer() if child.answered(0) else child.death()
            if self._stop.requested and self._stop.urgent:
                if self._cancel(child) == [None]:
                    return True, None
                raise Stopping
            if renewal_left() <= timedelta(0):
                if extend(self._backend, current.lease, self._lease_for) is None:
                    child.tell(_LOST)
                renewal_left = self._clock.countdown(pause)

    def _cancel(self, child: _Child) -> list[Failure | None] | None:
        """What the child answered after its coroutine, if one runs, was cancelled; None: nothing in time."""
        if not child.in_coroutine:
            return None
        child.tell(_CANCEL)
        left = self._clock.countdown(_CLEANING)
        while (nap := left()) > timedelta(0) and not child.ended():
            if self._clock.wait(child.answered, min(nap, _SLICE)):
                return [child.answer()]
        return None


class _Child:
    """A forked process that runs the handler for each work it is sent, and ends with its parent."""

    def __init__(self, handler: Handler, backend: Backend) -> None:
        self._status: int | None = None
        self._reaped = True
        self._slate = slate = Slate()
        self._flags = flags = Flags(3)
        works, self._works, self._answers, answers, lifeline, self._lifeline = open_private(
            lambda: (*os.pipe(), *os.pipe(), *os.pipe())
        )
        theirs, parent = (works, answers, lifeline), kernel.getpid()
        try:
            self.pid = spawn_worker(lambda: _serve(handler, backend, *theirs, slate, flags, parent), keep=theirs)
        except BaseException:
            close_private(self._works, self._answers, self._lifeline, *theirs)
            raise
        with suppress(OSError):  # it does so itself; whoever is first
            kernel.setpgid(self.pid, self.pid)
        close_private(*theirs)
        self._outbox, self._inbox = Outbox(self._works), Inbox(self._answers)
        self._heard: list[Any] = []

    def ask(self, current: CurrentTask, deadline: datetime) -> None:
        """The task is on its way; that the child is dead, or does not read, shows later."""
        self._flags.lower()
        self._outbox.put((current.task, current.last, deadline))

    @property
    def in_coroutine(self) -> bool:
        """Whether the handler is a coroutine, in flight now."""
        return self._flags[_IN_COROUTINE]

    def tell(self, flag: int) -> None:
        """The child sees the flag, and hears that it is up."""
        self._flags[flag] = True
        if not self.ended():
            kernel.kill(self.pid, signal.SIGTERM)

    def answered(self, seconds: float) -> bool:
        """Whether the child has answered, within that long; what it did not read yet is sent on meanwhile."""
        poll = kernel.poll()
        if not self._inbox.closed:  # of a closed pipe there is no news
            poll.register(self._answers, select.POLLIN)
        if self._outbox.waiting:
            poll.register(self._works, select.POLLOUT)
        poll.poll(max(0.0, seconds) * 1000)
        self._outbox.flush()
        self._heard += self._inbox.take() or (self._slate.read() if self._inbox.closed else [])
        return bool(self._heard)

    def answer(self) -> Failure | None:
        """How the handler failed, or None."""
        packed = self._heard.pop(0)
        return None if packed is None else unpack(packed)

    def ended(self, *, block: bool = False) -> bool:
        """Whether the process has ended; what it started is then killed."""
        if self._status is None:
            try:
                pid, status = kernel.waitpid(self.pid, 0 if block else os.WNOHANG)
            except ChildProcessError:  # the program reaps all children, or has the kernel do so
                pid, status, self._reaped = self.pid, 0, False
            if pid:
                self._status = status
                self._kill_group()
        return self._status is not None

    def death(self) -> Failure:
        """How the process ended."""
        code = os.waitstatus_to_exitcode(self._status or 0)
        how = f"ended with status {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        if not self._reaped:
            how = "ended, and its status went to somebody else,"
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
            kernel.killpg(self.pid, signal.SIGKILL)


class _Parent:
    """What the child hears of its parent, by flags and a SIGTERM; one that somebody else sent means nothing."""

    requested = urgent = False

    def __init__(self, flags: Flags) -> None:
        self.current: CurrentTask | None = None
        self._flags = flags
        self._cancel: Callable[[], bool] | None = None

    @property
    def cancel(self) -> Callable[[], bool] | None:
        """Cancels the coroutine in flight."""
        return self._cancel

    @cancel.setter
    def cancel(self, cancel: Callable[[], bool] | None) -> None:
        self._cancel = cancel
        self._flags[_IN_COROUTINE] = cancel is not None

    def hear_flags(self, *_: object) -> None:
        """Do what the flags say."""
        if self._flags[_LOST] and self.current is not None:
            lose(self.current)
        if self._flags[_CANCEL] and self._cancel is not None:
            self._cancel()


def _serve(
    handler: Handler,
    backend: Backend,
    works: int,
    answers: int,
    lifeline: int,
    slate: Slate,
    flags: Flags,
    parent: int,
) -> None:
    """Run the handler for each work until the parent is gone, or until the handler closed our pipes."""
    with suppress(OSError):  # the parent does so too
        kernel.setpgid(0, 0)
    disregarding(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # these ask the parent, which tells this child
    end_with_parent(lifeline, parent, group=True)
    parents, coroutines = _Parent(flags), Coroutines()
    hear(signal.SIGTERM, parents.hear_flags)
    while True:
        try:
            task, last, deadline = receive(works)
        except EOFError:
            return
        try:
            current = parents.current = CurrentTask(Lease(task, "", deadline), last=last, backend=backend)
            current.watch(lambda: flags[_LOST])
            with LookedAfter(), Confined():
                call(handler, current, coroutines, parents)
            answer = None
        except BaseException as error:
            answer = pack(failure_of(error))
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        follow_log()
        if not (holds(works) and holds(answers)):  # then the numbers may be the handler's own files
            _ = slate.write(answer) or (answer is not None and slate.write((answer[0], None, *answer[2:])))
            return
        send(answers, answer)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
