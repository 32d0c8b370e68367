"""A line to a server: one connection at a time, of one process, on which one call after the other is made.

Each line has a name, and its calls are numbered: so a call that is sent again on another connection is known.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from lowq import kernel
from lowq.backend import BackendUnavailable, InvalidLocation
from lowq.process.handlers import Suppressed

if TYPE_CHECKING:
    from lowq.backends.redis.address import Address

OLDEST = (6, 2)

Connection: TypeAlias = Any
"""A connection of redis-py, which has no types for it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself: the process that it is, and how it is set."""

    run: bytes
    replica: bool
    maxmemory: int
    policy: str
    version: str


class Line:
    """A name, a number of calls, and the connection, where there is one."""

    def __init__(self) -> None:
        self.made: Connection | None = None
        self.facts: Facts | None = None
        self.address: Address | None = None
        self.number = 0
        self.rename()

    def rename(self) -> None:
        """The calls of this line are no continuation of those before."""
        self.name = kernel.urandom(8).hex().encode()
        self.pid = kernel.getpid()

    def open(self, address: Address, timeout: float) -> Facts:
        """The server at the address listens: what it says of itself. Raises what redis-py does, or ours."""
        made = _connection(address, timeout)
        made.connect()
        self.made, self.address = made, address
        self.facts = facts = _facts(self.ask([b"INFO"], timeout), address)
        return facts

    def ask(self, parts: list[bytes], timeout: float) -> Any:
        """The answer to a command. Where anything but an answer comes, the connection is closed."""
        made = self.made
        if made is None:
            raise ConnectionError("the connection was closed")
        try:
            _sock(made).settimeout(timeout)
            made.send_packed_command([pack(parts)], check_health=False)
            return made.read_response()
        except BaseException as error:
            if not _is_reply(error):
                made.disconnect()
            raise

    def is_fresh(self) -> bool:
        """Whether the connection is there, and the server has neither closed it nor said what nobody asked for."""
        made = self.made
        if made is None or self.pid != kernel.getpid():
            return False
        poll = kernel.poll()
        with Suppressed(OSError, ValueError, AttributeError):
            poll.register(_sock(made).fileno(), select.POLLIN)
            return not poll.poll(0)
        return False

    def wake(self) -> None:
        """Who waits on this line for an answer gets an error instead."""
        made = self.made
        with suppress(OSError, AttributeError):
            if made is not None:
                _sock(made).shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """No connection is left in this process; after a fork the parent keeps its own."""
        made, self.made = self.made, None
        if made is not None:
            made.disconnect()

    def __del__(self) -> None:
        self.close()


def pack(parts: list[bytes]) -> bytes:
    """The command as the protocol has it."""
    pieces = [b"*%d\r\n" % len(parts)]
    for part in parts:
        pieces.append(b"$%d\r\n" % len(part))
        pieces.append(part)
        pieces.append(b"\r\n")
    return b"".join(pieces)


def _sock(made: Connection) -> socket.socket:
    found: socket.socket = vars(made)["_sock"]
    return found


def _is_reply(error: BaseException) -> bool:
    """Whether the error is what the server answered, so that nothing is left to read."""
    from redis import exceptions

    return isinstance(error, exceptions.ResponseError) and not isinstance(error, exceptions.InvalidResponse)


def _connection(address: Address, timeout: float) -> Connection:
    try:
        from redis import connection
        from redis.credentials import UsernamePasswordCredentialProvider
    except ImportError:
        raise BackendUnavailable(
            f"{address}: the Python package redis is not installed; install it: pip install 'lowq[redis]'"
        ) from None
    made: Any = connection
    common: dict[str, Any] = {
        "db": address.db,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
    }
    if address.user or address.password is not None:
        password = "" if address.password is None else address.password.reveal()
        common["credential_provider"] = UsernamePasswordCredentialProvider(address.user, password)
    if address.kind == "socket":
        return made.UnixDomainSocketConnection(path=address.path, **common)
    common |= {"host": address.host, "port": address.port, "socket_keepalive": True}
    if address.kind == "tls":
        return made.SSLConnection(ssl_ca_certs=address.ca, ssl_check_hostname=True, **common)
    return made.Connection(**common)


def _facts(info: bytes, address: Address) -> Facts:
    said = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line)
    version = said.get(b"redis_version", b"").decode(errors="replace")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        raise InvalidLocation(f"{address}: lowq needs Redis {OLDEST[0]}.{OLDEST[1]} or newer; this is {version}")
    return Facts(
        run=said.get(b"run_id", b""),
        replica=said.get(b"role") == b"slave",
        maxmemory=int(said.get(b"maxmemory", b"0") or b"0"),
        policy=said.get(b"maxmemory_policy", b"").decode(errors="replace"),
        version=said.get(b"valkey_version", said.get(b"redis_version", b"")).decode(errors="replace"),
    )
