"""`lowq work`: a worker in the foreground."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from lowq.commands.output import CELL, console, one_line, write_json
from lowq.commands.parameters import lasting, of_a_queue, opened
from lowq.error_text import shown
from lowq.wire import write_instant
from lowq.worker.retry import Retry

if TYPE_CHECKING:
    from lowq.worker.worker import Run


@click.command(short_help="Run a worker in the foreground.")
@of_a_queue
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option("--processes", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N")
@click.option(
    "--lease",
    type=lasting,
    metavar="DURATION",
    help="How long a task is held (1m), and renewed while it runs: how soon a killed worker's task runs again.",
)
@click.option("--time-limit", type=lasting, metavar="DURATION", help="A task that runs longer is killed and retried.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"A task that failed so often ({Retry().max_attempts}) is dead: see lowq redrive.",
)
@click.option("--drain", is_flag=True, help="Run what is due now, and leave; exit code 1 where a task failed.")
def work(
    location: str,
    name: str,
    as_json: bool,
    handler: str,
    processes: int,
    lease: timedelta | None,
    time_limit: timedelta | None,
    max_attempts: int | None,
    drain: bool,
) -> int:
    """Call MODULE:HANDLER with each work, most urgent first, until SIGTERM (exit code 0) or Ctrl-C (130).

    Both let the tasks in hand finish, or give them back. A handler that returns has done its task; one that raises is
    called again later, after growing delays. It may also be a TaskQueue or a function made by @task_queue, whose
    retry, lease_for and time_limit then hold unless options say otherwise. The current directory is importable, as
    with python -m. The queue is made where it is new.

    With --json every run is a line on standard output; a run that failed is one on standard error.
    """
    from lowq.commands.handler import load
    from lowq.worker.worker import Worker

    found = load(handler)
    retry = found.retry if max_attempts is None else replace(found.retry, max_attempts=max_attempts)
    told = Told(as_json=as_json)
    with opened(location, name, create=True) as queue, interruptions() as interrupted:
        worker = Worker(
            queue,
            found.function,
            lease_for=lease or found.lease_for,
            retry=retry,
            time_limit=time_limit or found.time_limit,
            processes=processes,
            on_run=told,
        )
        try:
            if drain:
                worker.drain()
            else:
                worker.run_forever()
        finally:
            told.end()
        if interrupted():
            raise click.Abort
    return 1 if drain and told.failed else 0


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT came: a worker answers SIGINT and SIGTERM alike, the exit code does not."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def came() -> bool:
        with suppress(BlockingIOError):
            return signal.SIGINT in os.read(reading, 65536)
        return False

    try:
        yield came
    finally:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)


class Told:
    """Every run, told as it ends: counted on a line that stays, on a terminal; failures on a line each."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.outcomes: Counter[str] = Counter()
        self._err = console(stderr=True)
        self._live = self._err.is_terminal

    @property
    def failed(self) -> int:
        """How many runs were not done."""
        return self.outcomes.total() - self.outcomes["done"]

    def __call__(self, run: Run) -> None:
        self.outcomes[run.outcome] += 1
        self._clear()
        if self.as_json:
            write_json(
                {
                    "id": run.task.id,
                    "work": run.task.work,
                    "attempt": run.task.attempts,
                    "outcome": str(run.outcome),
                    "error": None if run.error is None else shown(run.error, CELL),
                    "at": write_instant(run.at),
                    "next_due": write_instant(run.next_due),
                }
            )
            sys.stdout.flush()
        if run.outcome != "done":
            self._err.print(self._line(run), soft_wrap=True, style="red" if run.outcome == "dead" else "yellow")
        self._draw()

    def end(self) -> None:
        """The last word: how many runs there were."""
        self._clear()
        click.echo(self._counts(), err=True)

    def _line(self, run: Run) -> str:
        error = "" if run.error is None else f": {shown(run.error)}"
        again = "" if run.next_due is None else f", again at {write_instant(run.next_due)}"
        return one_line(f"task {run.task.id}, attempt {run.task.attempts}: {run.outcome}{error}") + again

    def _counts(self) -> str:
        return ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.items()) or "0 done"

    def _clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _draw(self) -> None:
        if self._live:
            click.echo(self._counts(), nl=False, err=True)
