"""Several processes at one queue: a parent that forks them, replaces those that die, and hears of their runs."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from random import Random

from lowq import kernel
from lowq.backend import LowqError
from lowq.error_text import is_a, message
from lowq.process.forking import close_private, holds, leave, open_private
from lowq.process.lifeline import end_with_parent
from lowq.process.messages import Inbox, send
from lowq.run import Run
from lowq.worker import program_log
from lowq.worker.failure import Failure, failure_of, pack, passes, unpack
from lowq.worker.forks import spawn_worker
from lowq.worker.logfile import follow_log
from lowq.worker.loop import Loop
from lowq.worker.stopping import Stop
from lowq.worker.turns import Turns

_SLICE = 0.1
"""Real seconds between two looks whether the pool was asked to stop or one of it may be replaced."""

_FIRST_DELAY, _LONGEST_DELAY = timedelta(seconds=0.1), timedelta(seconds=30)
_SOUND = timedelta(seconds=10)
"""A member that lived this long is replaced without delay."""

_LAST_WORD = timedelta(seconds=3)
"""How long a member that was told to give back its task may take for it, before it is killed."""

_EXIT, _EXIT_SLICE = timedelta(seconds=2), 0.005
"""How long a member may take to end after its last word, and how often it is looked at (seconds)."""

_FINISHED = "finished"


class Pool:
    """So many children, each with a copy of `loop`; the parent runs no task, and tells `tell` of each run."""

    def __init__(self, loop: Loop | Turns, processes: int, stop: Stop, tell: Callable[[Run], object] | None) -> None:
        self._loop = loop
        self._processes = processes
        self._tell = tell
        self._stop = stop
        self._members: dict[int, _Member] = {}
        self._error: BaseException | None = None
        self._left: Callable[[], timedelta] | None = None
        self._hurried = False
        self._delay = _FIRST_DELAY
        self._delay_left: Callable[[], timedelta] | None = None

    def run(self, expects: Callable[[], bool] | None) -> None:
        """As Loop.serve, in `processes` processes; no child is left, also of those that do not listen.

        Raises what ended a child, where it ended by an error.
        """
        wanted = self._processes
        with self._stop.on_signals():
            try:
                while True:
                    if self._stop.requested or self._error is not None:
                        self._dismiss()
                        wanted = 0
                    self._fill(wanted, expects)
                    if not self._members and wanted == 0:
                        break
                    wanted -= self._hear()
            finally:
                self._signal(signal.SIGKILL)
                for member in list(self._members.values()):
                    self._end(member)
        if self._error is not None:
            raise self._error

    def _fill(self, wanted: int, expects: Callable[[], bool] | None) -> None:
        while len(self._members) < wanted and self._may_start():
            self._start(expects)

    def _dismiss(self) -> None:
        """The members were told to stop, at most twice; who is stuck when its time is over was killed."""
        if self._left is None:
            self._signal(signal.SIGTERM)
            self._left = self._loop.clock.countdown(self._stop.grace + _LAST_WORD)
        if self._stop.hurried and not self._hurried:
            self._hurried = True
            self._signal(signal.SIGQUIT)
            self._left = self._loop.clock.countdown(_LAST_WORD)
        if self._left() <= timedelta(0):
            for member in self._members.values():
                program_log.warn("worker process %d is stuck and is killed; its task waits out its lease", member.pid)
            self._signal(signal.SIGKILL)

    def _may_start(self) -> bool:
        return self._delay_left is None or self._delay_left() <= timedelta(0)

    def _start(self, expects: Callable[[], bool] | None) -> None:
        parent = kernel.getpid()
        reports, report, lifeline, held = open_private(lambda: (*os.pipe(), *os.pipe()))
        theirs = (report, lifeline)
        try:
            pid = spawn_worker(lambda: _serve(self._loop, expects, parent, *theirs), keep=theirs)
        except BaseException:
            close_private(reports, held)
            raise
        finally:
            close_private(*theirs)
        self._members[reports] = _Member(pid, Inbox(reports), held, self._loop.clock.countdown(_SOUND))

    def _hear(self) -> int:
        """What the members report was passed on, for a moment; how many ended because nothing is left to do."""
        if not self._members:
            self._loop.clock.wait(_pause, timedelta(seconds=_SLICE))
            return 0
        poll = kernel.poll()
        for descriptor in self._members:
            poll.register(descriptor, select.POLLIN)
        finished = 0
        for descriptor, _ in poll.poll(_SLICE * 1000):
            member = self._members[descriptor]
            for received in member.inbox.take():
                self._pass_on(member, received)
            if member.inbox.closed:
                finished += self._ended(member)
        return finished

    def _pass_on(self, member: _Member, received: object) -> None:
        if received == _FINISHED:
            member.finished = True
        elif isinstance(received, tuple):
            self._error = self._error or unpack(received).error
        elif isinstance(received, _Report) and self._tell is not None:
            self._tell(received.run())

    def _ended(self, member: _Member) -> bool:
        """Whether the member had nothing left to do; another is replaced, soon or, if it lived briefly, later."""
        how = self._end(member)
        if member.finished:
            return True
        if self._error is None and not self._stop.requested:
            self._delay = _FIRST_DELAY if member.sound_in() <= timedelta(0) else self._delay
            self._delay_left = self._loop.clock.countdown(self._delay)
            program_log.warn("worker process %d %s and is replaced", member.pid, how)
            self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return False

    def _end(self, member: _Member) -> str:
        """The member is gone; how it ended. One that lives on without its pipe has lost the queue's files too."""
        del self._members[member.inbox.descriptor]
        try:
            status = self._wait_for(member.pid)
        except (ChildProcessError, ProcessLookupError):  # the program reaps all children, or has the kernel do so
            return "ended, which somebody else was told of,"
        finally:
            close_private(member.inbox.descriptor, member.held)
        return f"ended with status {os.waitstatus_to_exitcode(status)}"

    def _wait_for(self, pid: int) -> int:
        """The status with which the process ended; who did not end in time was killed."""
        left = self._loop.clock.countdown(_EXIT)
        while not (ended := kernel.waitpid(pid, os.WNOHANG))[0]:
            if left() <= timedelta(0):
                kernel.kill(pid, signal.SIGKILL)
                return kernel.waitpid(pid, 0)[1]
            _pause(_EXIT_SLICE)
        return ended[1]

    def _signal(self, number: int) -> None:
        for member in self._members.values():
            with suppress(ProcessLookupError):
                kernel.kill(member.pid, number)


