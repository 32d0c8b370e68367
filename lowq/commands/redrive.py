"""`lowq redrive`: dead tasks that shall be tried again."""

from __future__ import annotations

import click

from lowq.backend import Backend, State
from lowq.commands.output import visible, write_json
from lowq.commands.parameters import of_a_queue, open_queue
from lowq.rules.paging import read_tasks


@click.command(short_help="Try dead tasks again.")
@of_a_queue
@click.argument("ids", metavar="ID…", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dead task of the queue.")
def redrive(location: str, name: str, as_json: bool, ids: tuple[str, ...], every: bool) -> int:
    """The dead tasks wait again, in their old places with attempts 0; where one cannot, the exit code is 1."""
    if every == bool(ids):
        raise click.UsageError("name the dead tasks, or say --all")
    refused = 0
    with open_queue(location, name) as queue:
        for each in [task.id for task in read_tasks(queue, State.DEAD)] if every else ids:
            why = None if queue.redrive(each) else _why_not(queue, each)
            refused += why is not None
            if as_json:
                write_json({"id": each, "redriven": why is None, "why": why})
            elif why is None:
                click.echo(f"redriven {each}")
            else:
                click.echo(f"lowq: not redriven: {visible(each)}: {why}", err=True)
    return 1 if refused else 0


def _why_not(queue: Backend, id: str) -> str:
    task = queue.task(id)
    if task is None:
        return "there is no such task"
    if task.state is not State.DEAD:
        return f"it is {task.state}, not dead"
    return "an equal work stands in the queue already"
