"""Several queues in one process: their loops take turns, one task each, so none waits until a busy one is empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from random import Random

from lowq import kernel
from lowq.backend import NOW, BackendUnavailable, QueueGone
from lowq.clock import Clock
from lowq.run import Run
from lowq.worker import program_log
from lowq.worker.executor import Executor
from lowq.worker.loop import SLICE, Loop
from lowq.worker.stopping import Stop


class Turns:
    """As a Loop, for several of them, at least one; a queue whose storage is away holds up no other."""

    def __init__(self, loops: Sequence[Loop], stop: Stop, patience: timedelta) -> None:
        self.clock: Clock = loops[0].clock
        self._loops = loops
        self._stop = stop
        self._patience = patience
        self._away: dict[Loop, Callable[[], timedelta]] = {}

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.requested

    @property
    def random(self) -> Random:
        """What the delays of all are drawn from."""
        return self._loops[0].random

    @random.setter
    def random(self, random: Random) -> None:
        for loop in self._loops:
            loop.random = random

    @property
    def tell(self) -> Callable[[Run], object] | None:
        """Hears of each run."""
        return self._loops[0].tell

    @tell.setter
    def tell(self, tell: Callable[[Run], object] | None) -> None:
        for loop in self._loops:
            loop.tell = tell

    def serve(self, expects: Callable[[], bool] | None = None, *, parent: int | None = None) -> None:
        """As Loop.serve. Raises BackendUnavailable where a queue's storage is away for longer than `patience`."""
        with self._stop.on_signals(child=parent is not None), ExitStack() as stack:
            seats = [(loop, stack.enter_context(loop.executor())) for loop in self._loops]
            self._serve(seats, expects, parent)

    def _serve(
        self, seats: Sequence[tuple[Loop, Executor]], expects: Callable[[], bool] | None, parent: int | None
    ) -> None:
        nap = SLICE / len(self._loops)
        while not self._stop.requested:
            if parent is not None and kernel.getppid() != parent:
                return
            if any(list(self._round(seats, NOW))):
                continue
            if expects is not None and not expects():
                return
            for _ in self._round(seats, nap):
                pass

    def _round(self, seats: Sequence[tuple[Loop, Executor]], wait: timedelta) -> Iterator[bool]:
        """Whether each of them had a task, which was run; who had to wait for its storage had none."""
        for loop, executor in seats:
            if self._stop.requested:
                return
            try:
                yield loop.turn(executor, wait)
                self._away.pop(loop, None)
            except QueueGone:
                raise
            except BackendUnavailable as error:
                if loop not in self._away:
                    program_log.warn("waiting for the queue, while others go on: %s", error)
                if self._away.setdefault(loop, self.clock.countdown(self._patience))() <= NOW:
                    raise
                self.clock.wait(self._stop.pause, wait)
                yield False
