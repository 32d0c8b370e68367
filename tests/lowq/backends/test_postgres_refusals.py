"""What a PostgreSQL URL or database may be wrong in: a named error of a line or two, and no password anywhere."""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from lowq import BackendUnavailable, InvalidLocation, LowqError, NotAllowed, open_backend
from lowq.location import locate
from lowq.testing.servers.postgres import PostgresAddress, PostgresServer, postgres_server

SECRET = "tops3cret"
BOUND = 60


@pytest.fixture(scope="module")
def address(lowq_postgres_server: PostgresServer) -> Iterator[PostgresAddress]:
    """A server with users that have this password, and may or may not do things."""
    address = lowq_postgres_server.address
    lowq_postgres_server.drop(lowq_postgres_server.fresh())  # so that there is the template
    address.create("refusals")
    address.run(f"CREATE USER eve PASSWORD '{SECRET}'")
    address.run(f"CREATE USER crowd CONNECTION LIMIT 0 PASSWORD '{SECRET}'")
    address.run(f"CREATE USER ghost NOLOGIN PASSWORD '{SECRET}'")
    yield address
    lowq_postgres_server.drop("refusals")
    address.run("DROP USER eve")
    address.run("DROP USER crowd")
    address.run("DROP USER ghost")


def error_of(url: str, **options: Any) -> tuple[LowqError, str]:
    """The error with which opening the URL ends, and its traceback with all that led to it."""
    try:
        open_backend(url, **{"patience": "0.2", **options}).close()
    except LowqError as error:
        return error, traceback.format_exc() + repr(error)
    raise AssertionError(f"{url} was opened")


def as_user(address: PostgresAddress, user: str, database: str = "refusals") -> str:
    return address.url(database).replace("postgres@", f"{user}@")


@pytest.mark.parametrize(
    ("user", "database", "expected"),
    [
        (f"eve:{SECRET}X", "refusals", "password authentication failed.*give the right one"),
        (f"nobody-here:{SECRET}", "refusals", "password authentication failed"),
        ("eve", "refusals", "no password supplied.*PGPASSWORD"),
        (f"ghost:{SECRET}", "refusals", "not permitted to log in.*name another user"),
        (f"eve:{SECRET}", "refusals", "permission denied.*GRANT USAGE ON SCHEMA"),
        (f"eve:{SECRET}", "postgres", "must make its schema 'lowq' first.*CREATE SCHEMA"),
        (f"eve:{SECRET}", "nowhere", "does not exist.*CREATE DATABASE"),
    ],
)
def test_who_may_not_is_told_what_to_do(address: PostgresAddress, user: str, database: str, expected: str) -> None:
    error, told = error_of(as_user(address, user, database))

    with pytest.raises(InvalidLocation, match=expected):
        raise error
    assert SECRET not in told
    assert "Traceback" in told
    assert told.count("Traceback") == 1  # no chain of errors, in which a library's own words stand
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("user", "database"),
    [(f"ghost:{SECRET}", "refusals"), (f"eve:{SECRET}", "refusals"), (f"eve:{SECRET}", "postgres")],
)
def test_a_right_that_is_missing_is_an_error_of_its_own(address: PostgresAddress, user: str, database: str) -> None:
    assert isinstance(error_of(as_user(address, user, database))[0], NotAllowed)


