"""`lowq metrics`: what Prometheus reads of the queues of a location."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import click

from lowq.clock import SystemClock
from lowq.commands.parameters import location_argument, open_queue, queue_name
from lowq.metrics import write_metrics


@click.command(short_help="What Prometheus reads of the queues of a location.")
@location_argument
@click.option(
    "--name", "names", type=queue_name, metavar="NAME", multiple=True, help="Only this queue; may be given again."
)
def metrics(location: str, names: tuple[str, ...]) -> int:
    """Depth by state and age of the oldest due task of each queue of LOCATION, in the text format of Prometheus.

    Without --name all queues are told, for which there is to be one of the name default.
    For a textfile collector: lowq metrics jobs.db > lowq.prom.tmp && mv lowq.prom.tmp lowq.prom
    (lowq serve has the same at /metrics.)
    """
    with ExitStack() as stack:
        if names:
            opened = {name: stack.enter_context(open_queue(location, name)) for name in names}
        else:
            first = stack.enter_context(open_queue(location, "default"))
            tell = cast("Callable[[], list[str]]", first.names)  # type: ignore[attr-defined]  # every one of ours has it
            opened = {
                name: first if name == first.name else stack.enter_context(open_queue(location, name))
                for name in sorted(tell())
            }
        text = write_metrics(opened.items(), SystemClock().now())
    click.echo(text, nl=False)
    return 0
