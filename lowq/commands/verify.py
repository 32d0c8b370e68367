"""`lowq verify`: whether a queue file is whole."""

from __future__ import annotations

import click

from lowq.commands.output import console, one_line, write_json
from lowq.commands.parameters import json_option, location_argument
from lowq.location import verify


@click.command("verify", short_help="Look whether a queue file is whole.")
@location_argument
@json_option
def verify_file(location: str, as_json: bool) -> int:
    """SQLite's own check of the file, and of each task whether it is what was pushed; nothing is written.

    SQLite keeps no checksums of what it stores, lowq does. The exit code is 1 where something is damaged. What a
    worker cannot read it sets aside, dead, with the reason; for the rest, restore the file from a copy.
    """
    from rich.table import Table
    from rich.text import Text

    findings = verify(location)
    if as_json:
        for each in findings:
            write_json({"queue": each.queue, "id": each.id, "fault": each.fault})
    elif findings:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("queue", "id", "fault"):
            table.add_column(heading, overflow="fold")
        for each in findings:
            table.add_row(*(Text(one_line(text or "")) for text in (each.queue, each.id, each.fault)))
        console().print(table)
    if not as_json:
        click.echo(f"{len(findings)} found" if findings else "whole")
    return 1 if findings else 0
