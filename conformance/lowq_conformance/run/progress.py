"""How far a run is, told on standard error while it lasts."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowq_conformance.report.tally import Tally

    Watch = Callable[[Tally, str], None]


@contextmanager
def progress() -> Iterator[Watch]:
    """Something to tell of each event: on standard error it draws a bar where that is a terminal, else it writes
    a line now and then, so that who looks into a file sees what is being done."""
    console = Console(highlight=False, stderr=True)
    if not console.is_terminal:
        yield tell_hints(write_lines(time.monotonic), lambda hint: click.echo(hint, err=True))
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[int, Any] = {}

        def watch(run: Tally, test: str) -> None:
            if id(run) not in tasks:
                tasks[id(run)] = bars.add_task(run.target, total=None, now="")
            broken = f"[red]{len(run.find_unknown())} broken[/] " if run.find_unknown() else ""
            broken += f"{run.seeds} seeds " if run.seeds > 1 else ""
            now = name_of_test(test)
            bars.update(
                tasks[id(run)], total=run.expected or None, completed=len(run.sides), now=f"{broken}[dim]{now}[/]"
            )

        yield tell_hints(watch, lambda hint: bars.console.print(hint, markup=False))


def tell_hints(watch: Watch, tell: Callable[[str], None]) -> Watch:
    """Something to tell of each event, which tells each hint once, at once."""
    told = set[str]()

    def watch_hints(run: Tally, test: str) -> None:
        if run.hint and run.hint not in told:
            told.add(run.hint)
            tell(run.hint)
        watch(run, test)

    return watch_hints


def write_lines(clock: Callable[[], float]) -> Watch:
    """Something to tell of each event, which writes a line on standard error when `EVERY` seconds have passed."""
    last = clock()

    def watch(run: Tally, test: str) -> None:
        nonlocal last
        if clock() - last >= EVERY:
            last = clock()
            broken = f"{len(run.find_unknown())} broken, " if run.find_unknown() else ""
            of = f" of {run.expected}" if run.expected else ""
            now = f"; {name_of_test(test)}" if test else ""
            click.echo(f"{run.target}: {broken}{len(run.sides)}{of} tests{now}", err=True)

    return watch


def name_of_test(test: str) -> str:
    """What is done now, for people: the name of a test without its file, or what a test says that it is at."""
    return test.rpartition("::")[2].removeprefix("test_").replace("_", " ")


EVERY = 10.0
"""Seconds between two lines about a run whose output goes to a file."""
