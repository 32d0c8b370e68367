"""`lowq show`: one task, whole."""

from __future__ import annotations

import json

import click

from lowq.backend import Damaged, Work
from lowq.commands.output import console, visible, write_json
from lowq.commands.parameters import of_a_queue, open_queue
from lowq.rules.canonical import work_text
from lowq.wire import write_instant, write_task


@click.command(short_help="One task, whole.")
@of_a_queue
@click.argument("id")
def show(location: str, name: str, as_json: bool, id: str) -> int:
    """One task with all that is known of it, its work and its reason uncut."""
    with open_queue(location, name) as queue:
        task = queue.task(id)
    if task is None:
        click.echo(
            f"lowq: there is no task {visible(id)} in this queue: it is done, cancelled, or never was", err=True
        )
        return 1
    if as_json:
        write_json(write_task(task))
        return 0
    lines = {
        "id": task.id,
        "state": str(task.state),
        "priority": str(task.priority),
        "attempts": str(task.attempts),
        "pushed at": write_instant(task.pushed_at),
        "not before": write_instant(task.not_before),
        "key": task.key,
        "headers": json.dumps(dict(task.headers), ensure_ascii=False, indent=2) if task.headers else None,
        "work": _work(task.work),
        "reason": task.reason,
    }
    out = console()
    from rich.text import Text

    for title, text in lines.items():
        if text is None:
            continue
        out.print(Text(f"{title:<11}", style="bold"), end="", soft_wrap=True)
        out.print(Text(visible(text.rstrip("\n"), lines=True).replace("\n", "\n" + " " * 11)), soft_wrap=True)
    return 0


def _work(work: Work) -> str:
    return work_text(work) if isinstance(work, Damaged) else json.dumps(work, ensure_ascii=False, indent=2)
