"""Who may do what: the names the server answers to, its tokens, and the marks that a form carries."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from base64 import b64decode
from collections.abc import Collection
from hashlib import blake2b
from hmac import compare_digest
from typing import Literal

from lowq.web.settings import Settings

Right = Literal["write", "read"]

_LOCAL = ("localhost",)


class Access:
    """The decisions, from the settings alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tokens: list[tuple[bytes, Right]] = [
            *((token.encode(), "write") for token in settings.tokens),
            *((token.encode(), "read") for token in settings.read_only_tokens),
        ]
        own = socket.gethostname().lower()
        self._hosts = {*_LOCAL, own, f"{own}.local", *(host.lower() for host in settings.hosts)}

    @property
    def by_token(self) -> bool:
        """Whether a token is needed."""
        return bool(self._tokens)

    def knows_host(self, host: str) -> bool:
        """Whether a request for this Host is meant for this server: an address, or a name that is known."""
        name = host.strip().lower()
        if name.startswith("["):
            name, _, port = name[1:].partition("]")
            port = port.removeprefix(":")
        else:
            name, _, port = name.partition(":")
        if port and not (port.isascii() and port.isdigit()):
            return False
        if "*" in self._hosts or name.removesuffix(".") in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.endswith(".localhost")
        return True

    def knows_origin(self, origin: str, host: str) -> bool:
        """Whether the page that sent the request is one of this server's own."""
        _, separator, rest = origin.partition("://")
        return bool(separator) and compare_digest(rest.lower().encode(), host.lower().encode())

    def right_of(self, token: str) -> Right | None:
        """What the token's holder may do; all tokens are compared, each in constant time."""
        given = token.encode("utf-8", "surrogatepass")
        right: Right | None = None
        for known, may in self._tokens:
            if compare_digest(known, given):
                right = may
        return right

    def right_of_mark(self, mark: str) -> Right | None:
        """What the holder of the token with this mark may do."""
        right: Right | None = None
        for known, may in self._tokens:
            if compare_digest(_mark(known).encode(), mark.encode("utf-8", "surrogatepass")):
                right = may
        return right

    def open_to(self, address: str, headers: Collection[str]) -> bool:
        """Whether a server without tokens answers a client at this address: of this machine, and not by a proxy."""
        if self._settings.no_auth:
            return True
        if any(name in headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-Ip")):
            return False
        try:
            return not address or ipaddress.ip_address(address).is_loopback  # none: a Unix socket
        except ValueError:
            return False


def mark_of(token: str) -> str:
    """What a cookie holds in place of a token."""
    return _mark(token.encode())


def _mark(token: bytes) -> str:
    return blake2b(token, digest_size=20, person=b"lowq-token").hexdigest()


def token_in(authorization: str) -> str | None:
    """The token of an Authorization header: ``Bearer TOKEN``, or the password of ``Basic``; None: there is none."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return None


def new_mark() -> str:
    """A value that nobody guesses, for the forms of one browser."""
    return secrets.token_urlsafe(24)