@pytest.mark.parametrize("line", ["", "host all all all reject\n"])
def test_a_server_that_lets_nobody_in_from_here_is_no_server_that_is_away(line: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with postgres_server(port=port, settings={"fsync": "off"}) as server:
        Path(server.address.socket, "data", "pg_hba.conf").write_text(f"local all postgres trust\n{line}")
        server.address.run("SELECT pg_reload_conf()")
        server.address.run("SELECT 1")  # a connection of the new rules
        error, told = error_of(f"postgresql://eve:{SECRET}@127.0.0.1:{port}/x", patience="3600")

    with pytest.raises(NotAllowed, match=r"pg_hba\.conf.*; an administrator must let this user in from here"):
        raise error
    assert SECRET not in told


def test_a_schema_of_somebody_else_that_is_empty_is_told_of(address: PostgresAddress) -> None:
    address.run("CREATE DATABASE taken")
    address.run("CREATE SCHEMA lowq; GRANT USAGE ON SCHEMA lowq TO eve", "taken")
    error, _ = error_of(as_user(address, f"eve:{SECRET}", "taken"))

    with pytest.raises(NotAllowed, match='ALTER SCHEMA "lowq" OWNER TO …'):
        raise error
    address.run("DROP DATABASE taken WITH (FORCE)")


def test_a_right_to_connect_that_was_taken_meanwhile_is_no_server_that_is_away(address: PostgresAddress) -> None:
    address.create("revoked")
    address.run("CREATE USER adam SUPERUSER PASSWORD 'tops3cret'")
    queue = open_backend(as_user(address, f"adam:{SECRET}", "revoked"), patience="60")
    address.run("ALTER USER adam NOSUPERUSER")
    address.run("REVOKE CONNECT ON DATABASE revoked FROM PUBLIC")
    address.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'adam'")

    with pytest.raises(NotAllowed, match=r"permission denied for database.*GRANT CONNECT"):
        queue.count()  # which is asked again where the connection breaks only now

    queue.close()
    address.run("DROP DATABASE revoked WITH (FORCE)")
    address.run("DROP USER adam")


def test_what_the_server_said_is_told_when_patience_is_over(address: PostgresAddress) -> None:
    error, told = error_of(as_user(address, f"crowd:{SECRET}"))

    with pytest.raises(BackendUnavailable, match=r"does not answer: .*too many connections for role"):
        raise error
    assert SECRET not in told


def test_a_user_with_the_rights_that_the_message_names_works(address: PostgresAddress) -> None:
    for what in ("USAGE ON SCHEMA lowq", "ALL ON ALL TABLES IN SCHEMA lowq", "ALL ON ALL SEQUENCES IN SCHEMA lowq"):
        address.run(f"GRANT {what} TO eve", "refusals")
    try:
        queue = open_backend(as_user(address, f"eve:{SECRET}"), name="eve's")
        assert queue.push("x").added
        queue.close()
    finally:
        address.run("DROP OWNED BY eve", "refusals")


def test_a_password_given_as_an_option_is_shown_to_nobody(address: PostgresAddress) -> None:
    error, told = error_of(as_user(address, "eve"), password=f"{SECRET}X")
    other, in_url = error_of(f"{as_user(address, 'eve')}&password={SECRET}X")

    assert isinstance(error, InvalidLocation)
    assert isinstance(other, InvalidLocation)
    assert SECRET not in told + in_url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:tops3cret@host:x/y",
        "postgresql://u:tops3cret@host:99999/y",
        "postgresql://u:tops3cret@host:0/y",
        "postgresql://u:tops3cret@host/a/b",
        "postgresql://u:tops3cret@host/a#b",
        "postgresql://u:tops3cret@ho st/a",
        "postgresql://u:tops3cret@[::1/x",
        "postgresql://u:tops3cret@::1/x",
        "postgresql://u:tops3cret?x@host/x",
        "postgresql://u:tops3cret?a=b@host/x",
        "postgresql://u:to/tops3cret?a=b@host/x",
        "postgresql://u:tops3cret%00@host/x",
        "postgresql://u:tops3cret@host/x?sslmode=bogus",
        "postgresql://u:tops3cret@host/x?bogus=1",
        "postgresql://u:tops3cret@host/x?patience",
        "postgresql://u:tops3cret@host/x?schema=pg_x",
        "postgresql://u:tops3cret@host/x?schema=a%22b",
        "postgresql://u:tops3cret@host/x?schema=public",
        "postgresql://u:tops3cret@host/x?schema=",
        "postgresql://u:tops3cret@host/x?create=perhaps",
        "postgresql://u@host/x?password=tops3cret&patience=nan",
        "postgres://u:tops3cret@host:x/y",
        "postgresq://u:tops3cret@host/y",
    ],
)
def test_a_wrong_part_of_a_url_is_refused_before_anybody_is_asked(url: str) -> None:
    options: dict[str, Any] = {} if "patience" in url or not url.startswith("postgres") else {"patience": "0.2"}
    try:
        open_backend(url, **options)
    except InvalidLocation:
        told = traceback.format_exc()
    else:
        raise AssertionError("it was opened")

    assert SECRET not in told
    assert "tops3" not in told


