"""What `lowq work` says of the runs: a count on a terminal, failures on a line each, JSON where it is asked for."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lowq.commands.output import CELL, console, one_line, visible, write_json
from lowq.error_text import show_error
from lowq.wire import write_instant

if TYPE_CHECKING:
    from lowq.worker.source import Source
    from lowq.worker.worker import Run


class Told:
    """Every run, told as it ends: counted on a line that stays, on a terminal; failures on a line each."""

    def __init__(self, *, as_json: bool, sources: Sequence[Source] = ()) -> None:
        self.as_json = as_json
        self._sources = sources
        for source in sources:
            source.begin()
        self.outcomes: Counter[str] = Counter()
        self._later = 0
        self._err = console(stderr=True)
        self._live = self._err.is_terminal

    @property
    def failed(self) -> int:
        """How many runs were not done, but for those whose handlers asked to run again later."""
        return self.outcomes.total() - self.outcomes["done"] - self._later

    def __call__(self, run: Run) -> None:
        self.outcomes[run.outcome] += 1
        self._later += run.outcome == "retry" and run.error is None
        self._clear()
        if self.as_json:
            write_json(
                {
                    "id": run.task.id,
                    "work": run.task.work,
                    "attempt": run.attempt,
                    "outcome": str(run.outcome),
                    "error": None if run.error is None else show_error(run.error, CELL),
                    "at": write_instant(run.at),
                    "next_due": write_instant(run.next_due),
                }
            )
            sys.stdout.flush()
        self._say_when_outdated()
        if run.outcome != "done":
            self._err.print(self._line(run), soft_wrap=True, style="red" if run.outcome == "dead" else "yellow")
        self._draw()

    def end(self) -> None:
        """The last word: how many runs there were."""
        self._clear()
        click.echo(self._counts(), err=True)

    def _say_when_outdated(self) -> None:
        """The first run after a deploy says that it was one of the old code."""
        changed = next((file for source in self._sources if (file := source.find_changed()) is not None), None)
        if changed is not None:
            self._sources = ()
            text = f"{changed} has changed, and this worker runs what it was: restart it"
            click.echo(visible(text), err=True)

    def _line(self, run: Run) -> str:
        error = "" if run.error is None else f": {show_error(run.error)}"
        again = "" if run.next_due is None else f", again at {write_instant(run.next_due)}"
        return one_line(f"task {run.task.id}, attempt {run.attempt}: {run.outcome}{error}") + again

    def _counts(self) -> str:
        return ", ".join(f"{number} {outcome}" for outcome, number in self.outcomes.items()) or "0 done"

    def _clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _draw(self) -> None:
        if self._live:
            click.echo(self._counts(), nl=False, err=True)
