"""How the commands show tasks: JSON lines, tables that fit the terminal, text that no work can use to fool it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from lowq.backend import State, Task, Work
from lowq.rules.canonical import work_text
from lowq.wire import write_instant

if TYPE_CHECKING:
    from rich.console import Console

CELL = 200
"""Characters of a work, key or reason in a table; `lowq show` and --json tell the whole."""

STYLES = {State.READY: "green", State.SCHEDULED: "cyan", State.LEASED: "yellow", State.DEAD: "red"}


def write_json(value: dict[str, Any]) -> None:
    """One JSON object on a line of its own; ASCII where standard output holds no more, and no invisible character."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(escape_json(json.dumps(value, ensure_ascii=not utf8)))


def escape_json(text: str) -> str:
    """The same JSON without invisible characters, which JSON lets stand and a terminal obeys: C1, bidi, lines."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def visible(text: str, *, lines: bool = False) -> str:
    """The text with its control and invisible characters escaped, so that it cannot steer a terminal."""
    return "".join(
        char if char.isprintable() or (lines and char == "\n") else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str) -> str:
    """The text as one visible line of a table, cut at `CELL`."""
    return visible(text if len(text) <= CELL else text[: CELL - 1] + "…")


def work_line(work: Work) -> str:
    """The work as one visible line."""
    return one_line(work_text(work))


def console(*, stderr: bool = False) -> Console:
    """Where to print: with colours on a terminal only, and not where NO_COLOR is set; wide where nobody looks."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=10_000)
    return made


def write_table(tasks: Iterable[Task]) -> None:
    """A table of the tasks, a line each."""
    from rich.table import Table
    from rich.text import Text

    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold", expand=out.is_terminal)
    for heading in ("id", "state", "priority", "attempts"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "state" else "right")
    table.add_column("not before", no_wrap=True)
    table.add_column("key", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("work", overflow="ellipsis", no_wrap=True, ratio=1)
    for task in tasks:
        cells = (
            Text(task.id),
            Text(task.state, style=STYLES[task.state]),
            Text(str(task.priority)),
            Text(str(task.attempts)),
            Text(write_instant(task.not_before) or ""),
            Text(one_line(task.key or "")),
            Text(work_line(task.work)),
        )
        table.add_row(*cells)
    out.print(table)
