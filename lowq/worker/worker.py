"""A worker in the foreground: how a queue's tasks are run, by a loop in this process or by a pool of them.

A task is run at least once. Its lease is renewed while it runs; one whose handler raises is tried again later, as
`Retry` says, and set aside past the last attempt; a worker that is told to stop lets its task end or gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random

from lowq.backend import Backend
from lowq.clock import Clock, choose_clock
from lowq.excerpt import excerpt
from lowq.process.forking import check_fork, check_threads
from lowq.run import Run
from lowq.worker.batch import BatchLoop
from lowq.worker.child import LastingChild
from lowq.worker.executor import Executor, Inline
from lowq.worker.handler import Handler, check_handler, unwrap
from lowq.worker.loop import Loop
from lowq.worker.notices import tell
from lowq.worker.pool import Pool
from lowq.worker.retry import Retry
from lowq.worker.settings import check_length, check_retry
from lowq.worker.stopping import Stop

__all__ = ["Run", "Worker"]

GRACE, PATIENCE = timedelta(seconds=8), timedelta(minutes=15)


class Worker:
    """Runs `handler(work)` for the tasks of a queue.

    `lease_for` is how long a killed worker's task waits for the next; `time_limit` runs each task in a child process
    that is killed at the limit; `processes` is how many run at once, except in `run_one`; `batch` is how many tasks
    are claimed together, run in order, and settled together (`lowq.worker.batch` says the price); `grace` is how long
    a stop waits for the task in hand before it is given back (less than the 10 s of `docker stop`); `patience` is how
    long storage may be away before the worker gives up; `on_run` is told of each run, in this process,
    and `on_dead` of each that set its task aside, in the process that did; where they fail, that is logged.

    What a handler raises is a failure of its task only, whatever its class: SystemExit and a CancelledError too. But
    KeyboardInterrupt, and what a test framework raises to end a test, is meant for the program: the task is given
    back uncounted, and the exception goes on.
    """

    def __init__(
        self,
        backend: Backend,
        handler: Handler,
        *,
        lease_for: timedelta = timedelta(minutes=1),
        retry: Retry | None = None,
        time_limit: timedelta | None = None,
        processes: int = 1,
        batch: int = 1,
        grace: timedelta = GRACE,
        patience: timedelta = PATIENCE,
        clock: Clock | None = None,
        random: Random | None = None,
        on_run: Callable[[Run], object] | None = None,
        on_dead: Callable[[Run], object] | None = None,
    ) -> None:
        _check_backend(backend)
        handler = unwrap(handler)
        check_handler(handler)
        if retry is not None:
            check_retry(retry)
        for name, hook in (("on_run", on_run), ("on_dead", on_dead)):
            if hook is not None:
                check_handler(hook, ("run",), name)
        check_length(lease_for, "lease_for")
        check_length(grace, "grace", zero=True)
        check_length(patience, "patience", zero=True)
        if time_limit is not None:
            check_length(time_limit, "time_limit")
            check_fork("time_limit")
            check_threads("time_limit")
        _check_number(processes, "processes")
        _check_number(batch, "batch")
        if random is not None and not isinstance(random, Random):
            raise TypeError(f"random: expected a Random, got {excerpt(random)}")
        if processes > 1:
            check_fork("processes")
            if "processes" not in backend.promises:
                raise ValueError(f"processes: expected 1, since this queue stays in one, got {excerpt(processes)}")
        if batch > 1 and "bulk" not in backend.promises:
            raise ValueError(f"batch: expected 1 for this queue, which promises no bulk, got {excerpt(batch)}")
        self.backend = backend
        self.handler = handler
        self.lease_for = lease_for
        self.retry = Retry() if retry is None else retry
        self.time_limit = time_limit
        self.processes = processes
        self.batch = batch
        self.clock = choose_clock(clock)
        self.random = Random() if random is None else random
        self.on_run = on_run
        self.on_dead = on_dead
        self._patience = patience
        self._grace = grace
        self._stop = Stop(self.clock, grace)

    def run_one(self) -> Run | None:
        """The most urgent due task was run once; None: none was due."""
        return self.loop(Stop(self.clock, self._grace)).run_one()

    def drain(self) -> list[Run]:
        """Everything that was due was run, and what was pushed or fell due meanwhile; time is never waited for.

        In several processes it stops for signals as `run_forever` does.
        """
        stop = Stop(self.clock, self._grace)
        loop = self.loop(stop)
        if self.processes == 1:
            return loop.drain()
        runs: list[Run] = []

        def keep(run: Run) -> None:
            runs.append(run)
            self._tell(run)

        Pool(loop, self.processes, stop, keep).run(lambda: False)
        return runs

    def run_forever(self) -> None:
        """The worker was told to stop: by SIGTERM or SIGINT in the main thread, or by `stop()`.

        The first signal lets the task in hand end, for `grace` at most; the second, or the end of the grace, raises
        Stopping inside the handler, and the task is given back uncounted. The signal handlers are as before. Outside
        the main thread there are no signals, and only a `time_limit`'s child can be made to give its task back.

        Raises BackendUnavailable where the storage is away for longer than `patience`; QueueGone, CorruptQueue and
        the like at once.
        """
        self._run()

    def run_while_due(self, linger: timedelta) -> None:
        """Nothing is due, nobody holds a lease, and nothing falls due within `linger`; or told to stop, as there."""
        check_length(linger, "linger", zero=True)
        self._run(lambda: self.expects(linger))

    def run_under(self, parent: int) -> None:
        """As `run_forever`, in this forked child of `parent`: the parent is gone, or asked it to stop by SIGTERM."""
        _check_number(parent, "parent")
        self.loop(self._stop).serve(parent=parent)

    def stop(self) -> None:
        """This worker takes no further task, now or later; called twice, it gives back the one in hand."""
        self._stop.request()

    def on_stop(self, told: Callable[[], None]) -> None:
        """`told` is called when this worker is told to stop: from a signal handler or another thread, so briefly."""
        check_handler(told, (), "told")
        self._stop.told = told

    @property
    def stopped(self) -> bool:
        """Whether the worker was told to stop."""
        return self._stop.requested

    def expects(self, linger: timedelta) -> bool:
        """Whether anything is due or leased now, or falls due within `linger`; waits for storage that is away."""
        return self.loop(self._stop).expects(linger)

    def _run(self, expects: Callable[[], bool] | None = None) -> None:
        loop = self.loop(self._stop)
        if self.processes == 1:
            loop.serve(expects)
        else:
            Pool(loop, self.processes, self._stop, self._tell).run(expects)

    def loop(self, stop: Stop) -> Loop:
        """What runs the tasks of this worker in one process, until `stop`."""
        make = Loop if self.batch == 1 else partial(BatchLoop, batch=self.batch)
        return make(
            self.backend,
            self._executor,
            lease_for=self.lease_for,
            retry=self.retry,
            clock=self.clock,
            random=self.random,
            patience=self._patience,
            stop=stop,
            tell=self._tell,
            on_dead=self.on_dead,
        )

    def _tell(self, run: Run) -> None:
        tell(self.on_run, run, "on_run")

    def _executor(self, stop: Stop) -> Executor:
        if self.time_limit is None:
            return Inline(self.handler, self.backend, self.lease_for, self.clock, stop)
        return LastingChild(self.handler, self.backend, self.lease_for, self.clock, stop, self.time_limit)


def _check_number(number: object, what: str) -> None:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"{what}: expected an int, got {type(number).__name__}")
    if number < 1:
        raise ValueError(f"{what}: expected 1 or more, got {excerpt(number)}")


def _check_backend(backend: object) -> None:
    if isinstance(backend, type) or not all(callable(getattr(backend, verb, None)) for verb in ("claim", "ack")):
        raise TypeError(f"backend: expected an opened queue, lowq.open_backend(…), got {excerpt(backend)}")
