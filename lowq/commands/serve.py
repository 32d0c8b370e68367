"""`lowq serve`: pages and an HTTP interface for a queue."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import click

from lowq.backend import InvalidLocation
from lowq.commands.parameters import queue_name
from lowq.commands.work import interruptions
from lowq.rules.server_url import hide_password

if TYPE_CHECKING:
    from lowq.web.settings import Settings


@click.command(short_help="Pages and an HTTP interface for a queue.")
@click.argument("location", metavar="[LOCATION]", required=False)
@click.option("--name", type=queue_name, metavar="NAME", help="The queue that pages show first (default).")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to answer.")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, show_default=True, help="0: a free one.")
@click.option("--threads", type=click.IntRange(1, 1000), default=8, show_default=True, metavar="N")
@click.option("--read-only", is_flag=True, help="Nobody can change anything.")
@click.option("--no-auth", is_flag=True, help="Whoever reaches the address may do everything, without a token.")
def serve(
    location: str | None, name: str | None, host: str, port: int, threads: int, read_only: bool, no_auth: bool
) -> int:
    """Pages to look at a queue and feed it, and an interface for workers on other machines.

    The queue is made where it is new. LOCATION is a path, a URL, or LOCATION in the Python file or module that
    LOWQ_SETTINGS names; lowq/web/settings.py has every setting. An ADDRESS that other machines reach needs TOKENS
    there, or --no-auth. It serves until SIGTERM (exit code 0) or Ctrl-C (130).
    """
    settings = _settings(location=location, name=name, read_only=read_only or None, no_auth=no_auth or None)
    from lowq.web.app import create_app
    from lowq.web.server import Server

    server = Server(create_app(settings), host, port, threads)
    before = {number: signal.signal(number, server.stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with interruptions() as interrupted:
            click.echo(f"{server.url}/ shows {hide_password(settings.location)}")
            server.run()
            server.close()
            if interrupted():
                raise click.Abort
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _settings(**options: Any) -> Settings:
    """The settings, the command line's on top. Raises a usage error where Flask or waitress is missing."""
    try:
        import flask  # noqa: F401  (only whether it is there)
        import waitress  # noqa: F401
    except ImportError as error:
        raise InvalidLocation(f"{error.name} is missing; install it with: pip install 'lowq[web]'") from None
    from lowq.web.settings import load

    given = {name: value for name, value in options.items() if value is not None}
    if "location" in given and "://" not in given["location"]:
        given["location"] = os.path.abspath(given["location"])
    return load(**given)
