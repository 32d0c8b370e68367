"""Several processes at one queue: a parent that forks them, replaces those that die, and hears of their runs."""

from __future__ import annotations

import logging
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from random import Random

from lowq.backend import LowqError
from lowq.process.forking import close_private, open_private, spawn
from lowq.process.messages import receive, send
from lowq.run import Run
from lowq.worker.failure import Failure, failure_of, pack, unpack
from lowq.worker.loop import Loop
from lowq.worker.stopping import Stop

_SLICE = 0.1
"""Real seconds between two looks whether the pool was asked to stop or one of it may be replaced."""

_FIRST_DELAY, _LONGEST_DELAY = timedelta(seconds=0.1), timedelta(seconds=30)
_SOUND = timedelta(seconds=10)
"""A member that lived this long is replaced without delay."""

_log = logging.getLogger("lowq.worker")


class Pool:
    """So many children, each with a copy of `loop`; the parent runs no task, and tells `tell` of each run."""

    def __init__(self, loop: Loop, processes: int, stop: Stop, tell: Callable[[Run], object] | None) -> None:
        self._loop = loop
        self._processes = processes
        self._tell = tell
        self._stop = stop
        self._members: dict[int, _Member] = {}
        self._error: BaseException | None = None
        self._may_finish = False
        self._delay = _FIRST_DELAY
        self._delay_left: Callable[[], timedelta] | None = None

    def run(self, expects: Callable[[], bool] | None) -> None:
        """As Loop.serve, in `processes` processes; no child is left.

        Raises what ended a child, where it ended by an error.
        """
        wanted, self._may_finish = self._processes, expects is not None
        told, hurried = False, False
        with self._stop.on_signals():
            try:
                while True:
                    if self._stop.requested or self._error is not None:
                        told = told or self._signal(signal.SIGTERM)
                        if self._stop.hurried:
                            hurried = hurried or self._signal(signal.SIGQUIT)
                        wanted = 0
                    while len(self._members) < wanted and self._may_start():
                        self._start(expects)
                    if not self._members and wanted == 0:
                        break
                    wanted -= self._hear()
            finally:
                self._signal(signal.SIGKILL)
                for descriptor in list(self._members):
                    self._end(descriptor)
        if self._error is not None:
            raise self._error

    def _may_start(self) -> bool:
        return self._delay_left is None or self._delay_left() <= timedelta(0)

    def _start(self, expects: Callable[[], bool] | None) -> None:
        parent = os.getpid()
        reports, report = open_private(os.pipe)
        try:
            pid = spawn(lambda: _serve(self._loop, expects, parent, report), keep=(report,))
        except BaseException:
            close_private(reports)
            raise
        finally:
            close_private(report)
        self._members[reports] = _Member(pid, self._loop.clock.countdown(_SOUND))

    def _hear(self) -> int:
        """What the members report was passed on, for a moment; how many ended because nothing is left to do."""
        if not self._members:
            self._loop.clock.wait(_pause, timedelta(seconds=_SLICE))
            return 0
        poll = select.poll()
        for descriptor in self._members:
            poll.register(descriptor, select.POLLIN)
        finished = 0
        for descriptor, _ in poll.poll(_SLICE * 1000):
            try:
                message = receive(descriptor)
            except EOFError:
                finished += self._ended(descriptor)
                continue
            self._pass_on(message)
        return finished

    def _pass_on(self, message: object) -> None:
        if isinstance(message, tuple):
            self._error = self._error or unpack(message).error
        elif isinstance(message, _Report) and self._tell is not None:
            self._tell(message.run())

    def _ended(self, descriptor: int) -> bool:
        """Whether the member had nothing left to do; another is replaced, soon or, if it lived briefly, later."""
        member = self._members[descriptor]
        status = self._end(descriptor)
        if status == 0 and self._may_finish:
            return True
        if self._error is None and not self._stop.requested:
            self._delay = _FIRST_DELAY if member.sound_in() <= timedelta(0) else self._delay
            self._delay_left = self._loop.clock.countdown(self._delay)
            _log.warning("worker process %d ended with status %d and is replaced", member.pid, status)
            self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return False

    def _end(self, descriptor: int) -> int:
        """The member is reaped; how it ended."""
        member = self._members.pop(descriptor)
        close_private(descriptor)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(member.pid, 0)[1])
        except ChildProcessError:  # the program reaps all children, or has the kernel do so
            return -1

    def _signal(self, number: int) -> bool:
        for member in self._members.values():
            with suppress(ProcessLookupError):
                os.kill(member.pid, number)
        return True


class _Member:
    """One child, and how long it has to live to count as sound."""

    def __init__(self, pid: int, sound_in: Callable[[], timedelta]) -> None:
        self.pid = pid
        self.sound_in = sound_in


class _Report:
    """A run as it is sent to the parent: its exception may not survive the way."""

    def __init__(self, run: Run) -> None:
        self._run = Run(run.task, run.outcome, None, run.at, run.next_due)
        self._error = None if run.error is None else pack(failure_of(run.error))

    def run(self) -> Run:
        """The run, in the parent."""
        error = None if self._error is None else unpack(self._error).error
        run = self._run
        return Run(run.task, run.outcome, error, run.at, run.next_due)


def _serve(loop: Loop, expects: Callable[[], bool] | None, parent: int, report: int) -> None:
    """One member's life: a loop that reports its runs, and the error that ended it."""

    def tell(run: Run) -> None:
        with suppress(BrokenPipeError):  # the parent was killed; this worker will see that and end
            send(report, _Report(run))

    loop.tell = tell
    loop.random = Random(loop.random.getrandbits(64) ^ os.getpid())  # copies would draw the same delays
    try:
        loop.serve(expects, parent=parent)
    except LowqError as error:
        send(report, pack(Failure(error, str(error))))
        raise


def _pause(seconds: float) -> bool:
    select.poll().poll(seconds * 1000)
    return False
