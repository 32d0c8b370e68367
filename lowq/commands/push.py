"""`lowq push`: works from the command line or, a line each, from standard input."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import BinaryIO

import click

from lowq.backend import Headers, InvalidWork, Item, Pushed
from lowq.clock import SystemClock
from lowq.commands.lines import Batch, batches, length_of, parse
from lowq.commands.output import console, visible, write_json
from lowq.commands.parameters import duration, header, instant, of_a_queue, open_queue
from lowq.rules.entry import MAX_PRIORITY, MIN_PRIORITY
from lowq.wire import write_pushed


@click.command(short_help="Push works, from the command line or from standard input.")
@of_a_queue
@click.argument("works", metavar="WORK…", nargs=-1, required=True)
@click.option("--key", help="What the work is deduped by, instead of its own text; for one WORK.")
@click.option(
    "--priority",
    type=click.IntRange(MIN_PRIORITY, MAX_PRIORITY),
    default=0,
    show_default=True,
    metavar="N",
    help="Higher comes first.",
)
@click.option("--at", type=instant, metavar="TIME", help="Not before this time, such as 2030-01-01T12:00:00Z.")
@click.option("--in", "delay", type=duration, metavar="DURATION", help="Not before so long from now, such as 1h30m.")
@click.option(
    "--header",
    "headers",
    type=header,
    multiple=True,
    metavar="NAME=VALUE",
    help="Goes with each WORK; may be repeated.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    metavar="N",
    help="With -: so many lines are pushed in one transaction; 1 pushes each as it comes.",
)
def push(
    location: str,
    name: str,
    as_json: bool,
    works: tuple[str, ...],
    key: str | None,
    priority: int,
    at: datetime | None,
    delay: timedelta | None,
    headers: tuple[tuple[str, str], ...],
    batch: int,
) -> int:
    """Push each WORK, a JSON text; '-' reads works from standard input, one a line.

    The WORKs of the command line are pushed all or none. Lines are pushed in batches, each all or none: a bad line
    stops the push, is named by its number, and leaves nothing of its own batch, while the batches before it stay.
    An equal work that stands in the queue already is not pushed again. The queue is made where it is new.

    Write -- before a WORK that begins with a minus: lowq push jobs.db -- -5
    """
    if at is not None and delay is not None:
        raise click.UsageError("--at and --in both say when: give one of them")
    lines = "-" in works
    if lines and sys.stdin.closed:
        raise click.UsageError("'-' reads works from standard input, which is closed")
    if lines and len(works) > 1:
        raise click.UsageError("'-' reads every work from standard input: give no other WORK beside it")
    if key is not None and (lines or len(works) > 1):
        raise click.UsageError("--key is for one WORK: with several, all but the first would be duplicates")
    not_before = at if delay is None else _after(delay)
    if repeated := [name for name, number in Counter(name for name, _ in headers).items() if number > 1]:
        raise click.UsageError(f"--header: {visible(repeated[0])!r} is named twice")
    also = Headers(headers)
    found = [] if lines else [_work(number, text) for number, text in enumerate(works, 1)]
    pushed = added = 0
    with open_queue(location, name, create=True) as queue:
        if lines:
            source: Iterable[Batch] = _show_progress(sys.stdin.buffer, batch)
        else:
            source = [Batch(found, 1, len(found), 0)]
        for each in source:
            answers = queue.push_many(Item(work, key, priority, not_before, also) for work in each.works)
            pushed += len(answers)
            added += sum(answer.added for answer in answers)
            for answer in answers:
                _tell(answer, as_json, quiet=lines)
    if lines and not as_json:
        stood = pushed - added
        click.echo(f"pushed {added}" + (f"; {stood} stood in the queue already" if stood else ""))
    return 0


def _after(delay: timedelta) -> datetime:
    try:
        return SystemClock().now() + delay
    except OverflowError:
        raise click.BadParameter(f"{delay.days} days from now is after the year 9999", param_hint="'--in'") from None


def _work(number: int, text: str) -> object:
    try:
        return parse(text)
    except InvalidWork as error:
        raise InvalidWork(f"WORK {number}: {error}\nNothing was pushed; a string is written '\"…\"'.") from None


def _tell(answer: Pushed, as_json: bool, *, quiet: bool) -> None:
    if as_json:
        write_json(write_pushed(answer))
    elif not quiet:
        click.echo(f"pushed {answer.id}" if answer.added else f"stands {answer.id}: an equal work is in the queue")


def _show_progress(stream: BinaryIO, size: int) -> Iterator[Batch]:
    """The batches of the stream, with a progress display while they are pushed where somebody looks."""
    err = console(stderr=True)
    if not err.is_terminal or stream.isatty():
        yield from batches(stream, size)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    total = length_of(stream)
    columns = [TextColumn("pushing {task.fields[works]:,} works"), *([BarColumn()] if total else [])]
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True) as progress:
        task = progress.add_task("push", total=total, works=0)
        works = 0
        for batch in batches(stream, size):
            yield batch
            works += len(batch.works)
            progress.update(task, completed=batch.bytes_read, works=works)