class _Member:
    """One child: what it reports, the lifeline that is held for it, how long it has to live to count as sound."""

    def __init__(self, pid: int, inbox: Inbox, held: int, sound_in: Callable[[], timedelta]) -> None:
        self.pid = pid
        self.inbox = inbox
        self.held = held
        self.sound_in = sound_in
        self.finished = False


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


def _serve(loop: Loop | Turns, expects: Callable[[], bool] | None, parent: int, report: int, lifeline: int) -> None:
    """One member's life: a loop that reports its runs, and the error that ended it."""
    end_with_parent(lifeline, parent)

    def say(word: object) -> None:
        if not holds(report):  # a handler closed it; its number, and the queue's own files, may be others by now
            sys.stderr.write("lowq: a handler closed this worker's descriptors, so its process ends here\n")
            leave(1)
        with suppress(BrokenPipeError):  # the parent was killed; this worker will see that and end
            send(report, word)

    def tell(run: Run) -> None:
        say(_Report(run))
        follow_log()

    loop.tell = tell
    loop.random = Random(loop.random.getrandbits(64) ^ kernel.getpid())  # copies would draw the same delays
    try:
        loop.serve(expects, parent=parent)
    except BaseException as error:
        if is_a(error, LowqError) or passes(error):
            say(pack(Failure(error, message(error))))
        raise
    if not loop.stopped:
        say(_FINISHED)


def _pause(seconds: float) -> bool:
    kernel.poll().poll(seconds * 1000)
    return False
