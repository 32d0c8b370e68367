"""`lowq count`: how much is in a queue, and since when the oldest of it waits: for people and for monitors."""

from __future__ import annotations

from datetime import timedelta

import click

from lowq.backend import State
from lowq.clock import SystemClock
from lowq.commands.output import write_json
from lowq.commands.parameters import duration, of_a_queue, open_queue
from lowq.commands.waiting import summary
from lowq.metrics import due_since
from lowq.wire import write_instant


@click.command(short_help="How much is in the queue, and how long it waits: an exit code for monitors.")
@of_a_queue
@click.option("--max-age", type=duration, metavar="DURATION", help="Exit code 1 where a task is due for longer.")
@click.option("--max-ready", type=click.IntRange(min=0), metavar="N", help="Exit code 1 where more tasks are due.")
@click.option("--max-dead", type=click.IntRange(min=0), metavar="N", help="Exit code 1 where more tasks are dead.")
def count(
    location: str,
    name: str,
    as_json: bool,
    max_age: timedelta | None,
    max_ready: int | None,
    max_dead: int | None,
) -> int:
    """How many tasks are in each state, and since when the oldest one that is due waits to be run.

    A monitor asks: lowq count jobs.db --max-age 10m --max-dead 0 (exit code 0, or 1 and the reason).
    """
    with open_queue(location, name) as queue:
        counts = queue.count()
        since = due_since(queue) if counts.ready else None
    age = timedelta(0) if since is None else max(SystemClock().now() - since, timedelta(0))
    too_much = [
        f"{what}: {found}, more than {limit}"
        for what, found, limit in (("ready", counts.ready, max_ready), ("dead", counts.dead, max_dead))
        if limit is not None and found > limit
    ]
    if max_age is not None and age > max_age:
        too_much.append(f"due for {_whole(age)}, longer than {_whole(max_age)}")
    if as_json:
        states = {str(state): getattr(counts, str(state)) for state in State}
        write_json({**states, "due_since": write_instant(since), "age": age.total_seconds()})
    else:
        click.echo(summary(counts) + (f"; the oldest is due for {_whole(age)}" if since else ""))
    for reason in too_much:
        click.echo(f"lowq: {reason}", err=True)
    return 1 if too_much else 0


def _whole(length: timedelta) -> str:
    return str(timedelta(seconds=round(length.total_seconds())))
