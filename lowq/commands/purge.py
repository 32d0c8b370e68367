"""`lowq purge`: the dead tasks of a queue are gone for good."""

from __future__ import annotations

import sys

import click

from lowq.backend import State
from lowq.commands.output import write_json
from lowq.commands.parameters import of_a_queue, open_queue
from lowq.rules.paging import read_tasks


@click.command(short_help="Delete the dead tasks of the queue.")
@of_a_queue
@click.option("--yes", is_flag=True, help="Without being asked.")
def purge(location: str, name: str, as_json: bool, yes: bool) -> int:
    """The dead tasks, which failed too often, are gone for good; a terminal is asked first."""
    with open_queue(location, name) as queue:
        dead = queue.count().dead
        if dead and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(f"{dead} dead tasks would be gone for good: say --yes")
            if not click.confirm(f"Delete {dead} dead tasks for good?", err=True):
                return 1
        gone = sum(queue.cancel(task.id) for task in list(read_tasks(queue, State.DEAD)))
    if as_json:
        write_json({"purged": gone})
    else:
        click.echo(f"purged {gone}")
    return 0
