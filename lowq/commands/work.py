"""`lowq work`: a worker in the foreground."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from lowq.commands.handler import load
from lowq.commands.output import console, iso, one_line, write_json
from lowq.commands.parameters import lasting, of_a_queue, opened
from lowq.retry import Retry

if TYPE_CHECKING:
    from lowq.worker import Run


@click.command(short_help="Run a worker in the foreground.")
@of_a_queue
@click.argument("handler", metavar="MODULE:HANDLER")
@click.option("--processes", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N")
@click.option(
    "--lease",
    type=lasting,
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="How long a task is held; renewed while it runs, so this is how soon a killed worker's task runs again.",
)
@click.option("--time-limit", type=lasting, metavar="DURATION", help="A task that runs longer is killed and retried.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=Retry().max_attempts,
    show_default=True,
    metavar="N",
    help="A task that failed so often is dead: see lowq redrive.",
)
@click.option("--drain", is_flag=True, help="Run what is due now, and leave; exit code 1 where a task failed.")
def work(
    location: str,
    name: str,
    as_json: bool,
    handler: str,
    processes: int,
    lease: timedelta,
    time_limit: timedelta | None,
    max_attempts: int,
    drain: bool,
) -> int:
    """Call MODULE:HANDLER with each work, most urgent first, until Ctrl-C or SIGTERM.

    The current directory is importable, as with python -m. A handler that returns has done its task; one that raises
    is called again later, after growing delays. SIGTERM lets the tasks in hand finish, or gives them back. The queue
    is made where it is new. With --json every run is a line on standard output; a run that failed is one on
    standard error.
    """
    from lowq.worker import Worker

    function = load(handler)
    told = Told(as_json=as_json)
    with opened(location, name, create=True) as queue:
        worker = Worker(
            queue,
            function,
            lease_for=lease,
            retry=Retry(max_attempts=max_attempts),
            time_limit=time_limit,
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
    return 1 if drain and told.failed else 0


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
                    "error": None if run.error is None else one_line(f"{type(run.error).__name__}: {run.error}"),
                    "at": iso(run.at),
                    "next_due": iso(run.next_due),
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
        error = "" if run.error is None else f": {type(run.error).__name__}: {run.error}"
        again = "" if run.next_due is None else f", again at {iso(run.next_due)}"
        return one_line(f"task {run.task.id}, attempt {run.task.attempts}: {run.outcome}{error}") + again

    def _counts(self) -> str:
        return ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.items()) or "0 done"

    def _clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _draw(self) -> None:
        if self._live:
            click.echo(self._counts(), nl=False, err=True)
