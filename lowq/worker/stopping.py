"""How a worker is told to stop: by a signal, or by another thread; politely, and then at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias

from lowq.clock import Clock

Answer: TypeAlias = Callable[..., Any]

_standing: dict[int, tuple[Answer, Any]] = {}
"""The answers to signals that a worker of this process has put in place, and what stood there before."""


class Stopping(BaseException):
    """Raised inside a handler that has to give its task back now. Clean up and let it pass; it is no failure."""


class Stop:
    """Whether a worker was asked to stop, and since when; `urgent`: the task in hand is given back now.

    The first request lets the task in hand end; the second (`hurried`), or the end of `grace`, is urgent.
    """

    def __init__(self, clock: Clock, grace: timedelta) -> None:
        self.requested: bool = False
        self.asked: SimpleQueue[None] = SimpleQueue()
        """Gets something at each request: its put, unlike an Event's set, may interrupt anything."""
        self.listeners: list[SimpleQueue[None]] = [self.asked]
        """Each of them gets it: one for each who waits for a request."""
        self.grace = grace
        self._clock = clock
        self._grace_left: Callable[[], timedelta] | None = None
        self.told: Callable[[], None] | None = None
        """Called at each request, from a signal handler or another thread: briefly."""
        self.hurried = False
        self.in_handler = False
        self.cancel: Callable[[], bool] | None = None
        """While a handler's coroutine runs: cancels it; False: it was told so a while ago, and does not await."""
        self._interrupted = False
        self._thread: int | None = None
        self.heard: set[int] = set()
        """The signals that asked."""

    def request(self, *, urgent: bool = False) -> None:
        """The worker takes no further task; asked a second time, it gives back the one in hand."""
        self.hurried = self.hurried or urgent or self.requested
        if self._grace_left is None:
            self._grace_left = self._clock.countdown(self.grace)
        self.requested = True
        for each in tuple(self.listeners):
            each.put(None)
        if self.told is not None:
            self.told()

    def pause(self, seconds: float) -> bool:
        """Whether the worker was asked to stop, within that long."""
        try:
            self.asked.get(timeout=min(seconds, threading.TIMEOUT_MAX))
        except Empty:
            return self.requested
        self.asked.put(None)  # others listen too
        return True

    @property
    def urgent(self) -> bool:
        """The task in hand is to be given back now."""
        return self.hurried or (self._grace_left is not None and self._grace_left() <= timedelta(0))

    def grace_left(self) -> timedelta | None:
        """How long the task in hand may still take; None: nobody asked the worker to stop."""
        return None if self._grace_left is None else self._grace_left()

    def interrupt(self) -> None:
        """The handler is interrupted, once; outside the main thread, where no signals are ours, only a coroutine."""
        if (cancel := self.cancel) is not None and cancel():
            return
        if self._thread is not None and not self._interrupted:
            signal.pthread_kill(self._thread, signal.SIGTERM)

    def enter_handler(self) -> None:
        """From now on an urgent request raises Stopping wherever the code is, until `in_handler` is False again."""
        self.in_handler = True
        if self.requested and self.urgent:
            raise Stopping

    @contextmanager
    def on_signals(self, *, child: bool = False) -> Iterator[None]:
        """Inside, SIGTERM, SIGINT and SIGHUP ask to stop, if this is the main thread; afterwards all is as before.

        A SIGINT or SIGHUP that the program ignores stays ignored (a shell started it in the background, or nohup
        did), and a SIGHUP that it answers itself stays its own. A worker's forked child (`child`) is asked by its
        parent: any number of SIGTERMs is one request, SIGQUIT is urgent, and what a terminal sends to the parent too
        is disregarded.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        answers: dict[int, Answer] = (
            {
                signal.SIGTERM: self._hear_parent,
                signal.SIGQUIT: self._hear_urgent,
                signal.SIGINT: disregard,
                signal.SIGHUP: disregard,
            }
            if child
            else dict.fromkeys((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), self._hear_signal)
        )
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            del answers[signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
            del answers[signal.SIGHUP]
        self._thread = threading.get_ident()
        before = {number: signal.getsignal(number) for number in answers}
        try:
            for number, answer in answers.items():
                _answer(number, answer)
            yield
        finally:
            self._thread = None
            for number, handler in before.items():
                _standing.pop(number, None)
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _hear_signal(self, number: int, *_: object) -> None:
        self.heard.add(number)
        self.request()
        self._interrupt_handler()

    def _hear_parent(self, *_: object) -> None:
        if not self.requested:
            self.request()
        self._interrupt_handler()

    def _hear_urgent(self, *_: object) -> None:
        self.request(urgent=True)
        self._interrupt_handler()

    def _interrupt_handler(self) -> None:
        if self.in_handler and self.urgent:
            if (cancel := self.cancel) is not None and cancel():
                return
            self._interrupted = True
            raise Stopping


def disregarding(*numbers: int) -> None:
    """This process answers these signals with nothing; unlike SIG_IGN that is not inherited by programs it runs."""
    for number in numbers:
        _answer(number, disregard)


def hear(number: int, answer: Answer) -> None:
    """This process answers that signal so; a process that a handler forks does not."""
    _answer(number, answer)


def disregard(*_: object) -> None:
    """A signal handler that does nothing."""


def _answer(number: int, answer: Answer) -> None:
    _, before = _standing.get(number) or (None, signal.getsignal(number))  # the program's own, not ours of before
    _standing[number] = (answer, signal.SIG_DFL if before is None else before)
    signal.signal(number, answer)


def _forget() -> None:
    """A process that a handler forked answers signals as the program did before the worker ran in it."""
    for number, (answer, before) in list(_standing.items()):
        with suppress(ValueError):  # not the main thread of the main interpreter: nothing arrives here
            if signal.getsignal(number) == answer:
                signal.signal(number, before)
    _standing.clear()


_masks = threading.local()


def _hold_signals() -> None:
    """A signal for a process that is being forked waits until its answer is the program's: it would be lost else."""
    if _standing:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, list(_standing))


def _release_signals() -> None:
    if (before := vars(_masks).pop("before", None)) is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_anew() -> None:
    _forget()
    _release_signals()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_signals, after_in_parent=_release_signals, after_in_child=_begin_anew)
