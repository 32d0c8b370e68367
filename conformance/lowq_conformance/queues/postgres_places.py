"""A PostgreSQL server that ends with its starter, and on it a database for each place.

A harness is made in many processes. Where the server is stands in the environment, which children inherit; one that
does not find it starts another.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from importlib import import_module
from pathlib import Path

from lowq import LowqError
from lowq.testing.servers.postgres import PostgresAddress, PostgresServer
from lowq_conformance.contract.promises import BrokenHarness

_VARIABLE = "LOWQ_CHECK_POSTGRES"
_started: list[PostgresServer] = []


def load_client() -> None:
    """What a client needs is loaded now, not while a storm's seconds count; where it is missing, `open` says so."""
    with suppress(ImportError):
        import_module("psycopg.pq")


def url_of(place: Path) -> str:
    """The URL of the database of that place. Raises BrokenHarness."""
    address, name = _address(), _name(place)
    made = place / "database"
    if not made.exists():
        address.create(name)
        made.touch()
    return address.url(name)


def drop(place: Path) -> None:
    """The database of that place is gone."""
    if (place / "database").exists():
        _address().run(f'DROP DATABASE IF EXISTS "{_name(place)}" WITH (FORCE)')
        with suppress(FileNotFoundError):
            (place / "database").unlink()


def _address() -> PostgresAddress:
    socket, _, port = os.environ.get(_VARIABLE, "").rpartition(" ")
    if not socket or not os.path.exists(socket):
        try:
            server = PostgresServer()
            server.address.make_template()
        except (LowqError, OSError, ImportError) as error:
            raise BrokenHarness(f"PostgreSQL does not start: {error}") from error
        _started.append(server)
        socket, port = server.address.socket, str(server.address.port)
        os.environ[_VARIABLE] = f"{socket} {port}"
    os.environ["XDG_STATE_HOME"] = os.path.join(socket, "state")  # for the locks of workers; gone with the server
    return PostgresAddress(socket, int(port))


def _name(place: Path) -> str:
    return f"place_{blake2b(str(place).encode(), digest_size=12).hexdigest()}"
