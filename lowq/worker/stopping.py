"""How a worker is told to stop: by a signal, or by another thread; politely, and then at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from queue import SimpleQueue

from lowq.clock import Clock


class Stopping(BaseException):
    """Raised inside a handler that has to give its task back now. Clean up and let it pass; it is no failure."""


class Stop:
    """Whether a worker was asked to stop, and since when; `urgent`: the task in hand is given back now.

    The first request lets the task in hand end; the second (`hurried`), or the end of `grace`, is urgent.
    """

    def __init__(self, clock: Clock, grace: timedelta) -> None:
        self.requested = False
        self.asked: SimpleQueue[None] = SimpleQueue()
        """Gets something at each request: its put, unlike an Event's set, may interrupt anything."""
        self._clock = clock
        self._grace = grace
        self._grace_left: Callable[[], timedelta] | None = None
        self.told: Callable[[], None] | None = None
        """Called at each request, from a signal handler or another thread: briefly."""
        self.hurried = False
        self.in_handler = False
        self._interrupted = False
        self._thread: int | None = None

    def request(self, *, urgent: bool = False) -> None:
        """The worker takes no further task; asked a second time, it gives back the one in hand."""
        self.hurried = self.hurried or urgent or self.requested
        if self._grace_left is None:
            self._grace_left = self._clock.countdown(self._grace)
        self.requested = True
        self.asked.put(None)
        if self.told is not None:
            self.told()

    @property
    def urgent(self) -> bool:
        """The task in hand is to be given back now."""
        return self.hurried or (self._grace_left is not None and self._grace_left() <= timedelta(0))

    def grace_left(self) -> timedelta | None:
        """How long the task in hand may still take; None: nobody asked the worker to stop."""
        return None if self._grace_left is None else self._grace_left()

    def interrupt(self) -> None:
        """The handler is interrupted, once; nothing happens outside the main thread, where signals are not ours."""
        if self._thread is not None and not self._interrupted:
            signal.pthread_kill(self._thread, signal.SIGTERM)

    def enter_handler(self) -> None:
        """From now on an urgent request raises Stopping wherever the code is, until `in_handler` is False again."""
        self.in_handler = True
        if self.requested and self.urgent:
            raise Stopping

    @contextmanager
    def on_signals(self, *, child: bool = False) -> Iterator[None]:
        """Inside, SIGTERM and SIGINT ask to stop, if this is the main thread; afterwards the handlers are as before.

        A worker's forked child (`child`) is asked by its parent: any number of SIGTERMs is one request, SIGQUIT is
        urgent, and a terminal's SIGINT, which reaches the parent too, is disregarded.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        answers = (
            {signal.SIGTERM: self._asked_by_parent, signal.SIGQUIT: self._asked_at_once, signal.SIGINT: disregard}
            if child
            else {signal.SIGTERM: self._asked_by_signal, signal.SIGINT: self._asked_by_signal}
        )
        before = {number: signal.getsignal(number) for number in answers}
        if (
            before[signal.SIGINT] is signal.SIG_IGN
        ):  # a shell started the program in the background, out of Ctrl-C's way
            del answers[signal.SIGINT], before[signal.SIGINT]
        self._thread = threading.get_ident()
        try:
            for number, answer in answers.items():
                signal.signal(number, answer)
            yield
        finally:
            self._thread = None
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _asked_by_signal(self, *_: object) -> None:
        self.request()
        self._interrupt_handler()

    def _asked_by_parent(self, *_: object) -> None:
        if not self.requested:
            self.request()
        self._interrupt_handler()

    def _asked_at_once(self, *_: object) -> None:
        self.request(urgent=True)
        self._interrupt_handler()

    def _interrupt_handler(self) -> None:
        if self.in_handler and self.urgent:
            self._interrupted = True
            raise Stopping


def disregard(*_: object) -> None:
    """A signal handler that does nothing; unlike SIG_IGN it is not inherited by the programs that a task runs."""
