"""`lowq backup`: a whole copy of a queue's file, while everybody works."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress

import click

from lowq.backend import BackendUnavailable, InvalidLocation
from lowq.commands.output import visible
from lowq.commands.parameters import location_argument
from lowq.location import is_shared, locate
from lowq.rules.server_url import hide_password

_OURS = int.from_bytes(b"lowq")
"""What a file of ours says of itself (PRAGMA application_id)."""

_PAGES = 1000
"""Pages that are copied at a time: others write between two."""


@click.command(short_help="Make a whole copy of a queue's file while everybody works.")
@location_argument
@click.argument("to", metavar="FILE")
def backup(location: str, to: str) -> int:
    """FILE is a whole copy of all queues of LOCATION as they are now; `cp` would miss what is not in the file yet.

    A copy that was cut off leaves nothing at FILE, where nothing may stand before. Put back, it is a queue as it was:
    what was done since runs again.
    """
    where = locate(location)
    if where.scheme != "sqlite":
        raise InvalidLocation(f"{where} is no SQLite file: its own tools make copies of it")
    if is_shared(where):
        raise InvalidLocation(
            f"{where}: the file is the application's, and its copies have the queues in them; make one as the"
            " application's are made, such as: sqlite3 FILE '.backup COPY'"
        )
    if os.path.lexists(to):
        raise InvalidLocation(f"{to} stands there already; name a file that is new")
    if not os.path.isfile(where.place):
        raise InvalidLocation(f"{where}: there is no queue here")
    half = f"{to}.half"
    try:
        with closing(sqlite3.Connection(f"file:{_quote(where.place)}?mode=rw", uri=True)) as source:
            if source.execute("PRAGMA application_id").fetchone()[0] != _OURS:
                raise InvalidLocation(f"{where} is no queue of lowq")
            with closing(sqlite3.Connection(half)) as copy:
                source.backup(copy, pages=_PAGES)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
        os.chmod(half, os.stat(where.place).st_mode & 0o666)
        os.rename(half, to)
    except sqlite3.Error as error:
        raise BackendUnavailable(f"{to}: no copy was made: {error}") from None
    finally:
        with suppress(OSError):
            os.unlink(half)
    click.echo(visible(f"copied {hide_password(str(location))} to {to}"))
    return 0


def _quote(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
