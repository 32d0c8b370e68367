"""`lowq compact`: a queue's file gives back the room that it does not use."""

from __future__ import annotations

import click

from lowq.commands.output import visible, write_json
from lowq.commands.parameters import json_option, location_argument
from lowq.location import compact


@click.command("compact", short_help="Make a queue's file as small as it can be.")
@location_argument
@json_option
@click.option(
    "--rewrite", is_flag=True, help="A file that an older lowq made is written anew; others wait meanwhile."
)
def compact_file(location: str, as_json: bool, rewrite: bool) -> int:
    """The file has no room that it does not use. Nobody waits for longer than some milliseconds.

    Workers that wait for tasks do the same by themselves, down to 4 MB or to twice what is in use.
    """
    before, after = compact(location, rewrite=rewrite)
    if as_json:
        write_json({"before": before, "after": after})
    else:
        click.echo(visible(f"{location}: {before:,} bytes, now {after:,}"))
    return 0
