"""`lowq cancel`: tasks that nobody shall run."""

from __future__ import annotations

import click

from lowq.backend import Backend, State
from lowq.commands.output import visible, write_json
from lowq.commands.parameters import of_a_queue, open_queue
from lowq.rules.paging import read_tasks


@click.command(short_help="Take tasks out of the queue.")
@of_a_queue
@click.argument("ids", metavar="ID…", nargs=-1)
@click.option("--key", help="The tasks that were pushed with this key.")
@click.option(
    "--state",
    type=click.Choice([str(state) for state in State if state is not State.LEASED]),
    help="All in this state.",
)
def cancel(location: str, name: str, as_json: bool, ids: tuple[str, ...], key: str | None, state: str | None) -> int:
    """The tasks are gone, dead ones too; one that is leased stays, and the exit code is 1.

    They are named by their ids, or by --key, --state or both; where none is meant, the exit code is 1 as well.
    """
    if bool(ids) == (key is not None or state is not None):
        raise click.UsageError("name the tasks by their ids, or by --key or --state")
    refused = 0
    with open_queue(location, name) as queue:
        if not ids:
            found = read_tasks(queue, None if state is None else State(state))
            ids = tuple(task.id for task in found if key is None or task.key == key)
            if not ids:
                click.echo("lowq: there is no such task", err=True)
        for each in ids:
            why = None if queue.cancel(each) else _why_not(queue, each)
            refused += why is not None
            if as_json:
                write_json({"id": each, "cancelled": why is None, "why": why})
            elif why is None:
                click.echo(f"cancelled {visible(each)}")
            else:
                click.echo(f"lowq: not cancelled: {visible(each)}: {why}", err=True)
    return 1 if refused or not ids else 0


def _why_not(queue: Backend, id: str) -> str:
    return "there is no such task" if queue.task(id) is None else "it is leased: a worker has it in hand"
