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
from lowq_conformance.queues.stoppable import StoppableServer

_VARIABLE = "LOWQ_CHECK_POSTGRES"
_FILE = "server"
_SOCKET = ".s.PGSQL."
"""What the name of a server's socket begins with; its port follows."""
_started: list[PostgresServer] = []
_own: list[StoppableServer[PostgresServer]] = []


def server_of(place: Path) -> StoppableServer[PostgresServer]:
    """The server of that place, which was not opened yet: one for all such places. Raises BrokenHarness."""
    if not _own:
        server = _start()
        _own.append(StoppableServer(server, f"{server.address.socket}/{_SOCKET}{server.address.port}"))
    address = _own[0].server.address
    (place / _FILE).write_text(f"{address.socket} {address.port}", encoding="utf-8")
    return _own[0]


def load_client() -> None:
    """What a client needs is loaded now, not while a storm's seconds count; where it is missing, `open` says so."""
    with suppress(ImportError):
        import_module("psycopg.pq")


def url_of(place: Path, reached: str | None = None) -> str:
    """The URL of the database of that place, `reached` by that socket or as its server says. Raises BrokenHarness."""
    address, name = _address(place), _name(place)
    made = place / "database"
    if not made.exists():
        address.create(name)
        made.touch()
    if reached is not None:
        folder, _, port = reached.rpartition(f"/{_SOCKET}")
        address = PostgresAddress(folder, int(port))
    return address.url(name)


def drop(place: Path) -> None:
    """The database of that place is gone."""
    if (place / "database").exists():
        _address(place).run(f'DROP DATABASE IF EXISTS "{_name(place)}" WITH (FORCE)')
        with suppress(FileNotFoundError):
            (place / "database").unlink()


def _address(place: Path) -> PostgresAddress:
    own = place / _FILE
    known = own.read_text(encoding="utf-8") if own.exists() else os.environ.get(_VARIABLE, "")
    socket, _, port = known.rpartition(" ")
    if not socket or not os.path.exists(socket):
        server = _start()
        _started.append(server)
        socket, port = server.address.socket, str(server.address.port)
        os.environ[_VARIABLE] = f"{socket} {port}"
    os.environ["XDG_STATE_HOME"] = os.path.join(socket, "state")  # for the locks of workers; gone with the server
    return PostgresAddress(socket, int(port))


def _start() -> PostgresServer:
    try:
        server = PostgresServer()
        server.address.make_template()
    except (LowqError, OSError, ImportError) as error:
        raise BrokenHarness(f"PostgreSQL does not start: {error}") from error
    return server


def _name(place: Path) -> str:
    return f"place_{blake2b(str(place).encode(), digest_size=12).hexdigest()}"
