"""`lowq cancel`: tasks that nobody shall run."""

from __future__ import annotations

import click

from lowq.backend import Backend
from lowq.commands.output import visible, write_json
from lowq.commands.parameters import of_a_queue, opened


@click.command(short_help="Take tasks out of the queue.")
@of_a_queue
@click.argument("ids", metavar="ID…", nargs=-1, required=True)
def cancel(location: str, name: str, as_json: bool, ids: tuple[str, ...]) -> int:
    """The tasks are gone, dead ones too; one that is leased stays, and the exit code is 1."""
    refused = 0
    with opened(location, name) as queue:
        for each in ids:
            why = None if queue.cancel(each) else _why_not(queue, each)
            refused += why is not None
            if as_json:
                write_json({"id": each, "cancelled": why is None, "why": why})
            elif why is None:
                click.echo(f"cancelled {each}")
            else:
                click.echo(f"lowq: not cancelled: {visible(each)}: {why}", err=True)
    return 1 if refused else 0


def _why_not(queue: Backend, id: str) -> str:
    return "there is no such task" if queue.task(id) is None else "it is leased: a worker has it in hand"
