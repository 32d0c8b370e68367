"""Where a server is and who logs in: read from the place of a URL, in messages without the password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict
from urllib.parse import unquote

from lowq.backend import InvalidLocation
from lowq.rules.server_url import hide_password, split_user


class Password:
    """A text that no repr shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Password) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Login(TypedDict):
    """Who logs in, and which certificates are trusted."""

    user: str | None
    password: Password | None
    ca: str | None


Kind = Literal["tcp", "tls", "socket"]

_SCHEMES = {"tcp": "redis", "tls": "rediss", "socket": "redis+unix"}
_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """A server's host and port, or the path of its socket; the number of its database; who logs in."""

    kind: Kind
    host: str = "localhost"
    port: int = _PORT
    path: str = ""
    db: int = 0
    user: str | None = None
    password: Password | None = field(default=None, repr=False)
    ca: str | None = None

    def __str__(self) -> str:
        user = "" if self.user is None else f"{self.user}@"
        if self.kind == "socket":
            return f"redis+unix://{user}{self.path}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{_SCHEMES[self.kind]}://{user}{host}:{self.port}/{self.db}"

    def at(self, host: str, port: int) -> Address:
        """The same at another node of its cluster."""
        return replace(self, host=host or self.host, port=port)


def address_of(kind: Kind, place: str, db: str | int | None, password: str | None, ca: str | None) -> Address:
    """The address in the place of a URL: ``user:password@host:6379/0``, ``user@/run/valkey.sock``.

    Raises InvalidLocation, and names in it no part that may be a password.
    """
    shown = hide_password(f"{_SCHEMES[kind]}://{place}")
    user, found, where = split_user(place)
    found = found if password is None else password
    if kind == "tls" and ca is not None:
        _check_certificates(ca, shown)
    login: Login = {"user": user or None, "password": None if found is None else Password(found), "ca": ca}
    if kind == "socket":
        if not where.startswith("/"):
            raise InvalidLocation(f"location: {shown}: expected the path of a socket: redis+unix:///run/valkey.sock")
        return Address(kind, path=unquote(where), db=_db(db, shown), **login)
    host, _, path = where.partition("/")
    if path and db is not None:
        raise InvalidLocation(f"location: {shown}: the database is given twice, as /{path} and as db=; give it once")
    match = _HOST.fullmatch(host)
    if match is None or not 0 < int(match["port"] or _PORT) < 65536:
        # Nothing of it is shown: it may be a password whose @ was forgotten.
        raise InvalidLocation(f"location: {_SCHEMES[kind]}://…: expected a host and a port, such as {_EXAMPLE}")
    name = unquote(match["name"] or match["six"] or "localhost")
    return Address(kind, name, int(match["port"] or _PORT), db=_db(path or db, shown), **login)


def _check_certificates(file: str, shown: str) -> None:
    import ssl  # here, since few need it

    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise InvalidLocation(f"{shown}: the certificates in {file} cannot be read: {error}") from None


_HOST = re.compile(r"(?:(?P<name>[^\s:\[\]]*)|\[(?P<six>[0-9A-Fa-f:.%]+)\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_EXAMPLE = "redis://user:password@host:6379/0"


def _db(given: str | int | None, shown: str) -> int:
    text = "0" if given is None else str(given)
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise InvalidLocation(f"location: {shown}: the database is a number, such as 0; got {text[:40]!r}")
    return int(text)
