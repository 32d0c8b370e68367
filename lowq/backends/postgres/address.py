"""A PostgreSQL URL: what libpq is told, and how messages name the server, without the password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lowq.backend import InvalidLocation
from lowq.backends.postgres.connection import load_psycopg
from lowq.location import Location
from lowq.rules.server_url import SECRETS, split_user

PASSED_ON = (
    "host hostaddr port dbname user password passfile service sslmode sslrootcert sslcert sslkey sslpassword"
    " channel_binding require_auth target_session_attrs application_name options"
).split()
"""The options of a URL that are libpq's: https://www.postgresql.org/docs/current/libpq-connect.html"""

_EXPECTED = "expected postgresql://user@host:5432/database"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A server and a database: `settings` for libpq, `shown` for messages, `identity` for who asks which it is."""

    settings: bytes
    shown: str
    identity: str
    secrets: tuple[str, ...]

    def safe(self, text: str) -> str:
        """The text without a password, whoever wrote it."""
        for secret in self.secrets:
            text = text.replace(secret, "…")
        return text


def address_of(place: str, schema: str, options: Mapping[str, Any]) -> Address:
    """The address of a URL's place and options. Raises InvalidLocation where it names none."""
    told = [("schema", schema), *((name, _text(name, value)) for name, value in options.items())]
    where = Location("postgresql", place, tuple(told))
    shown = str(Location("postgresql", place, tuple(told[1:])))
    user, password, rest = split_user(place)
    hosts, _, database = rest.partition("/")
    if any(char in rest for char in "#@ ") or "/" in database:
        raise InvalidLocation(
            f"location: {shown}: {_EXPECTED}; in a user, password or name write %2F for /, %40 for @, %23 for #"
        )
    parts = [_host_and_port(each, shown) for each in hosts.split(",")] if hosts else []
    settings: dict[str, str] = {"application_name": "lowq", "client_encoding": "UTF8"}
    if parts:
        settings["host"] = ",".join(host for host, _ in parts)
        settings["port"] = ",".join(port for _, port in parts)
    settings |= {"dbname": unquote(database)} if database else {}
    settings |= {"user": user} if user else {}
    settings |= {} if password is None else {"password": password}
    settings |= dict(told[1:])
    secrets = tuple(value for name, value in settings.items() if name in SECRETS and value)
    return Address(_conninfo(settings), shown, where.identity, secrets)


def _text(option: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError(f"{option}: expected a string, got {type(value).__name__}")
    return str(value)


def _host_and_port(text: str, shown: str) -> tuple[str, str]:
    """The host and the port, which is empty where none is named; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidLocation(f"location: {shown}: {_EXPECTED}; an IPv6 address stands in brackets")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InvalidLocation(f"location: {shown}: the port is a number from 1 to 65535")
    return unquote(host), port


def _conninfo(settings: Mapping[str, str]) -> bytes:
    """The settings as libpq reads them, each in quotes."""
    load_psycopg()
    pairs = []
    for name, value in settings.items():
        if "\0" in value:
            raise InvalidLocation(f"location: {name}: no option of PostgreSQL holds U+0000")
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        pairs.append(f"{name}='{escaped}'")
    return " ".join(pairs).encode()
