"""`lowq list`: what is in a queue now."""

from __future__ import annotations

import sys
from itertools import islice

import click

from lowq.backend import State
from lowq.commands.output import visible, write_json, write_table
from lowq.commands.parameters import of_a_queue, open_queue
from lowq.commands.waiting import find_later, find_unattended, summary
from lowq.rules.paging import read_tasks
from lowq.wire import write_instant, write_task

TABLE = 100


@click.command("list", short_help="What is in the queue now.")
@of_a_queue
@click.option("--state", type=click.Choice([str(state) for state in State]), help="Only the tasks in this state.")
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"At most so many; {TABLE} in a table, all of them with --json."
)
@click.option("--after", metavar="ID", help="Only what stands behind this task: the next page.")
def list_tasks(
    location: str, name: str, as_json: bool, state: str | None, limit: int | None, after: str | None
) -> int:
    """What is in the queue now: ready in claim order, then scheduled by time, leased, and dead."""
    with open_queue(location, name) as queue:
        start = None
        limit = None if limit is None else min(limit, sys.maxsize)
        if after is not None and (start := queue.task(after)) is None:
            click.echo(f"lowq: there is no task {visible(after)} any more; list again from the start", err=True)
            return 1
        tasks = read_tasks(queue, None if state is None else State(state), start)
        if as_json:
            for task in islice(tasks, limit):
                write_json(write_task(task))
            return 0
        shown = list(islice(tasks, limit or TABLE))
        counts = queue.count()
        more = next(tasks, None) is not None
        since = find_unattended(queue, counts, location, name)
        later = find_later(queue, counts, location, name)
    if shown:
        write_table(shown)
    click.echo(
        summary(counts)
        + (f"; due since {write_instant(since)}, no worker" if since else "")
        + (f"; next due {write_instant(later)}, no worker in the background" if later else "")
        + (f"; the next page: --after {shown[-1].id}" if more else "")
    )
    return 0
