"""The command `lowq check`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from lowq_conformance.clauses import UnknownClause
from lowq_conformance.report import Report, show, worst
from lowq_conformance.runner import Interrupted, SuiteFailed, run
from lowq_conformance.words import PROMISES, BrokenHarness

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lowq_conformance.sides import Run

HARNESS = 2
FAILED = 70
INTERRUPTED = 130

EPILOG = """
\b
TARGET is one of
  module:Harness            a harness, importable from here
  path/to/file.py:Harness   a harness in a file; :Harness may be left out
  module:function           any callable that takes a place and gives a client
  module:Backend            a class of lowq backends
  sqlite:///?option=value   a backend URL: only its kind and options count; the
                            suite makes fresh files and never opens your queue
  sqlite, memory            lowq's own

\b
Exit status
  0    every promised clause was kept
  1    a clause is broken
  2    a TARGET cannot be loaded or is no harness, or the command is misused
  3    nothing is broken, but a promised clause was not observed
  70   the suite itself failed
  130  interrupted; what was seen is reported
"""


@click.command(
    epilog=EPILOG,
    context_settings={"max_content_width": 100},
    short_help="Check any queue against the promises it makes.",
)
@click.argument("targets", metavar="TARGET...", nargs=-1, required=True)
@click.option("--only", metavar="CLAUSES", multiple=True, help="Only these clauses and groups: DEDUPE,ORDER-3.")
@click.option(
    "--promise",
    "promises",
    metavar="PROMISES",
    multiple=True,
    help=f"Promises to add to what the TARGET says: {' '.join(PROMISES)}.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Makes the run repeatable. Default: a random one.")
@click.option(
    "--json", "json_file", type=click.File("w"), metavar="FILE", help="Write the report as JSON; - prints it."
)
def check(
    targets: Sequence[str],
    only: Sequence[str],
    promises: Sequence[str],
    seed: int | None,
    json_file: Any,
) -> None:
    """Check a queue, yours or a stranger's, against the promises it makes.

    Every clause that the queue promises is tried. For a broken one the few calls are shown that break it. Several
    TARGETs make a table side by side.
    """
    console = Console(highlight=False, stderr=json_file is not None and json_file.name == "<stdout>")
    try:
        with progress(console) as watch:
            reports = run(targets, only=only, seed=seed, promises=promises, watch=watch)
    except (BrokenHarness, UnknownClause) as error:
        click.echo(f"lowq check: {error}", err=True)
        sys.exit(HARNESS)
    except SuiteFailed as error:
        click.echo(f"lowq check: the suite itself failed; please report this:\n{error}", err=True)
        sys.exit(FAILED)
    except Interrupted as interrupted:
        write(interrupted.reports, console, json_file)
        sys.exit(INTERRUPTED)
    write(reports, console, json_file)
    sys.exit(worst(reports))


def write(reports: Sequence[Report], console: Console, json_file: Any) -> None:
    """The tables were shown, and the JSON written: one object, or an array where there are several targets."""
    if reports:
        show(reports, console)
    if json_file is not None:
        told = [report.as_json() for report in reports]
        json.dump(told[0] if len(told) == 1 else told, json_file, indent=2, ensure_ascii=False)
        json_file.write("\n")


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Run, str], None] | None]:
    """Something to tell of each event, which draws a bar on a terminal and is None elsewhere."""
    if not console.is_terminal:
        yield None
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

        def watch(run: Run, test: str) -> None:
            if id(run) not in tasks:
                tasks[id(run)] = bars.add_task(run.target, total=None, now="")
            broken = f"[red]{len(run.broken())} broken[/] " if run.broken() else ""
            now = test.rpartition("::")[2].removeprefix("test_").replace("_", " ")
            bars.update(
                tasks[id(run)], total=len(run.planned) or None, completed=len(run.sides), now=f"{broken}[dim]{now}[/]"
            )

        yield watch