@pytest.mark.parametrize("password", ["tops3cret", "tops3cret/x", "tops3cret@x", "tops3cret#x", "tops3cret%zz"])
def test_a_server_that_is_not_there_is_away(password: str) -> None:
    error, told = error_of(f"postgresql://u:{password}@127.0.0.1:1/x")

    assert isinstance(error, BackendUnavailable)
    assert str(error).startswith("postgresql://u:…@127.0.0.1:1/x does not answer: ")
    assert "tops3" not in told


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n"])
def test_a_server_of_another_kind_is_told_from_one_that_is_away(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            with suppress(OSError):  # at the end
                while True:
                    with server.accept()[0] as caller:
                        caller.recv(1000)
                        caller.sendall(answer)

        thread = Thread(target=talk)
        thread.start()
        error, told = error_of(f"postgresql://eve:{SECRET}@127.0.0.1:{server.getsockname()[1]}/x", patience="30")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(BOUND)

    with pytest.raises(InvalidLocation, match="something else than PostgreSQL seems to answer"):
        raise error
    assert SECRET not in told


def test_a_location_shows_no_password() -> None:
    where = locate("postgres://u:tops3cret@host:5432/jobs?schema=a&password=tops3cret")

    assert str(where) == "postgresql://u:…@host:5432/jobs?schema=a&password=…"
    assert "tops3" not in repr(where)
    assert "tops3" not in where.identity


def test_the_place_is_the_same_whoever_uses_it() -> None:
    one = locate("postgresql://a:b@Host/jobs").identity

    assert locate("postgres://c@host:5432/jobs?application_name=x").identity == one
    assert locate("postgresql://a:b@host/jobs?schema=other").identity != one
    assert locate("postgresql://a:b@host:5433/jobs").identity != one
    assert locate("postgresql://a:b@host/Jobs").identity != one


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["CREATE SCHEMA lowq", "CREATE TABLE lowq.orders (id int)"], "is not lowq's"),
        (["CREATE SCHEMA lowq", "CREATE TABLE lowq.about (id int)"], "is not lowq's"),
        (
            ["CREATE SCHEMA lowq", "CREATE TABLE lowq.about AS SELECT 'v1' AS version, 'x' AS identity"],
            "is not lowq's",
        ),
        (
            ["CREATE SCHEMA lowq", "CREATE FUNCTION lowq.now() RETURNS int LANGUAGE sql AS 'SELECT 1'"],
            "is not lowq's",
        ),
        (["CREATE SCHEMA lowq", "CREATE TYPE lowq.task AS ENUM ('to do')"], "is not lowq's"),
    ],
)
def test_a_schema_of_somebody_else_is_left_alone(
    lowq_postgres_server: PostgresServer, lowq_postgres: str, statements: list[str], expected: str
) -> None:
    address = lowq_postgres_server.address
    name = lowq_postgres.split("@/")[1].split("?")[0]
    for statement in ("DROP SCHEMA lowq CASCADE", *statements):
        address.run(statement, name)
    list_tables = "SELECT relname FROM pg_class WHERE relnamespace = 'lowq'::regnamespace"
    stood = address.run(list_tables, name)

    error, _ = error_of(lowq_postgres)

    with pytest.raises(InvalidLocation, match=expected):
        raise error
    assert address.run(list_tables, name) == stood
    queue = open_backend(f"{lowq_postgres}&schema=jobs")
    assert queue.push(1).added
    queue.close()


def test_a_newer_schema_is_refused(lowq_postgres_server: PostgresServer, lowq_postgres: str) -> None:
    name = lowq_postgres.split("@/")[1].split("?")[0]
    lowq_postgres_server.address.run("UPDATE lowq.about SET version = 99", name)

    error, _ = error_of(lowq_postgres)

    with pytest.raises(InvalidLocation, match=r"newer lowq \(version 99, this lowq knows \d+\); upgrade lowq"):
        raise error


def test_a_read_only_database_is_refused(lowq_postgres_server: PostgresServer, lowq_postgres: str) -> None:
    name = lowq_postgres.split("@/")[1].split("?")[0]
    lowq_postgres_server.address.run(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    error, _ = error_of(lowq_postgres)

    with pytest.raises(BackendUnavailable, match="read-only"):
        raise error


def test_nothing_is_made_where_nothing_is_to_be_made(
    lowq_postgres_server: PostgresServer, lowq_postgres: str
) -> None:
    name = lowq_postgres.split("@/")[1].split("?")[0]
    address = lowq_postgres_server.address

    no_queue, _ = error_of(lowq_postgres, create=False)
    no_schema, _ = error_of(f"{lowq_postgres}&schema=other", create=False)

    assert "there is no queue 'default' here" in str(no_queue)
    assert "there is no queue here" in str(no_schema)
    assert address.run("SELECT count(*) FROM pg_namespace WHERE nspname = 'other'", name) == [(0,)]


def test_a_missing_psycopg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(InvalidLocation, match=r'pip install "lowq\[postgres\]"'):
        open_backend("postgresql://host/jobs")
